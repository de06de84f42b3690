"""Kernels are compiled once, noticed when they change or are damaged, and done without where there is no compiler."""

import ctypes
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from seedwise.kernels import build, launch

pytestmark = pytest.mark.skipif(build.compiler_version() is None, reason="no C++ compiler here")
TEXT = 'extern "C" int answer() {{ return {0}; }}\n'


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEEDWISE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "it.cpp").write_text(TEXT.format(42))
    return tmp_path / "source" / "it.cpp"


def compiled(source: Path) -> ctypes.CDLL | None:
    """As a new process finds it."""
    return launch.library(source)


def kept(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "kernels").glob("*.so"))


def test_a_library_is_compiled_once_for_each_text(source: Path, tmp_path: Path) -> None:
    assert compiled(source).answer() == 42
    (built,) = kept(tmp_path)
    before = built.stat().st_mtime_ns
    assert compiled(source).answer() == 42 and built.stat().st_mtime_ns == before
    source.write_text('#include "part.hpp"\n' + TEXT.format("ANSWER"))
    (source.parent / "part.hpp").write_text("#define ANSWER 43\n")
    assert compiled(source).answer() == 43
    (source.parent / "part.hpp").write_text("#define ANSWER 44\n")
    assert compiled(source).answer() == 44
    assert len(kept(tmp_path)) == 3


def test_each_target_has_a_library_of_its_own(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source.write_text(
        "#if defined(__AVX2__)\n" + TEXT.format(8) + "#else\n" + TEXT.format(4) + "#endif\n",
    )
    names = [name for name in ("generic", "avx2") if launch.why_not(name) is None]
    for name in (*names, *names):
        monkeypatch.setenv(launch.TARGET_VARIABLE, name)
        assert compiled(source).answer() == {"generic": 4, "avx2": 8}[name]
    assert len(kept(tmp_path)) == len(names)


@pytest.mark.parametrize("name", build.TARGETS)
def test_the_compiler_fuses_nothing_by_itself(name: str, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it may, it chooses anew for each tile, and bits depend on which one a result falls into."""
    if (reason := launch.why_not(name)) is not None:
        pytest.skip(reason)
    monkeypatch.setenv(launch.TARGET_VARIABLE, name)
    source.write_text('extern "C" float off(float a, float b, float c) { return a * b + c; }\n')
    off = compiled(source).off
    off.restype, off.argtypes = ctypes.c_float, [ctypes.c_float] * 3
    assert off(1 + 2**-12, 1 + 2**-12, -(1 + 2**-11)) == 0.0  # 2**-24, were the product not rounded


def test_processes_that_need_a_library_at_once_compile_it_once(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted, real = tmp_path / "noted", build.compiler()
    slow = tmp_path / "c++"
    slow.write_text(f'#!/bin/sh\ncase "$1" in --version) ;; *) echo >>{noted}; sleep 1;; esac\nexec {real} "$@"\n')
    slow.chmod(0o755)
    script = (
        "import sys, pathlib; from seedwise.kernels.launch import library; "
        "print(library(pathlib.Path(sys.argv[1])).answer())"
    )
    environment = {**os.environ, "CXX": str(slow)}
    started = [
        subprocess.Popen([sys.executable, "-c", script, str(source)], env=environment, stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    assert [process.communicate()[0].strip() for process in started] == [b"42"] * 3
    assert noted.read_text() == "\n"


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_library_is_compiled_anew(damage: str, source: Path, tmp_path: Path) -> None:
    assert compiled(source).answer() == 42
    (built,) = kept(tmp_path)
    whole = built.read_bytes()
    broken = {"cut": whole[:200], "flipped": whole[:500] + bytes([whole[500] ^ 1]) + whole[501:], "empty": b""}[damage]
    built.unlink()  # it is mapped by this process: its pages must stay
    built.write_bytes(broken)
    assert compiled(source).answer() == 42
    assert built.read_bytes() != broken


def test_a_cache_that_cannot_be_written_costs_a_build_in_each_process(source: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert compiled(source).answer() == 42


def test_what_cannot_be_compiled_is_done_without(source: Path, caplog: pytest.LogCaptureFixture) -> None:
    source.write_text("this is not C++\n")
    with caplog.at_level(logging.WARNING, "seedwise"):
        assert compiled(source) is None
    assert "it.cpp can't be compiled (" in caplog.text and "slower" in caplog.text


@pytest.mark.parametrize("compiler", ["/nowhere/c++", "false"])
def test_without_a_compiler_there_is_no_library(compiler: str, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", compiler)
    for asked in (build.compiler, build.compiler_version):
        asked.cache_clear()
    try:
        assert compiled(source) is None
    finally:
        monkeypatch.delenv("CXX")
        for asked in (build.compiler, build.compiler_version):
            asked.cache_clear()
    assert os.environ.get("CXX") is None and compiled(source).answer() == 42


def install(source: Path, monkeypatch: pytest.MonkeyPatch, version: str = "g++ (elsewhere) 9.9") -> Path:
    """As `hatch_build.py` leaves a library in the package, by another compiler than this machine's."""
    monkeypatch.setattr(build, "PACKAGE", source.parents[1])
    built = source.parents[1] / build.PREBUILT / build.name_of(source, launch.target(), version)
    built.parent.mkdir(exist_ok=True)
    build.compile_to(built, source, launch.target())
    build.checksum_file(built).write_text(f"{build.sha256_of(built)}\n{version}\n")
    return built


@pytest.mark.parametrize("has_compiler", [True, False])
def test_an_installed_library_needs_neither_cache_nor_compiler(
    has_compiler: bool, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = install(source, monkeypatch)
    if not has_compiler:
        monkeypatch.setattr(build, "compiler_version", lambda: None)
    found = compiled(source)
    assert found is not None and found.answer() == 42
    assert (launch.name_of(found), launch.builder_of(found)) == (built.stem, "g++ (elsewhere) 9.9")
    assert kept(tmp_path) == []


@pytest.mark.parametrize("fault", ["stale", "damaged", "no checksum", "no library", "another compiler is asked for"])
def test_an_installed_library_that_does_not_fit_is_never_loaded(
    fault: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built, expected = install(source, monkeypatch), 42
    if fault == "stale":
        source.write_text(TEXT.format(43))
        expected = 43
    elif fault == "damaged":
        built.write_bytes(built.read_bytes()[:-1])
    elif fault == "no checksum":
        build.checksum_file(built).unlink()
    elif fault == "no library":  # with its checksum, but for another C library than this system's, say
        built.write_bytes(b"no library")
        build.checksum_file(built).write_text(f"{build.sha256_of(built)}\nanother\n")
    else:
        monkeypatch.setenv("CXX", str(build.compiler()))
    found = compiled(source)
    assert found is not None and found.answer() == expected
    assert launch.name_of(found) == kept(tmp_path)[0].stem and launch.builder_of(found) == build.compiler_version()


def test_a_name_tells_text_flags_platform_target_and_compiler(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def names() -> set[str]:
        return {build.name_of(source, *each) for each in (("avx2", "a"), ("avx2", "b"), ("generic", "a"))}

    found = names()
    assert len(found) == 3
    for change in (
        lambda: source.write_text("int x;"),
        lambda: monkeypatch.setattr(build, "FLAGS", ("-O0",)),
        lambda: monkeypatch.setattr(build.sysconfig, "get_platform", lambda: "linux-riscv64"),
        lambda: monkeypatch.setattr(build.platform, "libc_ver", lambda: ("", "")),
    ):
        change()
        assert not found & names()
        found |= names()


def test_what_is_missing_is_compiled_side_by_side_and_said_once(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (source.parent / "other.cpp").write_text(TEXT.format(1))
    monkeypatch.setattr(build, "CSRC", source.parent)
    monkeypatch.setattr(launch, "cores", lambda: 2)
    monkeypatch.setattr(os, "getloadavg", lambda: (6.0, 0.0, 0.0))
    with caplog.at_level(logging.WARNING, "seedwise"):
        launch.prepare()
        assert len(kept(tmp_path)) == 2
        launch.prepare()
    assert [record.getMessage() for record in caplog.records] == ["compiling 2 kernels once, about 4 s …"]
    assert all(compiled(file) for file in build.sources()) and len(kept(tmp_path)) == 2
