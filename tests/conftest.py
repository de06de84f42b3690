"""Marks tests that compute with tensors, so that `make quick` runs all others."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
TRAINED_IN = ("integration", "conformance", "soak", "gpu")
"""Folders whose tests train, predict or start processes that do."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Not even import files whose tests `make quick` leaves out: torch takes seconds, and in each worker."""
    left_out = "not tensors" in (config.option.markexpr or "") and collection_path.match("test_*.py")
    return True if left_out and _computes(collection_path) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark a test `tensors` where its file, or what that imports of seedwise, imports torch, and where it trains.

    To find out takes seconds, in each worker, so it is done only where it is asked for.
    """
    for item in items if "tensors" in (config.option.markexpr or "") else ():
        if _computes(Path(item.path)):
            item.add_marker(pytest.mark.tensors)


def _computes(path: Path) -> bool:
    return path.relative_to(ROOT / "tests").parts[0] in TRAINED_IN or _reaches_torch(path)


@functools.cache
def _reaches_torch(start: Path) -> bool:
    """Whether importing a file imports torch: by the imports that are not inside functions, theirs included."""
    seen, waiting = {start}, [start]
    for path in waiting:  # which grows meanwhile
        for name in _imported(path):
            if name.split(".")[0] in ("torch", "timm", "torchvision"):
                return True
            found = [
                SOURCE / name.replace(".", "/") / "__init__.py",
                (SOURCE / name.replace(".", "/")).with_suffix(".py"),
            ]
            new = [file for file in found if file.is_file() and file not in seen]
            seen.update(new)
            waiting += new
    return False


@functools.cache
def _imported(path: Path) -> tuple[str, ...]:
    """The modules that a file imports when it is imported, and whatever of them may be one."""
    return tuple(_names(path))


def _names(path: Path) -> Iterator[str]:
    body = list(ast.parse(path.read_text(encoding="utf-8")).body)
    for node in body:  # which grows meanwhile
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{each.name}" for each in node.names)
        elif (isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.dump(node.test)) or isinstance(
            node, ast.Try | ast.With
        ):
            body += node.body
