"""Every kernel file is compiled, and tested, for every instruction set that it is written for."""

import importlib
from pathlib import Path

import instruction_sets
import pytest
from instruction_sets import SETS, TESTED

import seedwise
from seedwise import native
from seedwise.errors import UserError
from seedwise.models import acceleration

SOURCE = Path(seedwise.__file__).parent
needs_compiler = pytest.mark.skipif(native.compiler_version() is None, reason="no C++ compiler")


def test_every_kernel_file_is_in_the_table() -> None:
    assert set(TESTED) == {str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*.cpp")}


@pytest.mark.parametrize("module", sorted(set(TESTED.values())))
def test_its_tests_run_for_each_target(module: str) -> None:
    tests = [test for name, test in vars(importlib.import_module(module)).items() if name.startswith("test_")]
    assert any(instruction_sets.each_target.mark in getattr(test, "pytestmark", []) for test in tests)


@needs_compiler
def test_every_kernel_file_is_compiled_for_it(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TESTED:
        assert native.library(SOURCE / name) is not None, name
    here = acceleration.version()
    for other in {*SETS.values()} - {SETS[target]}:
        if native.why_not(other) is None:
            monkeypatch.setenv(native.TARGET_VARIABLE, other)
            assert acceleration.version() != here  # what a run's record names, and resume compares


def test_a_target_that_cannot_run_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(native.TARGET_VARIABLE, "avx3")
    with pytest.raises(UserError, match=r"^SEEDWISE_TARGET=avx3: there is no such target; .* generic$"):
        native.target()
    native.why_not.cache_clear()
    monkeypatch.setattr(native, "_processor", lambda: "flags\t\t: fpu sse2 avx avx2 fma f16c bmi1 bmi2 movbe abm")
    monkeypatch.setenv(native.TARGET_VARIABLE, "avx512")
    try:
        assert native.why_not("avx2") is None
        with pytest.raises(UserError, match=r"^SEEDWISE_TARGET=avx512: this processor has no avx512bw; "):
            native.target()
    finally:
        native.why_not.cache_clear()
