"""Finds the source that DATA names: a known name, or a folder, a table or an archive."""

import difflib
import os
from collections.abc import Sequence
from pathlib import Path

from seedwise.base.errors import UserError
from seedwise.base.nearest import nearest
from seedwise.base.user_code import find
from seedwise.data import archive, csvfile
from seedwise.data.archive import ArchiveSource
from seedwise.data.cifar import PUBLISHED, find_published
from seedwise.data.config import DataConfig
from seedwise.data.csvfile import CsvSource
from seedwise.data.digits import DigitsSource
from seedwise.data.folder import FolderSource
from seedwise.data.parquet import ParquetSource
from seedwise.data.published import DownloadSource, download_folder
from seedwise.data.shards import config_folder, shard_folder
from seedwise.data.source import Source, printable
from seedwise.data.tree import ARCHIVE_SUFFIXES, TABLE_SUFFIXES
from seedwise.data.user_data import OPTION, UserSource
from seedwise.data.webdataset import WebDatasetSource, shards_of

KNOWN_NAMES = ("digits", *PUBLISHED)
DATA_VARIABLE = "SEEDWISE_DATA"


def find_source(name: str, data_dir: Path | None, config: DataConfig | None = None) -> Source:
    """The source of a name or path; known names come before folders of the same name (write `./digits` for the folder).
    `data_dir`: folder of local copies. A UserError says what is there instead."""
    config = config or DataConfig()
    if config.factory is not None:
        return _find_own(name, config.factory)
    if name == "digits":
        return DigitsSource()
    local = _local_folder(data_dir)
    if name in PUBLISHED:
        return _find_published(name, local, config)
    candidates = [_typed(name)] if local is None else [local / name, _typed(name)]
    # os.path's exists() is also False for names too long or otherwise impossible, where Path's raises
    path = next((candidate.resolve() for candidate in candidates if os.path.exists(candidate)), None)  # noqa: PTH110
    if path is None and (tars := shards_of(_typed(name).absolute())) is not None:
        pattern = _typed(name).absolute()
        return WebDatasetSource(pattern.parent.name, pattern, tuple(tars), config)
    if path is None:
        raise UserError(f"{name}: no such data: {_suggestion(name, candidates)}")
    if printable(str(path)) != str(path):  # what finds the data again is written down as text
        raise UserError(f"{printable(str(path))}: a path of data must be UTF-8 text in one line: rename it")
    return _find_by_content(path, config)


def _find_own(name: str, factory: str) -> Source:
    """The user's own data; a UserError where DATA, which only names them, is a known name."""
    if name in KNOWN_NAMES or name != str(Path(name)) or printable(name) != name:
        raise UserError(
            f"{printable(name)}: with {OPTION} it is only a name for what {factory} returns; give another, such as "
            "my-data, in one line and not one of " + ", ".join(KNOWN_NAMES)
        )
    find(OPTION, factory)  # a typo is said at once
    return UserSource(factory, name)


def _find_by_content(path: Path, config: DataConfig) -> Source:
    if (published := find_published(path)) is not None:
        return published
    if (tars := shards_of(path)) is not None:
        return WebDatasetSource(path.stem if path.is_file() else path.name, path, tuple(tars), config)
    if path.is_dir():
        if (shards := config_folder(path)) is not None:
            return ParquetSource(path.name, shards, config=config, given=path)
        if (labelled := csvfile.label_folder(path)) is not None:
            return CsvSource(path.name, labelled, config)
        return FolderSource(path.name, path, config)
    if not path.is_file():
        raise UserError(f"{path}: neither a file nor a folder: give the folder that holds the images")
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return ParquetSource(path.stem, path, config=config)
    if suffix in TABLE_SUFFIXES:
        return CsvSource(path.stem, path, config)
    if archive.is_archive(path):
        return ArchiveSource(_stem(path), path, config)
    known = ", ".join((".parquet", *TABLE_SUFFIXES, *ARCHIVE_SUFFIXES))
    raise UserError(f"{path}: is a file of no known kind ({known}): give one, or the folder that holds the images")


def _stem(path: Path) -> str:
    """A file's name without the suffix of an archive."""
    name = path.name
    suffix = max((suffix for suffix in ARCHIVE_SUFFIXES if name.lower().endswith(suffix)), key=len)
    return name[: -len(suffix)] or name


def _local_folder(data_dir: Path | None) -> Path | None:
    if data_dir is not None:
        return _typed(str(data_dir))
    return _typed(variable) if (variable := os.environ.get(DATA_VARIABLE)) else None


def _typed(path: str) -> Path:
    return Path(os.path.expanduser(path))  # noqa: PTH111 -- Path's raises for ~nobody


def _find_published(name: str, local: Path | None, config: DataConfig) -> Source:
    """Parquet files or the published archive, in the folder of local copies or from an earlier download."""
    # only the folder of that name may hold it a level below: what lies beside it are other data sets
    for folder, look in (
        () if local is None else (((local / name).resolve(), config_folder), (local.resolve(), shard_folder))
    ):
        if (shards := look(folder)) is not None:
            return ParquetSource(name, shards, PUBLISHED[name].classes, config, folder if folder.name == name else None)
        if (published := find_published(folder, (name,))) is not None:
            return published
    if (published := find_published(download_folder(name).absolute(), (name,))) is not None:
        return published
    if config.download:
        return DownloadSource(name)
    archive_name = PUBLISHED[name].archive
    layout = f"train-00000-of-00001.parquet and so on, {archive_name}, or {PUBLISHED[name].folder}/"
    download = f"or fetch it with -s data.download=true ({PUBLISHED[name].size / 1e6:.0f} MB)"
    if local is None:
        raise UserError(
            f"{name}: no local copy named: give its folder ({layout}) with --data-dir DIR or {DATA_VARIABLE}=DIR, "
            f"{download}"
        )
    places = f"{local / name} or {local}"
    raise UserError(f"{name}: no Parquet files and no archive ({layout}) in {places}: give its folder, {download}")


def _suggestion(name: str, candidates: Sequence[Path]) -> str:
    close = difflib.get_close_matches(name.lower(), KNOWN_NAMES, n=1) or list(filter(None, [nearest(name)]))
    for folder in candidates[:-1]:  # the one of local copies
        close += filter(None, [nearest(str(folder))])
    if close:
        return f"did you mean '{close[0]}'?"
    return f"give a folder or a file that exists, or one of {', '.join(KNOWN_NAMES)}"
