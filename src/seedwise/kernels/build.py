"""Compiles kernel files. Standard library only: `hatch_build.py` loads this file when seedwise is installed.

A library's name tells its file, its target, and by hashes its text, flags, platform and compiler: one that was built
from another text, for another platform or by other flags has another name, and is never loaded.
"""

import functools
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sysconfig
import tempfile
from pathlib import Path

PACKAGE = Path(__file__).parent
CSRC = PACKAGE / "csrc"
PREBUILT = "prebuilt"
"""The folder beside this file that holds what was compiled when seedwise was installed."""
FLAGS = (
    *("-std=c++17", "-O3", "-fopenmp", "-shared", "-fPIC"),
    *("-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off", "-Wall", "-Wno-unknown-pragmas"),
)
"""No -ffast-math: it would let sums be reordered and infinities vanish. What is fused of products and sums, kernels say
themselves (`kernels/csrc/vectors.hpp`): left to the compiler, a result's bits depend on the tile that it falls into."""
TARGETS = {
    "avx512": ("-march=x86-64-v4",),
    "avx2": ("-march=x86-64-v3",),
    "neon": ("-march=armv8-a",),
    "generic": (),
}
"""The classes of processors that kernels are compiled for, the best first, and the flags for each: two machines of a
class have the same code. `generic`: what any processor of this kind has. What one processor has beyond its class (AMX,
VNNI, bf16) no kernel uses; PyTorch's own libraries do. `neon`: of 64-bit ARM; tests/native runs it in an emulator."""
TIMEOUT_SECONDS = 900
"""Of processor's time most take 20; a busy machine takes many times as long."""
SECONDS = {"expand": 10, "depthwise": 9, "batch_norm": 8, "block": 7, "conv3x3": 4, "squeeze_excite": 2}
"""What the longer ones took (AMD Zen 4, AVX-512, g++ 12): which come first, and what to expect."""

_V3 = {"avx2", "fma", "f16c", "bmi1", "bmi2", "movbe", "abm"}
_NEEDED = {"neon": {"asimd"}, "avx2": _V3, "avx512": _V3 | {f"avx512{part}" for part in ("f", "bw", "cd", "dq", "vl")}}
"""Linux's names of what a target's code uses."""


def sources() -> list[Path]:
    """All kernel files, those that take longest first."""
    return sorted(CSRC.glob("*.cpp"), key=lambda file: (-SECONDS.get(file.stem, 1), file.stem))


@functools.cache
def compiler() -> str | None:
    """The C++ compiler's path: CXX's, or g++, or clang++; None when there is none."""
    names = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++"]
    return next((path for path in map(shutil.which, names) if path), None)


@functools.cache
def compiler_version() -> str | None:
    """What the compiler calls itself, for instance "g++ (Debian 12.2.0-14) 12.2.0"; None without one that runs."""
    path = compiler()
    if path is None:
        return None
    try:
        done = subprocess.run(
            [path, "--version"], capture_output=True, text=True, errors="replace", timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.partition("\n")[0].strip() or None


@functools.cache
def without_openmp() -> str | None:
    """Why the compiler can't build programs with OpenMP, as Apple's clang alone can't; None where it can."""
    with tempfile.TemporaryDirectory() as place:
        source = Path(place, "openmp.cpp")
        source.write_text("#include <omp.h>\nint threads() { return omp_get_max_threads(); }\n", encoding="utf-8")
        try:
            compile_to(source.with_suffix(".so"), source, "generic")
        except (OSError, subprocess.SubprocessError) as error:
            return reason(error).rpartition("error: ")[2]
    return None


@functools.cache  # as `missing`, asked at every call of a kernel
def best_target() -> str:
    """This processor's class."""
    return next(name for name in TARGETS if not missing(name))


@functools.cache
def missing(target: str) -> tuple[str, ...]:
    """What this processor lacks of what a target's code uses."""
    return tuple(sorted(_NEEDED.get(target, set()) - features()))


def name_of(source: Path, target: str, version: str = "*") -> str:
    """The file name of a library by a compiler that calls itself so; `*`: a pattern for any compiler's.

    The text is the file's and that of all headers that it includes.
    """
    place = f"{sysconfig.get_platform()} {platform.libc_ver()[0]}"
    parts = *(file.read_bytes() for file in included(source)), " ".join((*FLAGS, *TARGETS[target], place)).encode()
    by = version if version == "*" else _hash(version.encode())[:8]
    return f"{source.stem}-{target}-{_hash(*parts)[:16]}-{by}.so"


def included(source: Path) -> list[Path]:
    """A kernel file, and the headers of ours that it includes, each once, in the order of their first mention."""
    found = [source]
    for file in found:  # which grows meanwhile
        named = re.findall(r'^#include "(.+)"$', file.read_text(encoding="utf-8"), re.MULTILINE)
        found += [path for path in dict.fromkeys(file.parent / name for name in named) if path not in found]
    return found


def compile_to(built: Path, source: Path, target: str) -> None:
    """Write the library; the compiler's complaint is in the error that is raised when it fails."""
    run = [str(compiler()), *FLAGS, *TARGETS[target], str(source), "-o", str(built)]
    subprocess.run(run, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_SECONDS, check=True)


def checksum_file(built: Path) -> Path:
    """The file beside a library that tells its hash and its compiler."""
    return built.with_suffix(".sha256")


def checksum_text(built: Path) -> str:
    """What the checksum file of a library says that this compiler has built."""
    return f"{sha256_of(built)}\n{compiler_version()}\n"


def is_sound(built: Path) -> bool:
    """Whether a library is there and whole: loading a damaged one would end the process."""
    try:
        return checksum_file(built).read_text().partition("\n")[0] == sha256_of(built)
    except (OSError, UnicodeDecodeError):
        return False


def reason(error: Exception) -> str:
    """Why compiling failed, in a line."""
    if isinstance(error, subprocess.CalledProcessError):
        lines = str(error.stderr).strip().splitlines() or [f"exit code {error.returncode}"]
        return next((line for line in lines if "error:" in line or "cannot find" in line), lines[0])
    return str(error)


def sha256_of(path: Path) -> str:
    """The hash that a checksum file tells."""
    return _hash(path.read_bytes())


def _hash(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def features() -> frozenset[str]:
    """What this processor has, by Linux's names; empty where the system doesn't say."""
    if platform.machine().lower() in ("aarch64", "arm64"):  # each has it, and macOS has no such file
        return frozenset({"asimd"})
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    return frozenset(word for line in lines if line.startswith("flags") for word in line.split())
