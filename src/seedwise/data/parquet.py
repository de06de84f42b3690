"""Parquet in the Hugging Face layout: `{split}-{i}-of-{n}.parquet` with an image and a label column."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from seedwise.data.source import VALIDATION_NAMES, Contents, Int64Array, Part, RawImage, file_stamp, require_classes
from seedwise.errors import UserError

LABEL_COLUMNS = ("fine_label", "label", "labels", "class", "target")
IMAGE_COLUMNS = ("image", "img")
COARSE_COLUMN = "coarse_label"
ROWS_AT_A_TIME = 32

_SHARD = re.compile(r"(?P<split>\w+)-(?P<index>\d+)-of-(?P<count>\d+)\.parquet")
_PART_OF_SPLIT = {"train": "train", "test": "test"} | dict.fromkeys(VALIDATION_NAMES, "val")


def shard_folder(folder: Path) -> Path | None:
    """Where the Parquet files lie: the folder itself, or `data/` in it as in a clone from the Hugging Face hub."""
    for candidate in (folder, folder / "data"):
        if candidate.is_dir() and any(_SHARD.fullmatch(file.name) for file in candidate.glob("*.parquet")):
            return candidate
    return None


@dataclass(frozen=True)
class ParquetSource:
    """A folder of Parquet files; `path` is the one that holds them."""

    name: str
    path: Path
    expected_classes: int | None = None
    """How many classes a data set known by name has, so that another one in its place is noticed."""

    @cached_property
    def _shards(self) -> dict[str, list[Path]]:
        """The files of each part, in order. A missing one is an error: half a training set is another training set."""
        shards: dict[str, list[Path]] = {}
        group_of: dict[str, str] = {}
        for file in sorted(self.path.glob("*.parquet")):
            shard = _SHARD.fullmatch(file.name)
            if shard is None or shard["split"] not in _PART_OF_SPLIT:
                continue
            part, group = _PART_OF_SPLIT[shard["split"]], f"{shard['split']}-*-of-{shard['count']}.parquet"
            if group_of.setdefault(part, group) != group:
                raise UserError(f"{self.path}: both {group_of[part]} and {group} are there: keep one of the two sets")
            shards.setdefault(part, []).append(file)
        for part, group in group_of.items():
            there, wanted = len(shards[part]), int(group.removesuffix(".parquet").rsplit("-", 1)[1])
            if there != wanted:
                raise UserError(f"{self.path / group}: {there} of {wanted} files are there: copy all of them")
        if "train" not in shards:
            raise UserError(f"{self.path}: no train-*-of-*.parquet among the Parquet files: add the training split")
        return shards

    def stamp(self) -> list[str]:
        """Every Parquet file with its size and time."""
        return [file_stamp(file) for files in self._shards.values() for file in files]

    def read(self) -> Contents:
        """Class names from the metadata or the training labels, and labels of every part."""
        first = self._shards["train"][0]
        with _readable(first):
            columns = _find_columns(first)
        labels = _Labels.of(self._column(columns.label), columns.label, columns.names, self.path)
        require_classes(labels.classes, self.path)
        if self.expected_classes not in (None, len(labels.classes)):
            raise UserError(
                f"{self.path}: {len(labels.classes)} classes, but {self.name} has {self.expected_classes}: "
                f"give the folder of {self.name}"
            )
        parts = {
            part: Part(labels.indices[part], lambda files=files: _images(files, columns.image))  # type: ignore[misc]
            for part, files in self._shards.items()
        }
        if columns.coarse_names is None:
            return Contents(labels.classes, parts)
        coarse = _Labels.of(self._column(COARSE_COLUMN), COARSE_COLUMN, columns.coarse_names, self.path)
        superclass_of = _superclass_of(labels, coarse)
        return Contents(labels.classes, parts, None if superclass_of is None else coarse.classes, superclass_of)

    def _column(self, column: str) -> dict[str, list[Any]]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        values: dict[str, list[Any]] = {}
        for part, files in self._shards.items():
            values[part] = []
            for file in files:
                with _readable(file):
                    read = pq.read_table(file, columns=[column]).column(column)
                    if pa.types.is_dictionary(read.type):
                        read = read.cast(read.type.value_type)
                    allowed = (pa.types.is_integer, pa.types.is_string, pa.types.is_large_string)
                    if not any(check(read.type) for check in allowed):
                        raise UserError(f"{file}: column '{column}' holds {read.type}: labels are integers or strings")
                    if read.null_count:
                        raise UserError(f"{file}: column '{column}' has {read.null_count} rows without a label")
                    values[part] += read.to_pylist()
        return values


@dataclass(frozen=True)
class _Columns:
    image: str
    label: str
    names: list[str] | None
    coarse_names: list[str] | None
    """None when there is no coarse column; empty when there is one without names."""


@dataclass(frozen=True)
class _Labels:
    classes: tuple[str, ...]
    indices: dict[str, Int64Array]

    @classmethod
    def of(cls, values: dict[str, list[Any]], column: str, names: list[str] | None, path: Path) -> "_Labels":
        """Indices into `names`, or into the sorted values of the training part when the file gives no names."""
        known = sorted(set(values["train"]))
        if names and isinstance(known[0], int):
            index = {number: number for number in range(len(names))}
            classes = tuple(names)
        else:
            index = {value: number for number, value in enumerate(known)}
            classes = tuple(str(value) for value in known)
        for part, part_values in values.items():
            for value in sorted(set(part_values)):
                if value not in index:
                    raise UserError(f"{path}: {part} has {column}={value!r}, none of {len(index)} classes: mend it")
                if value not in known:
                    name = classes[index[value]]
                    raise UserError(f"{path}: class '{name}' is in {part} but not in train: add it or remove it there")
        return cls(classes, {p: np.array([index[value] for value in v], np.int64) for p, v in values.items()})


def _superclass_of(labels: _Labels, coarse: _Labels) -> Int64Array | None:
    """The superclass of each class; None when some class does not lie in exactly one (then it is not a hierarchy)."""
    pairs = {
        (int(fine), int(above))
        for part in labels.indices
        for fine, above in zip(labels.indices[part], coarse.indices[part], strict=True)
    }
    above_of = dict(pairs)
    if not len(pairs) == len(above_of) == len(labels.classes):
        return None
    return np.array([above_of[fine] for fine in range(len(labels.classes))], np.int64)


def _find_columns(file: Path) -> _Columns:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pq.read_schema(file)
    metadata = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    features = metadata.get("info", {}).get("features", {})

    def holds_images(kind: pa.DataType) -> bool:
        if pa.types.is_struct(kind):
            return bool(kind.get_field_index("bytes") >= 0)
        return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))

    images = [field.name for field in schema if holds_images(field.type)]
    class_labels = [name for name, feature in features.items() if feature.get("_type") == "ClassLabel"]
    labels = [name for name in (*LABEL_COLUMNS, *class_labels) if name in schema.names and name != COARSE_COLUMN]
    if not images or not labels:
        wanted = "an image column (bytes)" if not images else f"a label column ({', '.join(LABEL_COLUMNS)})"
        raise UserError(f"{file}: no {wanted} among the columns {', '.join(schema.names)}: rename the one that is it")
    image = next((name for name in IMAGE_COLUMNS if name in images), images[0])
    coarse = features.get(COARSE_COLUMN, {}).get("names", []) if COARSE_COLUMN in schema.names else None
    return _Columns(image, labels[0], features.get(labels[0], {}).get("names"), coarse)


def _images(files: list[Path], column: str) -> Iterator[RawImage]:
    """Encoded images one by one; only a few rows are in memory at a time."""
    import pyarrow.parquet as pq

    for file in files:
        row = 0
        with _readable(file), pq.ParquetFile(file) as parquet:
            is_struct = column not in parquet.schema.names
            for batch in parquet.iter_batches(ROWS_AT_A_TIME, columns=[f"{column}.bytes" if is_struct else column]):
                values = batch.column(0).field("bytes") if is_struct else batch.column(0)
                for value in values:
                    if (data := value.as_py()) is None:
                        raise UserError(f"{file}: row {row}: no bytes in column '{column}': remove or fill the row")
                    yield RawImage(f"{file}: row {row}", data)
                    row += 1


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """Turns what pyarrow and json say about a damaged file into one line."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{file}: not a readable Parquet file ({reason}): copy it again") from error
