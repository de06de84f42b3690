"""Reads one Parquet file: its columns, their values, and its images, in the file or beside it."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from seedwise.base.errors import UserError
from seedwise.data.columns import tells_parts, word
from seedwise.data.config import DataConfig
from seedwise.data.labels import clean_name
from seedwise.data.places import Places, stamps
from seedwise.data.source import PART_OF, Int64Array, RawImage

ROWS_AT_A_TIME = 32
PEEKED_ROWS = 100
"""Rows of a text column that decide whether it may say the parts."""


@dataclass(frozen=True)
class ParquetFile:
    """A Parquet file, and the part that its name says; reads nothing before it is needed."""

    file: Path
    part: str | None
    config: DataConfig

    @cached_property
    def _meta(self) -> Any:
        with readable(self.file):
            import pyarrow.parquet as pq

            return pq.read_metadata(self.file)

    @cached_property
    def schema(self) -> Any:
        """pyarrow's schema: names and types of the columns."""
        with readable(self.file):
            return self._meta.schema.to_arrow_schema()

    @property
    def count(self) -> int:
        """Rows in the file."""
        return int(self._meta.num_rows)

    @cached_property
    def features(self) -> dict[str, Any]:
        """Metadata of the columns as the Hugging Face libraries write them."""
        with readable(self.file):
            metadata = json.loads((self.schema.metadata or {}).get(b"huggingface", b"{}"))
            return dict(metadata.get("info", {}).get("features", {}))

    @cached_property
    def places(self) -> Places:
        """Resolves image names to files."""
        return Places(self.file, self.config)

    def kind(self, column: str) -> Any:
        """Type of a column; a UserError without one."""
        if column not in self.schema.names:
            raise UserError(f"{self.file}: no column '{column}', which other files there have: write all alike")
        return self.schema.field(column).type

    def holds_bytes(self, column: str) -> bool:
        """Whether a column may hold images as bytes."""
        import pyarrow as pa

        kind = self.kind(column)
        if pa.types.is_struct(kind):
            return bool(kind.get_field_index("bytes") >= 0)
        return str(kind) in ("binary", "large_binary", "binary_view")

    def is_text(self, column: str) -> bool:
        """Whether a column holds strings."""
        return _is_text(self.kind(column))

    def is_integer(self, column: str) -> bool:
        """Whether a column holds whole numbers."""
        import pyarrow as pa

        return bool(pa.types.is_integer(self.kind(column)))

    def is_float(self, column: str) -> bool:
        """Whether a column holds floating-point numbers."""
        import pyarrow as pa

        return bool(pa.types.is_floating(self.kind(column)))

    def is_plain(self, column: str) -> bool:
        """Whether `values` can read a column."""
        import pyarrow as pa

        kind = self.kind(column)
        others = (pa.types.is_boolean, pa.types.is_null, pa.types.is_integer, pa.types.is_floating)
        return _is_text(kind) or any(test(kind) for test in others)

    def words(self, column: str) -> list[Any]:
        """Values of a column that may say the parts: as `values` returns them, and bytes as text."""
        import pyarrow as pa

        kind = self.kind(column)
        if self.is_plain(column):
            return self.values(column)
        if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
            raise UserError(
                f"{self.file}: column '{column}' may say the parts and holds {kind}: write train, val or test in it, "
                "or draw the parts with -s data.split_column=none"
            )
        return [None if value is None else value.decode("utf-8", "replace") for value in self._read(column).to_pylist()]

    def _read(self, column: str) -> Any:
        import pyarrow.parquet as pq

        with readable(self.file):
            return pq.read_table(self.file, columns=[column], partitioning=None).column(column)

    def values(self, column: str, clean: bool = True) -> list[Any]:
        """Values of a column: numbers, text, booleans as text, None. `clean`: text as `clean_name` returns it."""
        import pyarrow as pa

        if not self.is_plain(column):
            raise UserError(
                f"{self.file}: column '{column}' holds {self.kind(column)}: it must be of integers or strings"
            )
        read = self._read(column)
        with readable(self.file):
            if pa.types.is_dictionary(read.type):
                read = read.cast(read.type.value_type)
            values = list(read.to_pylist())
        if self.is_text(column) and clean:
            cleaned = {value: clean_name(value) or None for value in set(values) if value is not None}
            return [cleaned.get(value) for value in values]
        if pa.types.is_boolean(read.type):
            return [None if value is None else str(value) for value in values]
        return values

    def labels(self, column: str) -> list[Any]:
        """Labels of a column: whole numbers, text or None; floats must be whole, as programs write them beside NaN."""
        values = self.values(column)
        if not self.is_float(column):
            return values
        for row, value in enumerate(values):
            if value is not None and value == value and not (abs(value) < 2**53 and value == int(value)):
                raise UserError(
                    f"{self.file}: row {row}: column '{column}' holds {value}: it must be of integers or strings; "
                    "name the labels with -s data.label_column=NAME"
                )
        return [None if value is None or value != value else int(value) for value in values]

    def only_parts(self, column: str) -> bool:
        """Whether the first rows of a text column hold only names of parts."""
        values = self._peek(column)
        return bool(values) and all(word(value) in PART_OF for value in values)

    def tells_parts(self, column: str) -> bool:
        """Whether the first rows of a text column name parts, alone or among others."""
        return self.only_parts(column) or tells_parts(self._peek(column))

    def _peek(self, column: str) -> list[Any]:
        """First rows of a text column; empty for another one."""
        import pyarrow.parquet as pq

        if not self.is_text(column):
            return []
        with readable(self.file), pq.ParquetFile(self.file) as parquet:
            batch = next(parquet.iter_batches(PEEKED_ROWS, columns=[column]), None)
            return [] if batch is None else list(batch.column(0).to_pylist())

    def outside(self, column: str) -> Iterator[tuple[int, str, bool]]:
        """Yield (row, name, whether it must exist) of images that may lie outside of the file.

        Of structs with bytes and paths only the paths are read, and only in row groups that lack bytes by their
        statistics. Where some rows of a group have bytes it is not looked up which, so a name is then one of a file if
        there is one.
        """
        if self.is_text(column):
            yield from ((row, name, True) for row, name in enumerate(self.values(column, clean=False)) if name)
            return
        import pyarrow as pa
        import pyarrow.parquet as pq

        kind = self.kind(column)
        if not pa.types.is_struct(kind) or min(map(kind.get_field_index, ("bytes", "path"))) < 0:
            return
        leaf = [self._meta.schema.column(at).path for at in range(self._meta.num_columns)].index(f"{column}.bytes")
        are_none = pa.types.is_null(kind.field("bytes").type)
        first = 0
        with readable(self.file), pq.ParquetFile(self.file, metadata=self._meta) as parquet:
            for group in range(self._meta.num_row_groups):
                rows, statistics = (
                    self._meta.row_group(group).num_rows,
                    self._meta.row_group(group).column(leaf).statistics,
                )
                nulls = statistics.null_count if statistics is not None and statistics.has_null_count else None
                if nulls != 0:
                    for row, value in enumerate(parquet.read_row_group(group, [f"{column}.path"])[column].to_pylist()):
                        if value and value["path"]:
                            yield first + row, value["path"], are_none or nulls == rows
                first += rows

    def beside(self, column: str) -> Iterator[tuple[Places, str, str]]:
        """Yield images outside of the file, as `places.stamps` takes them."""
        for row, name, is_needed in self.outside(column):
            if is_needed or os.path.isfile(self.places.path(name)):  # noqa: PTH113
                yield self.places, name, f"{self.file}: row {row}"

    def images(self, column: str, wanted: Int64Array) -> Iterator[RawImage]:
        """Yield the images of rows int64[n] in order; only a few rows are in memory at a time."""
        import pyarrow.parquet as pq

        row, chosen = 0, set(wanted.tolist())
        with readable(self.file), pq.ParquetFile(self.file) as parquet:
            for batch in parquet.iter_batches(ROWS_AT_A_TIME, columns=[column]):
                for value in batch.column(0):
                    if row in chosen:
                        yield self._image(row, column, value.as_py())
                    row += 1

    def _image(self, row: int, column: str, value: Any) -> RawImage:
        where, name = f"{self.file}: row {row}", value if isinstance(value, str) else None
        if isinstance(value, dict):  # as the hub has it: bytes, or the path of a file beside
            value, name = value.get("bytes"), value.get("path")
        if isinstance(value, bytes):
            return RawImage(where, value)
        if not name:
            raise UserError(f"{where}: no bytes in column '{column}', nor a file: remove or fill the row")
        path = self.places.path(name)
        if not os.path.isfile(path):  # noqa: PTH113
            stamps([(self.places, name, f"{where}: no bytes in column '{column}'")])  # says what would lead to it
        return RawImage(f"{where}: {name}", Path(path))


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return str(kind) in ("string", "large_string", "string_view")


@contextmanager
def readable(file: Path) -> Iterator[None]:
    """Turns what pyarrow and json say about a damaged file into one line; and that there is no pyarrow."""
    try:
        import pyarrow as pa
    except ModuleNotFoundError as error:
        said = 'reading Parquet needs pyarrow, which is not installed here; pip install "seedwise[parquet]" brings it'
        raise UserError(f"{file}: {said}") from error
    try:
        yield
    except (pa.ArrowException, OSError, KeyError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{file}: not a readable Parquet file ({reason}): copy it again") from error
