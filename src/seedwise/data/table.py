"""Turns the rows of a Parquet file or a CSV into parts with labels, and says what is odd about them."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from seedwise.base.errors import UserError
from seedwise.data.columns import SPELLED, Columns, key
from seedwise.data.config import DataConfig
from seedwise.data.describe import counted
from seedwise.data.labels import MISSING, Labels, is_whole, label_doubts, one_to_one, some, superclass_of
from seedwise.data.parts import Evidence, Place
from seedwise.data.source import (
    PART_OF,
    PARTS,
    Contents,
    Int64Array,
    Located,
    RawImage,
    SourcePart,
    Survey,
    Tally,
    printable,
)

FEWEST_IDS = 4
"""Least number of rows for which a class of its own for each image is a mistake."""

FEW_CLASSES = 8
"""Largest number of classes that may well have an image or two each."""

Reader = Callable[[Int64Array], Iterator[RawImage]]
"""Opens the images of rows int64[n] (ascending, counted over all files), in this order."""
Places = Callable[[Int64Array], Iterator[Located]]
"""Says where the images of these rows lie."""


def options_stamp(config: DataConfig) -> list[str]:
    """Options that change what a table holds, for its stamp."""
    columns = (config.image_column, config.label_column, config.split_column)
    images = (config.image_folder, config.image_suffix)
    return [f"columns {columns!r} images {images!r}", *(["test none"] if config.test == "none" else [])]


def other_parts(
    file: Path, suffixes: Sequence[str], part_of: Callable[[Path], str | None] | None = None
) -> tuple[str, ...]:
    """A doubt when a single given table is called like a part, and other parts lie beside it."""
    part_of = part_of or (lambda path: PART_OF.get(path.stem.lower()))
    if (own := part_of(file)) is None:
        return ()
    try:
        beside = sorted(path for path in file.parent.iterdir() if path.suffix.lower() in suffixes)
    except OSError:
        return ()
    others = [path.name for path in beside if part_of(path) not in (None, own)]
    doubts = [f"{file.name} is called {own} and is trained on"] if own != "train" else []
    return (*doubts, *([f"only {file.name} is read, and not {some(others)} beside it"] if others else []))


def lacking(label: str, tables: Iterable[tuple[Path, str | None, Sequence[str]]]) -> str:
    """Which of (file, part, columns) is of the test part and lacks the column of labels; empty for none."""
    for file, part, names in tables:
        if part == "test" and label not in names:
            return f"{file} has no column '{label}', but {some(names)}"
    return ""


@dataclass(frozen=True)
class Rows:
    """Labels of all rows of all files, and the columns that may say their parts.

    `labels`: whole numbers, cleaned text, or None where there is none. `more`: other columns. `files`: the part that
    the name of each row's file says. `names` and `coarse_names`: what whole numbers stand for, when a file says so.
    `image_names` and `images`: names as in the table and the files that they lead to, where images are files. `header`:
    all columns. `lacking`: which table of the test part has no column of labels, and what it has.
    """

    where: Path
    place: Place
    columns: Columns
    config: DataConfig
    labels: list[Any]
    files: Sequence[str | None]
    more: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    names: list[str] | None = None
    coarse: list[Any] | None = None
    coarse_names: list[str] | None = None
    image_names: Sequence[str | None] | None = None
    images: Sequence[str | None] | None = None
    are_floats: bool = False
    header: Sequence[str] = ()
    lacking: str = ""

    def contents(self, read: Reader, places: Places | None = None) -> Contents:
        """Build the contents: classes from the training part, and the rows of each part as its images."""
        spoken = (*self.columns.others, *self.columns.spelled)
        others = {name: values for name, values in self.more.items() if name not in spoken}
        evidence = Evidence(self.where, self.place, others, self.columns.split, self.files, self.image_names)
        assigned = evidence.assign(self.config.split_column != "none")
        of_part, tally = np.array(assigned.parts), Tally()
        rows = {part: np.flatnonzero(of_part == part) for part in PARTS if part in set(assigned.parts)}
        if "train" not in rows:
            self._refuse_without_train()
        rows = self._labelled(rows, tally)
        names, doubts = self._names(np.concatenate(list(rows.values())))
        by_part = _by_part(self.labels, rows)
        self._demand_no_ids(by_part["train"])
        join = self.config.join_spellings
        labels = Labels.of(by_part, self.columns.label, names, self.where, join=join)
        counts = np.bincount(labels.indices["train"], minlength=len(labels.classes))
        if self.are_floats:
            doubts.append(f"column '{self.columns.label}' has numbers with a point (1.0), read as whole numbers")
        if not self.names and FEW_CLASSES < len(counts) > counts.sum() // 2:
            doubts.append(
                f"{len(counts)} classes for {counts.sum()} images: is column '{self.columns.label}' the labels?"
            )
        doubts += [*label_doubts(labels.classes, counts.tolist(), join=join), *self._file_doubts(assigned.parts)]
        survey = Survey(tally.passed_over(), (*assigned.doubts, *doubts))
        parts = {
            part: SourcePart(
                labels.indices[part], partial(read, chosen), None if places is None else partial(places, chosen)
            )
            for part, chosen in rows.items()
        }
        if self.coarse is None:
            return Contents(labels.classes, parts, survey=survey)
        coarse = Labels.of(_by_part(self.coarse, rows), str(self.columns.coarse), self.coarse_names, self.where)
        above = superclass_of(labels, coarse)
        return Contents(labels.classes, parts, None if above is None else coarse.classes, above, survey)

    def _refuse_without_train(self) -> None:
        if not self.labels:
            raise UserError(f"{self.where}: a table without rows: add one an image")
        if any(self.files):
            raise UserError(f"{self.where}: the table of the training part has no rows: add one an image")
        raise UserError(
            f"{self.where}: no row belongs to the training part: mark some with 'train', or draw the parts with "
            "-s data.split_column=none"
        )

    def _labelled(self, rows: dict[str, Int64Array], tally: Tally) -> dict[str, Int64Array]:
        """The rows with labels; others are a UserError, except in a test part that `data.test=none` leaves out."""
        train = {self.labels[row] for row in rows["train"]}
        kept = {}
        for part, chosen in rows.items():
            missing = {label for label in {self.labels[row] for row in chosen} if self._is_missing(label, part, train)}
            bad = np.array([self.labels[row] in missing for row in chosen], bool)
            if part == "test" and self.config.test == "none":
                unknown = np.array([self.labels[row] not in train for row in chosen], bool)
                for row in chosen[bad | unknown].tolist():
                    tally.add(
                        "rows",
                        "no label" if self.labels[row] in missing else "class not in train",
                        self._short_place(row),
                    )
                bad |= unknown
            elif bad.any():
                self._refuse_unlabelled(part, chosen, chosen[bad])
            if not bad.all():
                kept[part] = chosen[~bad]
        return kept

    def _is_missing(self, label: Any, part: str, train: set[Any]) -> bool:
        """Whether a label stands for none: -1 does, except for the two classes -1 and 1 of the older literature; what
        programs write for nothing does where no training image has it."""
        if label is None:
            return True
        if str(label) == "-1":
            return bool(self.names) or {str(each) for each in train} != {"-1", "1"}
        return part != "train" and label not in train and str(label).casefold() in MISSING

    def _refuse_unlabelled(self, part: str, chosen: Int64Array, bad: Int64Array) -> None:
        column, row, rows = self.columns.label, int(bad[0]), counted(len(bad), "rows")
        said = "has nothing" if self.labels[row] is None else f"is {self.labels[row]}"
        leave = "leave them out with -s data.test=none (`seedwise predict` takes such images)"
        if part == "test" and len(bad) == len(chosen):
            why = self.lacking or f"column '{column}' {said} in {'all ' if len(bad) > 1 else ''}{rows}"
            mend = f"call its labels '{column}' too, or " if self.lacking else ""
            raise UserError(f"{self.where}: the test part has no labels ({why}): {mend}{leave}")
        said = (
            f"nothing in column '{column}'" if self.labels[row] is None else f"{column}={self.labels[row]} is no label"
        )
        raise UserError(
            f"{self.place(row)}: {said} ({rows} without a value in {part}): "
            f"fill it or remove the row{', or ' + leave if part == 'test' else ''}"
        )

    def _names(self, rows: Int64Array) -> tuple[list[str] | Mapping[Any, str] | None, list[str]]:
        """Names of whole numbers, by the file or by a column beside them; and columns that contradict."""
        labels = [self.labels[row] for row in rows]
        whole, found, doubts = all(is_whole(label) for label in labels), None, []
        spelled = self.columns.spelled if whole else ()
        for name in () if self.names else (*self.columns.others, *spelled):
            values = [self.more[name][row] for row in rows]
            pairs = one_to_one(labels, values)
            if isinstance(pairs, dict):
                if (
                    whole
                    and found is None
                    and all(isinstance(it, str) and it and not is_whole(it) for it in pairs.values())
                ):
                    found = pairs
            elif name in spelled:
                continue
            elif whole and SPELLED.fullmatch(key(name)):
                label, value, at = pairs
                raise UserError(
                    f"{self.place(int(rows[at]))}: {self.columns.label}={label} and {name}={value} are not one to one "
                    f"with the rows above: mend them, or take one with -s data.label_column={name}"
                )
            elif len(set(values)) > 1:
                doubts.append(f"column '{self.columns.label}' is taken for the labels, and not '{name}'")
        return self.names or found, doubts

    def _demand_no_ids(self, labels: list[Any]) -> None:
        """Raise a UserError when every image would be its own class, unless the column was asked for."""
        if self.config.label_column is not None or self.names or not FEWEST_IDS <= len(labels) == len(set(labels)):
            return
        taken = (self.columns.image, self.columns.label, self.columns.split)
        others = some(name for name in self.header if name and name not in taken)
        use = f"name the labels with -s data.label_column=NAME (other columns: {others})"
        raise UserError(
            f"{self.where}: each of {len(labels)} rows has a label of its own in column '{self.columns.label}', so it "
            f"may hold ids: {use if others else 'there is no other column: add one of labels'}"
        )

    def _short_place(self, row: int) -> str:
        return self.place(row).removeprefix(f"{self._folder}{os.sep}")

    @property
    def _folder(self) -> Path:
        return self.where if self.where.is_dir() else self.where.parent

    def _file_doubts(self, parts: Sequence[str]) -> list[str]:
        """Doubts about files in several rows: with other labels, in other parts, or repeated."""
        folder, first = self._folder, dict[str, int]()
        odd: dict[str, dict[str, None]] = {}
        for row, file in enumerate(self.images or ()):
            if file is None or (before := first.setdefault(os.path.normpath(file), row)) == row:
                continue
            name = printable(os.path.relpath(file, folder))
            if self.labels[row] != self.labels[before]:
                odd.setdefault("image(s) under two labels", {})[name] = None
            if parts[row] != parts[before]:
                odd.setdefault("image(s) in two parts", {})[name] = None
            elif self.labels[row] == self.labels[before]:
                odd.setdefault("row(s) named before", {})[f"{name} ({self._short_place(row)})"] = None
        return [
            f"{len(names)} {said.replace('(s)', 's' if len(names) > 1 else '')}: {some(names)}"
            for said, names in odd.items()
        ]


def _by_part(values: list[Any], rows: dict[str, Int64Array]) -> dict[str, list[Any]]:
    return {part: [values[row] for row in chosen] for part, chosen in rows.items()}
