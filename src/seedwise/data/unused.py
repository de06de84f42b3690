"""Finds options that have no effect on the data at hand."""

from seedwise.data.archive import ArchiveSource
from seedwise.data.config import DataConfig
from seedwise.data.csvfile import CsvSource
from seedwise.data.folder import FolderSource
from seedwise.data.parquet import ParquetSource
from seedwise.data.source import Source
from seedwise.data.user_data import OwnSource

OF_TABLES = ("image_column", "label_column", "split_column", "image_folder", "image_suffix")
OF_FOLDERS = ("class_level",)


def unused(source: Source, config: DataConfig) -> list[str]:
    """Names of the options that are set and have no effect on images from such a source."""
    options = (() if _is_table(source) else OF_TABLES) + (() if _has_folders(source) else OF_FOLDERS)
    return [name for name in options if getattr(config, name) is not None]


def unused_options(source: Source, config: DataConfig) -> list[str]:
    """`unused` as a doubt, or none: `data.split_column does nothing for a folder of images`."""
    names = [f"data.{name}" for name in unused(source, config)]
    if not names:
        return []
    return [f"{', '.join(names)} {'does' if len(names) == 1 else 'do'} nothing for {_kind(source)}"]


def _is_table(source: Source) -> bool:
    return isinstance(source, CsvSource | ParquetSource)


def _has_folders(source: Source) -> bool:
    return isinstance(source, FolderSource | ArchiveSource)


def _kind(source: Source) -> str:
    kinds: dict[type, str] = {
        FolderSource: "a folder of images",
        ArchiveSource: "an archive of images",
        CsvSource: "a table",
        ParquetSource: "Parquet files",
        OwnSource: "what data.factory returns",
    }
    return kinds.get(type(source), source.name)
