"""Compiles the kernels when a wheel is built or seedwise is installed; without a compiler they are left out.

For this machine's class of processors (`src/seedwise/kernels/build.py` names them), or for those that
SEEDWISE_BUILD_TARGETS names (`avx512 avx2 generic`; `none`: for no class): a wheel for other machines has all three.
"""

import importlib.util
import os
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

WANTED = "SEEDWISE_BUILD_TARGETS"


class KernelHook(BuildHookInterface):  # type: ignore[misc]
    """hatchling looks for it by its base class."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile into the package's folder, where an editable install finds them, and put them into the wheel."""
        compiling = _compiling(Path(self.root))
        wanted = os.environ.get(WANTED, compiling.best_target()).split()
        if unknown := sorted({*wanted} - {*compiling.TARGETS, "none"}):
            raise ValueError(
                f"{WANTED}: there is no {unknown[0]}; name some of {', '.join(compiling.TARGETS)}, or none"
            )
        built = self._prebuilt(compiling, [name for name in compiling.TARGETS if name in wanted])
        for path in built if version != "editable" else ():
            build_data["force_include"][str(path)] = f"seedwise/kernels/{compiling.PREBUILT}/{path.name}"
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"

    def _prebuilt(self, compiling: Any, targets: list[str]) -> list[Path]:
        """Libraries and checksums of all kernels for some targets; what is whole already isn't compiled again."""
        version = compiling.compiler_version()
        if version is None:
            self.app.display_warning("no C++ compiler: the kernels are compiled at first use, where there is one")
            return []
        into = compiling.PACKAGE / compiling.PREBUILT
        into.mkdir(exist_ok=True)

        def library(source: Path, target: str) -> Path:
            built: Path = into / compiling.name_of(source, target, version)
            if not compiling.is_sound(built):
                try:
                    compiling.compile_to(built, source, target)
                    compiling.checksum_file(built).write_text(compiling.checksum_text(built))
                except (OSError, subprocess.SubprocessError) as error:
                    why = compiling.reason(error)
                    self.app.display_warning(f"{source.name} can't be compiled for {target} ({why})")
            return built

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            found = [pool.submit(library, source, target) for source in compiling.sources() for target in targets]
        sound = [each.result() for each in found if compiling.is_sound(each.result())]
        return [path for built in sound for path in (built, compiling.checksum_file(built))]


def _compiling(root: Path) -> Any:
    """A part of a package whose other parts need what isn't installed yet."""
    spec = importlib.util.spec_from_file_location("seedwise_compiling", root / "src/seedwise/kernels/build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
