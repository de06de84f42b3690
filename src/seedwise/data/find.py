"""From what the user typed to a source: a known name, or a folder."""

import difflib
import os
from pathlib import Path

from seedwise.data.digits import DigitsSource
from seedwise.data.folder import FolderSource
from seedwise.data.parquet import ParquetSource, shard_folder
from seedwise.data.source import Source
from seedwise.errors import UserError

PARQUET_NAMES = {"cifar10": 10, "cifar100": 100}
"""Data sets that are looked for as Parquet files under their name, with their number of classes."""
KNOWN_NAMES = ("digits", *PARQUET_NAMES)
DATA_VARIABLE = "SEEDWISE_DATA"


def find_source(name: str, data_dir: Path | None) -> Source:
    """The source of this name; known names come before folders of the same name (write `./digits` for the folder)."""
    if name == "digits":
        return DigitsSource()
    local = _local_folder(data_dir)
    if name in PARQUET_NAMES:
        return _find_parquet(name, local)
    candidates = [Path(name).expanduser()] if local is None else [local / name, Path(name).expanduser()]
    # os.path's exists() is also False for names too long or otherwise impossible, where Path's raises
    path = next((candidate.resolve() for candidate in candidates if os.path.exists(candidate)), None)  # noqa: PTH110
    if path is None:
        raise UserError(f"{name}: no such data: {_suggestion(name)}")
    if not path.is_dir():
        raise UserError(f"{name}: is a file: give the folder that holds the images or the Parquet files")
    shards = shard_folder(path)
    return FolderSource(path.name, path) if shards is None else ParquetSource(path.name, shards)


def _local_folder(data_dir: Path | None) -> Path | None:
    if data_dir is not None:
        return data_dir.expanduser()
    return Path(variable).expanduser() if (variable := os.environ.get(DATA_VARIABLE)) else None


def _find_parquet(name: str, local: Path | None) -> Source:
    layout = "train-00000-of-00001.parquet and so on"
    if local is None:
        raise UserError(
            f"{name}: no local copy named: give its folder ({layout}) with --data-dir DIR or {DATA_VARIABLE}=DIR"
        )
    for folder in (local / name, local):
        if (shards := shard_folder(folder.resolve())) is not None:
            return ParquetSource(name, shards, PARQUET_NAMES[name])
    raise UserError(f"{name}: no Parquet files ({layout}) in {local / name} or {local}: give the folder with them")


def _suggestion(name: str) -> str:
    if close := difflib.get_close_matches(name.lower(), KNOWN_NAMES, n=1):
        return f"did you mean '{close[0]}'?"
    return f"give a folder that exists, or one of {', '.join(KNOWN_NAMES)}"
