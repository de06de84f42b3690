"""Every kernel file is compiled, and tested, for every instruction set that it is written for."""

import importlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import instruction_sets
import pytest
from instruction_sets import SETS, TESTED

import seedwise
from seedwise.base.errors import UserError
from seedwise.kernels import build, launch, swap

SOURCE = Path(seedwise.__file__).parent
needs_compiler = pytest.mark.skipif(build.compiler_version() is None, reason="no C++ compiler")


def test_every_kernel_file_is_in_the_table() -> None:
    assert set(TESTED) == {str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*.cpp")}


@pytest.mark.parametrize("module", sorted(set(TESTED.values())))
def test_its_tests_run_for_each_target(module: str) -> None:
    tests = [test for name, test in vars(importlib.import_module(module)).items() if name.startswith("test_")]
    assert any(instruction_sets.each_target.mark in getattr(test, "pytestmark", []) for test in tests)


@needs_compiler
def test_every_kernel_file_is_compiled_for_it(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TESTED:
        assert launch.library(SOURCE / name) is not None, name
    here = swap.version()
    for other in {*SETS} - {target}:
        if launch.why_not(other) is None:
            monkeypatch.setenv(launch.TARGET_VARIABLE, other)
            assert swap.version() != here  # what a run's record names, and resume compares


@pytest.fixture
def features(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Collection[str]], None]]:
    """Another processor, by the names of what it has."""

    def be(names: Collection[str]) -> None:
        monkeypatch.setattr(build, "features", lambda: frozenset(names))
        build.missing.cache_clear(), build.best_target.cache_clear()

    yield be
    monkeypatch.undo()
    build.missing.cache_clear(), build.best_target.cache_clear()


def test_a_target_that_cannot_run_is_refused(
    monkeypatch: pytest.MonkeyPatch, features: Callable[[Collection[str]], None]
) -> None:
    monkeypatch.setenv(launch.TARGET_VARIABLE, "avx3")
    with pytest.raises(UserError, match=r"^SEEDWISE_TARGET=avx3: there is no such target; .* generic$"):
        launch.target()
    features(["fpu", "sse2", "avx", "avx2", "fma", "f16c", "bmi1", "bmi2", "movbe", "abm"])
    monkeypatch.setenv(launch.TARGET_VARIABLE, "avx512")
    assert launch.why_not("avx2") is None
    with pytest.raises(UserError, match=r"^SEEDWISE_TARGET=avx512: this processor has no avx512bw; "):
        launch.target()


@pytest.mark.parametrize("name", ["", "native"])
def test_without_a_target_it_is_the_best_class_that_the_processor_has(
    name: str, monkeypatch: pytest.MonkeyPatch, features: Callable[[Collection[str]], None]
) -> None:
    monkeypatch.setenv(launch.TARGET_VARIABLE, name)
    v3 = {"avx2", "fma", "f16c", "bmi1", "bmi2", "movbe", "abm"}
    v4 = v3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
    for flags, expected in ((v4 | {"amx_tile"}, "avx512"), (v4, "avx512"), (v4 - {"avx512dq"}, "avx2"), (v3, "avx2")):
        features(flags)
        assert launch.target() == expected
    for lost in v3:
        features(v4 - {lost})
        assert launch.target() == "generic"


def test_nothing_is_compiled_for_one_machine() -> None:
    """Machines of a class have the same code, so no flag may look at the machine that compiles."""
    flags = [flag for target in build.TARGETS.values() for flag in (*build.FLAGS, *target)]
    assert not any("native" in flag for flag in flags)
    assert [flag for flag in flags if flag.startswith("-m")] == [
        "-march=x86-64-v4",
        "-march=x86-64-v3",
        "-march=armv8-a",
    ]
