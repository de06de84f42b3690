"""A CSV (or TSV) with a header line, a column of image paths and a column of labels; `split` is optional."""

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from seedwise.data.config import DataConfig
from seedwise.data.source import Contents, Int64Array, RawImage, file_stamp
from seedwise.data.table import Header, Rows, part_of
from seedwise.errors import UserError

SUFFIXES = (".csv", ".tsv")
DELIMITERS = ",;\t|"


@dataclass(frozen=True)
class CsvSource:
    """Paths are relative to the file's own folder; labels are names, or whole numbers that name themselves."""

    name: str
    path: Path
    config: DataConfig

    @cached_property
    def _read(self) -> tuple[Rows, list[str]]:
        """Labels and parts, and the image file of each row."""
        names, lines = self._table()
        columns = Header(names, names, names).choose(self.config, self.path)
        image, label = names.index(columns.image), names.index(columns.label)
        coarse = None if columns.coarse is None else names.index(columns.coarse)
        split = None if columns.split is None else names.index(columns.split)
        files, labels, above, parts = [], [], [], []
        for number, line in lines:
            if len(line) != len(names):
                raise UserError(f"{self.path}:{number}: {len(line)} fields, but the header has {len(names)}: mend it")
            if not line[image] or not line[label]:
                missing = columns.label if line[image] else columns.image
                raise UserError(f"{self.path}:{number}: nothing in column '{missing}': fill it or remove the line")
            files.append(os.path.join(self.path.parent, line[image]))  # noqa: PTH118 -- 100,000 Paths take a second
            labels.append(line[label])
            above += [] if coarse is None else [line[coarse]]
            parts.append("train" if split is None else part_of(line[split], f"{self.path}:{number}"))
        return Rows(self.path, columns, labels, parts, coarse=None if coarse is None else above), files

    def _table(self) -> tuple[list[str], list[tuple[int, list[str]]]]:
        """The header, and the other lines with their number in the file."""
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                first = file.readline()
                file.seek(0)
                reader = csv.reader(file, delimiter=max(DELIMITERS, key=first.count), strict=True)
                lines = [(reader.line_num, line) for line in reader if line]
        except UnicodeDecodeError as error:
            raise UserError(f"{self.path}: not UTF-8 text at byte {error.start}: save it as UTF-8") from error
        except (OSError, csv.Error) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise UserError(f"{self.path}: not a readable CSV ({reason}): mend or replace it") from error
        if len(lines) < 2:
            raise UserError(f"{self.path}: no lines below the header: add a line an image")
        names = [name.strip() for name in lines[0][1]]
        if len(set(names)) < len(names):
            raise UserError(f"{self.path}:1: two columns have the same name: rename one of {', '.join(names)}")
        return names, lines[1:]

    def stamp(self) -> list[str]:
        """The CSV and every image that it names, with size and time."""
        return [file_stamp(self.path), *(file_stamp(file) for file in self._read[1]), *_options(self.config)]

    def read(self) -> Contents:
        """Classes and labels, checked."""
        rows, files = self._read

        def images(chosen: Int64Array) -> Iterator[RawImage]:
            return (RawImage(files[row], Path(files[row])) for row in chosen)

        return rows.contents(images)


def _options(config: DataConfig) -> list[str]:
    return [f"columns {config.image_column!r} {config.label_column!r}"]
