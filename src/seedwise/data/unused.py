"""Finds options that have no effect on the data at hand."""

from seedwise.data.archive import ArchiveSource
from seedwise.data.config import DataConfig
from seedwise.data.csvfile import CsvSource
from seedwise.data.folder import FolderSource
from seedwise.data.parquet import ParquetSource
from seedwise.data.source import Source
from seedwise.data.user_data import UserSource

OF_TABLES = ("image_column", "label_column", "split_column", "image_folder", "image_suffix")
OF_FOLDERS = ("class_level",)
KINDS: dict[type, tuple[str, tuple[str, ...]]] = {
    FolderSource: ("a folder of images", OF_FOLDERS),
    ArchiveSource: ("an archive of images", OF_FOLDERS),
    CsvSource: ("a table", OF_TABLES),
    ParquetSource: ("Parquet files", OF_TABLES),
    UserSource: ("what data.factory returns", ()),
}
"""What each kind of source is called, and the options that only some kinds have and it does; the others have none."""


def unused(source: Source, config: DataConfig) -> list[str]:
    """Names of the options that are set and have no effect on images from such a source."""
    _, own = KINDS.get(type(source), ("", ()))
    return [name for name in (*OF_TABLES, *OF_FOLDERS) if name not in own and getattr(config, name) is not None]


def unused_options(source: Source, config: DataConfig) -> list[str]:
    """`unused` as a doubt, or none: `data.split_column does nothing for a folder of images`."""
    names = [f"data.{name}" for name in unused(source, config)]
    if not names:
        return []
    kind, _ = KINDS.get(type(source), (source.name, ()))
    return [f"{', '.join(names)} {'does' if len(names) == 1 else 'do'} nothing for {kind}"]
