"""What an install compiles: libraries that the package then loads; without a compiler it succeeds all the same."""

import importlib.util
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from seedwise.kernels import build as compiling

needs_compiler = pytest.mark.skipif(compiling.compiler_version() is None, reason="no C++ compiler here")
ROOT = Path(__file__).parents[2]
Build = Callable[..., dict[str, Any]]


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def build(tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch) -> Build:
    """Run the hook over a project of two small kernels, as hatchling does; what it was told of the wheel."""
    place = tmp_path / "src/seedwise/kernels/csrc"
    place.mkdir(parents=True)
    shutil.copy(compiling.__file__, place.parent)
    for name in ("one", "two"):
        (place / f"{name}.cpp").write_text(f'extern "C" int {name}() {{ return 1; }}\n')
    interface = ModuleType("hatchling.builders.hooks.plugin.interface")
    interface.BuildHookInterface = object  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, interface.__name__, interface)
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(version: str = "standard", targets: str | None = "generic", cxx: str | None = None) -> dict[str, Any]:
        for variable, value in ((module.WANTED, targets), ("CXX", cxx)):
            monkeypatch.delenv(variable, raising=False)
            if value is not None:
                monkeypatch.setenv(variable, value)
        hook = module.KernelHook()
        hook.root, hook.app = str(tmp_path), SimpleNamespace(display_warning=said.append)
        data: dict[str, Any] = {"force_include": {}, "pure_python": True}
        hook.initialize(version, data)
        return data

    return run


@needs_compiler
def test_an_install_compiles_what_the_package_loads(build: Build, tmp_path: Path, said: list[str]) -> None:
    data = build()
    assert said == [] and data["pure_python"] is False and data["tag"].startswith("py3-none-")
    assert len(data["force_include"]) == 4
    for name in ("one", "two"):
        source = tmp_path / f"src/seedwise/kernels/csrc/{name}.cpp"
        library = compiling.name_of(source, "generic", str(compiling.compiler_version()))
        built = tmp_path / "src/seedwise/kernels" / compiling.PREBUILT / library
        assert compiling.is_sound(built)
        for path in (built, compiling.checksum_file(built)):
            assert data["force_include"][str(path)] == f"seedwise/kernels/{compiling.PREBUILT}/{path.name}"
    before = built.stat().st_mtime_ns
    assert build() == data and built.stat().st_mtime_ns == before


@needs_compiler
def test_an_editable_install_finds_them_beside_its_source(build: Build, tmp_path: Path) -> None:
    assert build("editable") == {"force_include": {}, "pure_python": True}
    assert len(list((tmp_path / "src/seedwise/kernels" / compiling.PREBUILT).glob("*-generic-*.so"))) == 2


@needs_compiler
@pytest.mark.skipif(bool(compiling.missing("avx2")), reason="no AVX2")
def test_it_is_for_this_machine_unless_classes_are_named(build: Build) -> None:
    def classes(targets: str | None) -> set[str]:
        return {Path(path).name.split("-")[1] for path in build(targets=targets)["force_include"]}

    assert classes(None) == {compiling.best_target()}
    assert classes("avx512 avx2 generic") == {"avx512", "avx2", "generic"}  # an AVX-512 library can be built anywhere
    assert classes("none") == set()
    with pytest.raises(
        ValueError, match="SEEDWISE_BUILD_TARGETS: there is no avx3; name some of avx512, avx2, neon, generic"
    ):
        build(targets="avx3 generic")


def test_without_a_compiler_there_is_a_plain_wheel_and_a_line(build: Build, said: list[str]) -> None:
    assert build(cxx="/nowhere/c++") == {"force_include": {}, "pure_python": True}
    assert said == ["no C++ compiler: the kernels are compiled at first use, where there is one"]


@needs_compiler
def test_what_cannot_be_compiled_is_left_out(build: Build, said: list[str], tmp_path: Path) -> None:
    (tmp_path / "src/seedwise/kernels/csrc/bad.cpp").write_text("no C++\n")
    assert len(build()["force_include"]) == 4
    (line,) = said
    assert line.startswith("bad.cpp can't be compiled for generic (")
