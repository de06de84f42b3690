"""Reads Parquet files: shards in the Hugging Face layout, files named after their part, or a single file."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from seedwise.base.errors import UserError
from seedwise.data.columns import COARSE, IMAGES, LABELS, Columns, Header, key, says_parts
from seedwise.data.config import DataConfig
from seedwise.data.parquetfile import ParquetFile
from seedwise.data.places import stamps
from seedwise.data.shards import Files, find_files
from seedwise.data.source import Contents, Int64Array, RawImage, Survey, file_stamp
from seedwise.data.table import Rows, lacking, options_stamp


@dataclass(frozen=True)
class ParquetSource:
    """A Parquet file, or a folder of them."""

    name: str
    path: Path
    expected_classes: int | None = None
    """Number of classes of a known data set, so that another one in its place is noticed."""
    config: DataConfig = field(default_factory=DataConfig)
    given: Path | None = None
    """The folder in which `path` was found, when it is another."""

    @cached_property
    def _found(self) -> Files:
        return find_files(self.path, self.given)

    @cached_property
    def _files(self) -> list[ParquetFile]:
        return [ParquetFile(file, part, self.config) for file, part in self._found.parts.items()]

    @cached_property
    def _first(self) -> ParquetFile:
        """The file that decides the columns: one to train on."""
        return next(file for file in self._files if file.part in (None, "train"))

    @cached_property
    def _columns(self) -> Columns:
        first = self._first
        names, images = first.schema.names, [name for name in first.schema.names if first.holds_bytes(name)]
        texts = [name for name in names if first.is_text(name)]
        labels = [name for name in names if key(name) in LABELS or name in texts or first.is_integer(name)]
        paths = [name for name in texts if key(name) in IMAGES]
        stated = [
            name for name, it in first.features.items() if it.get("_type") == "ClassLabel" and key(name) != COARSE
        ]
        return Header(names, images or paths, labels, stated, first.only_parts).choose(self.config, first.file)

    def stamp(self) -> list[str]:
        """Path, size and time of every Parquet file, and of every image outside of them."""
        files = [file_stamp(file.file) for file in self._files]
        read = [*options_stamp(self.config), f"beside {self._found.beside!r}", *self._found.card.stamp()]
        images = (image for file in self._files for image in file.beside(self._columns.image))
        return [*files, *read, *stamps(images)]

    def read(self) -> Contents:
        """Read class names from the metadata or the training labels, and the labels of every part."""
        rows = self._rows()
        contents = rows.contents(self._images)
        if self.expected_classes not in (None, len(contents.classes)):
            raise UserError(
                f"{self.path}: {len(contents.classes)} classes, but {self.name} has {self.expected_classes}: "
                f"give the folder of {self.name}"
            )
        survey = self._found.survey
        if rows.images is not None:  # the folders beside are where the images lie
            survey = replace(survey, passed_over=tuple(it for it in survey.passed_over if it.kind != "folders"))
        said = self._found.card.doubts(self._counts(contents))
        of_paths = (("image_folder", self.config.image_folder), ("image_suffix", self.config.image_suffix))
        unused = [f"data.{name}" for name, value in of_paths if value is not None and rows.images is None]
        if unused:
            said.append(f"{' and '.join(unused)} {'do' if unused[1:] else 'does'} nothing: the images are in the file")
        return replace(contents, survey=survey + Survey(doubts=tuple(said)) + contents.survey)

    def _counts(self, contents: Contents) -> dict[str, int]:
        """Rows of each part in the files, used or not; those used where no file's name says a part."""
        counts: Counter[str] = Counter()
        for file in self._files:
            counts[file.part or ""] += file.count
        return {part: len(it.labels) for part, it in contents.parts.items()} if "" in counts else dict(counts)

    def _rows(self) -> Rows:
        """The labels and the columns that may say the parts, of all files."""
        columns, files = self._columns, self._files
        ends = np.cumsum([file.count for file in files])

        def place(row: int) -> str:
            at = int(np.searchsorted(ends, row, side="right"))
            return f"{files[at].file}: row {row - int(ends[at]) + files[at].count}"

        names: list[str | None] = []
        images: list[str | None] = []
        for file in files:
            of_row = {row: name for row, name, is_needed in file.outside(columns.image) if is_needed}
            names += [of_row.get(row) for row in range(file.count)]
            images += [file.places.path(of_row[row]) if row in of_row else None for row in range(file.count)]
        return Rows(
            header=self._first.schema.names,
            lacking=lacking(columns.label, ((it.file, it.part, it.schema.names) for it in files)),
            where=self.path,
            place=place,
            columns=columns,
            config=self.config,
            labels=[label for file in files for label in self._labels(file)],
            files=[file.part for file in files for _ in range(file.count)],
            more={name: self._values(name) for name in (*columns.others, *columns.spelled)}
            | {name: self._values(name, ParquetFile.words) for name in self._split_columns()},
            names=self._class_names(columns.label),
            coarse=None if columns.coarse is None else self._values(columns.coarse),
            coarse_names=None if columns.coarse is None else self._class_names(columns.coarse),
            image_names=names if any(names) else None,
            images=images if any(names) else None,
            are_floats=columns.label in self._first.schema.names and self._first.is_float(columns.label),
        )

    def _labels(self, file: ParquetFile) -> list[Any]:
        """Labels of a file; a test file may lack the column."""
        if file.part == "test" and self._columns.label not in file.schema.names:
            return [None] * file.count
        return file.labels(self._columns.label)

    def _class_names(self, column: str) -> list[str] | None:
        """Class names in the files' metadata; a UserError where files disagree."""
        names: list[str] | None = self._first.features.get(column, {}).get("names")
        for file in self._files:
            other = file.features.get(column, {}).get("names")
            if names and other and other != names:
                raise UserError(
                    f"{file.file}: its metadata name the classes of '{column}' otherwise than {self._first.file.name}: "
                    "write both with the same names"
                )
        return names

    def _split_columns(self) -> list[str]:
        """Columns that may say the parts: by their name, or by texts that start with names of parts."""
        columns, first = self._columns, self._first
        taken = {columns.image, columns.label, columns.coarse, *columns.others, *columns.spelled}
        free = [name for name in first.schema.names if name not in taken]
        return [name for name in free if self._may_say_parts(name) or first.tells_parts(name)]

    def _may_say_parts(self, name: str) -> bool:
        asked = self._columns.split
        return name == asked or (asked is None and self.config.split_column is None and says_parts(name))

    def _values(self, column: str, read: Callable[[ParquetFile, str], list[Any]] = ParquetFile.values) -> list[Any]:
        """Values of a column in all files; None for the rows of a file that lacks it."""
        values: list[Any] = []
        for file in self._files:
            values += read(file, column) if column in file.schema.names else [file.part] * file.count
        return values

    def _images(self, rows: Int64Array) -> Iterator[RawImage]:
        first = 0
        for file in self._files:
            wanted = rows[np.searchsorted(rows, first) : np.searchsorted(rows, first + file.count)] - first
            first += file.count
            if len(wanted):
                yield from file.images(self._columns.image, wanted)
