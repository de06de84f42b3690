"""The kernels' C functions against plain loops in double, without Python: here, and for 64-bit ARM in an emulator."""

import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from seedwise.kernels import build

DRIVER = Path(__file__).with_name("kernels.cpp")
ARM = Path("/usr/aarch64-linux-gnu")
"""Where Debian keeps the C library of its cross-compiler."""
CALLED = {"batch_norm", "block", "conv3x3", "depthwise", "pixels", "squeeze_excite"}
"""Kernel files whose functions the driver calls; of the others it is only tested that they compile."""


def compile_all(compiler: str, target: str, into: Path) -> Path:
    """Compile every kernel file and the driver; returns the driver."""
    flags = [*build.FLAGS, *build.TARGETS[target]]

    def library(source: Path) -> Path:
        built = into / f"lib{source.stem}.so"
        subprocess.run([compiler, *flags, str(source), "-o", str(built)], check=True)
        return built

    with ThreadPoolExecutor(2) as pool:
        libraries = list(pool.map(library, build.sources()))
    program = into / "driver"
    linked = [str(built) for built in libraries if built.stem.removeprefix("lib") in CALLED]
    words = [compiler, "-std=c++17", "-O1", "-fopenmp", str(DRIVER), *linked, f"-Wl,-rpath,{into}", "-o", str(program)]
    subprocess.run(words, check=True)
    return program


def demand_right(words: list[str]) -> None:
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr
    assert len(lines) == 104 and all(re.search(r" ok \d", line) for line in lines), done.stdout


@pytest.mark.slow
def test_on_this_processor_where_a_wrong_kernel_is_noticed(tmp_path: Path) -> None:
    compiler = build.compiler()
    if compiler is None:
        pytest.skip("no C++ compiler")
    driver = compile_all(compiler, build.best_target(), tmp_path)
    demand_right([str(driver)])
    copied = tmp_path / "copied"
    shutil.copytree(build.CSRC, copied)
    source, wrong = copied / "pixels.cpp", copied / "wrong.so"
    text = source.read_text(encoding="utf-8")
    assert text.count("- offset[j]) * scale[j]") == 1
    source.write_text(text.replace("- offset[j]) * scale[j]", "+ offset[j]) * scale[j]"), encoding="utf-8")
    subprocess.run([compiler, *build.FLAGS, str(source), "-o", str(wrong)], check=True)
    done = subprocess.run([driver], env={"LD_PRELOAD": str(wrong)}, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "normalized pixels            WRONG" in done.stdout


@pytest.mark.slow
def test_on_arm(tmp_path: Path) -> None:
    compiler, emulator = shutil.which("aarch64-linux-gnu-g++"), shutil.which("qemu-aarch64")
    if compiler is None or emulator is None or not ARM.is_dir():
        pytest.skip("needs aarch64-linux-gnu-g++ and qemu-aarch64 (Debian: g++-aarch64-linux-gnu, qemu-user)")
    demand_right([emulator, "-L", str(ARM), str(compile_all(compiler, "neon", tmp_path))])
