"""Parquet files: shards in the Hugging Face layout, files named after their part, or a single file."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from seedwise.data.config import DataConfig
from seedwise.data.source import PART_OF, Contents, Int64Array, RawImage, file_stamp
from seedwise.data.table import (
    COARSE_COLUMN,
    IMAGE_COLUMNS,
    LABEL_COLUMNS,
    PATH_COLUMNS,
    Columns,
    Header,
    Rows,
    part_of,
)
from seedwise.errors import UserError

ROWS_AT_A_TIME = 32

_SHARD = re.compile(r"(?P<split>\w+)-(?P<index>\d+)-of-(?P<count>\d+)\.parquet")


def shard_folder(folder: Path) -> Path | None:
    """Where Parquet files lie: the folder itself, `data/` in it as in a clone from the Hugging Face hub, or the folder
    of folders `train/`, `test/` that hold them.

    Files that are not named like shards may be somebody's notes beside folders of images, so then they do not count.
    """
    for candidate in (folder, folder / "data"):
        if not candidate.is_dir():
            continue
        files = _parquet_files(candidate)
        has_shards = any(_SHARD.fullmatch(file.name) for file in files)
        if has_shards or (files and (files[0].parent != candidate or not _has_folders(candidate))):
            return candidate
    return None


def _has_folders(folder: Path) -> bool:
    return any(inside.is_dir() and not inside.name.startswith(".") for inside in folder.iterdir())


def _parquet_files(folder: Path) -> list[Path]:
    """Sorted; in folders named after parts only when there are none in the folder itself."""
    try:
        files = sorted(file for file in folder.glob("*.parquet") if not file.name.startswith("."))
        if not files:
            parts = [inside for inside in sorted(folder.iterdir()) if inside.name.lower() in PART_OF]
            files = [file for part in parts for file in sorted(part.glob("*.parquet"))]
    except OSError as error:
        raise UserError(f"{folder}: cannot be listed ({error.strerror}): check its permissions") from error
    return files


@dataclass(frozen=True)
class ParquetSource:
    """A Parquet file, or a folder of them."""

    name: str
    path: Path
    expected_classes: int | None = None
    """How many classes a data set known by name has, so that another one in its place is noticed."""
    config: DataConfig = field(default_factory=DataConfig)

    @cached_property
    def _files(self) -> dict[Path, str | None]:
        """The files in order, with the part that the name of each says; None when no name says any."""
        if not self.path.is_dir():
            return {self.path: None}
        files = _parquet_files(self.path)
        shards = {file: shard for file in files if (shard := _SHARD.fullmatch(file.name))}
        shards = {file: shard for file, shard in shards.items() if shard["split"] in PART_OF}
        if shards:
            return dict(_complete(self.path, shards))
        parts = {file: _named_part(file.relative_to(self.path)) for file in files}
        if None in parts.values() and len(set(parts.values())) > 1:
            unclear = next(file for file, part in parts.items() if part is None)
            raise UserError(f"{unclear}: its name says no part, but others there do: add train, val or test to it")
        if "train" not in parts.values() and None not in parts.values():
            raise UserError(f"{self.path}: no train-*-of-*.parquet among the Parquet files: add the training split")
        return parts

    def stamp(self) -> list[str]:
        """Every Parquet file, and every image that lies outside of them, with its size and time."""
        stamps = [file_stamp(file) for file in self._files]
        if self.config.image_column or self.config.label_column:
            stamps.append(f"columns {self.config.image_column!r} {self.config.label_column!r}")
        column = self._columns.image
        for file in self._files if not self._holds_bytes(column) else ():
            stamps += [file_stamp(_beside(file, path)) for path in self._column(file, column)]
        return stamps

    def read(self) -> Contents:
        """Class names from the metadata or the training labels, and labels of every part."""
        columns, features = self._columns, self._features
        labels, above, parts = [], [], []
        for file, part in self._files.items():
            found = self._column(file, columns.label)
            labels += found
            above += [] if columns.coarse is None else self._column(file, columns.coarse)
            if part is None and columns.split is not None:
                parts += [part_of(value, f"{file}") for value in self._column(file, columns.split)]
            else:
                parts += [part or "train"] * len(found)
        rows = Rows(
            self.path,
            columns,
            labels,
            parts,
            features.get(columns.label, {}).get("names"),
            None if columns.coarse is None else above,
            features.get(COARSE_COLUMN, {}).get("names"),
        )
        contents = rows.contents(self._images)
        if self.expected_classes not in (None, len(contents.classes)):
            raise UserError(
                f"{self.path}: {len(contents.classes)} classes, but {self.name} has {self.expected_classes}: "
                f"give the folder of {self.name}"
            )
        return contents

    @cached_property
    def _schema(self) -> Any:
        import pyarrow.parquet as pq

        first = next(iter(self._files))
        with _readable(first):
            return pq.read_schema(first)

    @cached_property
    def _features(self) -> dict[str, Any]:
        with _readable(next(iter(self._files))):
            metadata = json.loads((self._schema.metadata or {}).get(b"huggingface", b"{}"))
            return dict(metadata.get("info", {}).get("features", {}))

    @cached_property
    def _columns(self) -> Columns:
        import pyarrow as pa

        names, images = self._schema.names, [name for name in self._schema.names if self._holds_bytes(name)]
        texts = [name for name in names if _is_text(self._schema.field(name).type)]
        integers = [name for name in names if pa.types.is_integer(self._schema.field(name).type)]
        labels = [name for name in names if name in (*LABEL_COLUMNS, *integers, *texts)]
        paths = [name for name in texts if name in (*IMAGE_COLUMNS, *PATH_COLUMNS)]
        stated = [name for name, feature in self._features.items() if feature.get("_type") == "ClassLabel"]
        header = Header(names, images or paths, labels, [name for name in stated if name != COARSE_COLUMN])
        return header.choose(self.config, next(iter(self._files)))

    def _holds_bytes(self, column: str) -> bool:
        import pyarrow as pa

        kind = self._schema.field(column).type
        if pa.types.is_struct(kind):
            return bool(kind.get_field_index("bytes") >= 0)
        return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))

    def _column(self, file: Path, column: str) -> list[Any]:
        """All values of a column of labels or paths."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        with _readable(file):
            read = pq.read_table(file, columns=[column], partitioning=None).column(column)
            if pa.types.is_dictionary(read.type):
                read = read.cast(read.type.value_type)
            if not (pa.types.is_integer(read.type) or _is_text(read.type)):
                raise UserError(f"{file}: column '{column}' holds {read.type}: it must be of integers or strings")
            if read.null_count:
                raise UserError(f"{file}: column '{column}' has {read.null_count} rows without a value: fill them")
            return list(read.to_pylist())

    def _images(self, rows: Int64Array) -> Iterator[RawImage]:
        import pyarrow.parquet as pq

        first = 0
        for file in self._files:
            with _readable(file):
                count = pq.read_metadata(file).num_rows
            wanted = rows[np.searchsorted(rows, first) : np.searchsorted(rows, first + count)] - first
            first += count
            if len(wanted):
                yield from _rows_of(file, self._columns.image, wanted)


def _complete(folder: Path, shards: dict[Path, re.Match[str]]) -> Iterator[tuple[Path, str]]:
    """The part of each shard. A missing one is an error: half a training set is another training set."""
    group_of: dict[str, str] = {}
    there: dict[str, int] = {}
    for shard in shards.values():
        part, group = PART_OF[shard["split"]], f"{shard['split']}-*-of-{shard['count']}.parquet"
        if group_of.setdefault(part, group) != group:
            raise UserError(f"{folder}: both {group_of[part]} and {group} are there: keep one of the two sets")
        there[part] = there.get(part, 0) + 1
    for part, group in group_of.items():
        if there[part] != (wanted := int(group.removesuffix(".parquet").rsplit("-", 1)[1])):
            raise UserError(f"{folder / group}: {there[part]} of {wanted} files are there: copy all of them")
    if "train" not in group_of:
        raise UserError(f"{folder}: no train-*-of-*.parquet among the Parquet files: add the training split")
    return ((file, PART_OF[shard["split"]]) for file, shard in shards.items())


def _named_part(file: Path) -> str | None:
    """The part whose name is a word of a file's path (`cifar_train.parquet`, `test/0000.parquet`)."""
    words = re.split(r"[^a-z]+", str(file.with_suffix("")).lower())
    parts = {PART_OF[word] for word in words if word in PART_OF}
    if len(parts) > 1:
        raise UserError(f"{file}: its name says both {' and '.join(sorted(parts))}: rename it")
    return parts.pop() if parts else None


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _beside(file: Path, path: str) -> str:
    return os.path.join(file.parent, path)  # noqa: PTH118 -- 100,000 Paths take a second of every start


def _rows_of(file: Path, column: str, wanted: Int64Array) -> Iterator[RawImage]:
    """Images one by one; only a few rows are in memory at a time."""
    import pyarrow.parquet as pq

    row, chosen = 0, set(wanted.tolist())
    with _readable(file), pq.ParquetFile(file) as parquet:
        for batch in parquet.iter_batches(ROWS_AT_A_TIME, columns=[column]):
            for value in batch.column(0):
                if row in chosen:
                    yield _raw_image(file, row, column, value.as_py())
                row += 1


def _raw_image(file: Path, row: int, column: str, value: Any) -> RawImage:
    path = value if isinstance(value, str) else None
    if isinstance(value, dict):  # as the hub has it: bytes, or the path of a file beside
        value, path = value.get("bytes"), value.get("path")
    if isinstance(value, bytes):
        return RawImage(f"{file}: row {row}", value)
    if not path or not os.path.isfile(_beside(file, path)):  # noqa: PTH113
        raise UserError(f"{file}: row {row}: no bytes in column '{column}', nor a file: remove or fill the row")
    return RawImage(f"{file}: row {row}: {path}", Path(_beside(file, path)))


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """Turns what pyarrow and json say about a damaged file into one line."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, KeyError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{file}: not a readable Parquet file ({reason}): copy it again") from error
