"""Puts each fault of in_*.py into a copy of the tree, and runs the tests that have to notice it.

python tests/mutation/run.py                 # `make mutants`: for each fault the tests that are named for it
python tests/mutation/run.py --only Holm        # faults with this in their name
python tests/mutation/run.py --all              # what `make test` selects, for each fault: hours

A fault that no test notices survives: a test is missing. So is a run of tests that could not even begin.
"""

import argparse
import importlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from fault import ROOT, SOURCE, Fault
from faults import FAULTS

FAILED = 1
"""pytest's exit code where tests ran and some failed."""
LIMIT = 600
"""Seconds after which a fault's own tests are killed: they may wait for ever, which nobody would notice."""
NEEDED = ("src", "tests", "benchmarks", "docs", "studies", "Makefile", "pyproject.toml", "README.md", "hatch_build.py")
OPTIONS = (
    *("-x", "-q", "--no-header", "--tb=line", "-p", "no:cacheprovider"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # of what was loaded before
)


def main() -> int:
    """The number of survivors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[""], help="faults whose name has one of these texts")
    parser.add_argument("--all", action="store_true", help="run all of `make test` for each")
    options = parser.parse_args()
    chosen = [fault for fault in FAULTS if any(text.lower() in fault.name.lower() for text in options.only)]
    survivors = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "tree"
        for name in NEEDED:
            _copy(ROOT / name, copy / name)
        run = _all_tests if options.all else _named_tests()
        for fault in chosen:
            survivors += not _dies(fault, copy, run)
    print(f"{len(chosen) - survivors} of {len(chosen)} faults are noticed")
    return survivors


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", ".hypothesis"))
    elif source.exists():
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(source, target)


def _dies(fault: Fault, copy: Path, run: Callable[[Fault, Path, Path], int]) -> bool:
    """Whether tests fail with this fault; says so, and what they said where they don't."""
    place, log, began = copy / SOURCE / fault.file, copy / "log", time.perf_counter()
    right = place.read_text(encoding="utf-8")
    place.write_text(fault.text(), encoding="utf-8")
    try:
        code = run(fault, copy, log)
    finally:
        place.write_text(right, encoding="utf-8")
    dead = code == FAILED
    print(f"{'noticed' if dead else 'SURVIVED'}  {time.perf_counter() - began:5.1f} s  {fault.file}: {fault.name}")
    if not dead:
        print(log.read_text(encoding="utf-8", errors="replace")[-2000:])
    sys.stdout.flush()
    return dead


def _environment(copy: Path) -> dict[str, str]:
    """Python finds the copy first; nothing compiled is written, for two texts of one size and second look the same."""
    paths = {"PYTHONPATH": str(copy / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    return paths | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}


def _all_tests(fault: Fault, copy: Path, log: Path) -> int:
    command = [sys.executable, "-m", "pytest", *OPTIONS, "-n", "2", "--dist", "worksteal", "-m", "not slow"]
    with log.open("w", encoding="utf-8") as out:
        environment = os.environ | _environment(copy)
        return subprocess.run(command, cwd=copy, env=environment, stdout=out, stderr=out, check=False).returncode


def _named_tests() -> Callable[[Fault, Path, Path], int]:
    """Runs a fault's own tests in a child of this process, which has loaded once what takes seconds."""
    for name in ("numpy", "scipy.stats", "torch", "torchvision", "timm", "hypothesis"):
        importlib.import_module(name)
    assert not any(name.split(".")[0] == "seedwise" for name in sys.modules), "it has to come from the copy"

    def run(fault: Fault, copy: Path, log: Path) -> int:
        if child := os.fork():
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        code = 70
        try:
            with log.open("wb") as out:
                os.dup2(out.fileno(), 1)
                os.dup2(out.fileno(), 2)
            signal.alarm(LIMIT)
            os.chdir(copy)
            os.environ |= _environment(copy)
            sys.dont_write_bytecode = True
            sys.path[:] = [str(copy / "src"), *(entry for entry in sys.path if entry != str(Path(__file__).parent))]
            code = int(pytest.main([*OPTIONS, *(f"tests/{test}" for test in fault.tests.split())]))
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    return run


if __name__ == "__main__":
    sys.exit(main())
