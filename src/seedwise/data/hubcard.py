"""Reads the README.md of a Hugging Face data set: the split of each file, and the rows of each split.

The header is described in https://huggingface.co/docs/datasets/repository_structure.
"""

import fnmatch
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from seedwise.base.errors import UserError
from seedwise.data.naming import exact_part

README = "README.md"
LONGEST = 1 << 20
"""Bytes of a README.md that are read at most."""


@dataclass(frozen=True)
class HubCard:
    """Splits as a data set's README.md declares them. `splits`: the split of each Parquet file that it names; `rows`:
    how many rows it says that each split has; `missing`: (split, path) of what it names and isn't there."""

    file: Path | None = None
    splits: Mapping[Path, str] = field(default_factory=dict)
    rows: Mapping[str, int] = field(default_factory=dict)
    missing: tuple[tuple[str, str], ...] = ()

    def stamp(self) -> list[str]:
        """Its declarations, for the stamp of the source; empty without any."""
        said = (sorted((str(file), split) for file, split in self.splits.items()), dict(self.rows), self.missing)
        return [f"card {said!r}"] if any(said) else []

    def doubts(self, rows: Mapping[str, int]) -> list[str]:
        """Doubts about parts with other numbers of rows than declared; a missing training file is a UserError."""
        for split, path in self.missing:
            if exact_part(split) == "train":
                raise UserError(
                    f"{self.file}: names {path} for its split {split}, which is not there: copy all of the files, or "
                    f"take the line out of {README}"
                )
        found = [f"{README} names {path} for its split {split}, which is not there" for split, path in self.missing]
        lacking = {split for split, _ in self.missing}
        for split, count in self.rows.items():
            part = exact_part(split)
            if part is None:
                continue
            if part in rows and rows[part] != count:
                found.append(f"{part} has {rows[part]:,} rows, and {README} says {count:,} of its split {split}")
            elif part not in rows and split not in lacking:
                found.append(f"{README} says that there is a split {split} ({count:,} rows), but no file is called so")
        return found


def read_card(root: Path, files: Iterable[Path]) -> HubCard:
    """Read the card of a folder, for these files alone; empty when it declares nothing about them."""
    header, listed = _header(root / README), list(files)
    configs = {str(it.get("config_name", "default")): it for it in _dicts(header.get("configs"))}
    fitting = {name: found for name, it in configs.items() if (found := _splits(root, _patterns(it), listed))}
    name = next(iter(fitting)) if len(fitting) == 1 else None
    infos = _dicts(header.get("dataset_info"))
    named = [it for it in infos if name is not None and it.get("config_name", "default") == name]
    rows = {}
    if len(stated := named or infos) == 1:
        for split in _dicts(stated[0].get("splits")):
            if isinstance(split.get("num_examples"), int):
                rows[str(split.get("name"))] = int(split["num_examples"])
    if name is None:
        return HubCard(root / README, {}, rows) if rows else HubCard()
    splits = fitting[name]
    missing = tuple((split, path) for split, path in _patterns(configs[name]) if not _matching(root, path, listed))
    return HubCard(root / README, splits, rows, missing)


def _header(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as opened:
            text = opened.read(LONGEST).decode("utf-8-sig", "replace").replace("\r\n", "\n")
    except OSError:
        return {}
    head, _, rest = text.partition("---\n")
    if head.strip() or not rest:
        return {}
    try:
        read = yaml.safe_load(rest.split("\n---", 1)[0])
    except (yaml.YAMLError, ValueError, RecursionError):  # somebody's own text between two lines
        return {}
    return read if isinstance(read, dict) else {}


def _dicts(value: Any) -> list[dict[str, Any]]:
    listed = value if isinstance(value, list) else [value]
    return [it for it in listed if isinstance(it, dict)]


def _patterns(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(split, path) of a configuration, whose paths may have wildcards."""
    return [(split, os.path.normpath(f"{config.get('data_dir') or '.'}/{it}")) for split, it in _named(config)]


def _named(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    named = config.get("data_files")
    if isinstance(named, dict) and "split" not in named:
        named = [{"split": split, "path": path} for split, path in named.items()]
    for each in named if isinstance(named, list) else [named]:
        split, paths = (each.get("split", "train"), each.get("path")) if isinstance(each, dict) else ("train", each)
        for path in paths if isinstance(paths, list) else [paths]:
            if isinstance(path, str):
                yield str(split), path


def _matching(root: Path, pattern: str, files: list[Path]) -> list[Path]:
    return [file for file in files if fnmatch.fnmatchcase(os.path.relpath(file, root).replace(os.sep, "/"), pattern)]


def _splits(root: Path, patterns: list[tuple[str, str]], files: list[Path]) -> dict[Path, str]:
    """The split of each file; a UserError for a file that two splits name."""
    found: dict[Path, str] = {}
    for split, pattern in patterns:
        for file in _matching(root, pattern, files):
            if found.setdefault(file, split) != split:
                raise UserError(
                    f"{root / README}: both splits {found[file]} and {split} have {file.name}: mend it there"
                )
    return found
