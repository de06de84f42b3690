"""What a Parquet file and a CSV have in common: which columns count, and rows of labels that become parts."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seedwise.data.config import DataConfig
from seedwise.data.source import (
    PART_OF,
    PARTS,
    Contents,
    Int64Array,
    Part,
    RawImage,
    class_order,
    require_classes,
)
from seedwise.errors import UserError

LABEL_COLUMNS = ("fine_label", "label", "labels", "class", "target", "class_name", "category", "species")
IMAGE_COLUMNS = ("image", "img", "picture", "photo")
PATH_COLUMNS = ("path", "file", "filename", "file_name", "filepath", "file_path", "image_path", "image_file")
COARSE_COLUMN = "coarse_label"
SPLIT_COLUMN = "split"

Reader = Callable[[Int64Array], Iterator[RawImage]]
"""The images of these rows (ascending, counted over all files), in this order."""


@dataclass(frozen=True)
class Columns:
    """The columns that count, by name."""

    image: str
    label: str
    coarse: str | None
    split: str | None


@dataclass(frozen=True)
class Header:
    """What a file says about its columns: all of them, and which could hold images or labels; `stated` are class labels
    by the file's own metadata."""

    names: Sequence[str]
    images: Sequence[str]
    labels: Sequence[str]
    stated: Sequence[str] = ()

    def choose(self, config: DataConfig, file: Path) -> Columns:
        """The named columns, or those that are certain from name and type."""
        for option, name in (("image_column", config.image_column), ("label_column", config.label_column)):
            if name is not None and name not in self.names:
                raise UserError(
                    f"{file}: data.{option}={name}: no such column; there are {', '.join(self.names)}: name one of them"
                )
        coarse = COARSE_COLUMN if COARSE_COLUMN in self.names and config.label_column != COARSE_COLUMN else None
        split = SPLIT_COLUMN if SPLIT_COLUMN in self.names else None
        image = config.image_column or self._image(config.label_column)
        label = config.label_column or self._label({image, coarse, split})
        for option, kind, found in (("image_column", "an image", image), ("label_column", "a label", label)):
            if found is None:
                listed = ", ".join(self.names)
                raise UserError(
                    f"{file}: which column holds {kind} cannot be told from their names: {listed}; "
                    f"name it: -s data.{option}=NAME"
                )
        assert image is not None and label is not None
        return Columns(image, label, coarse, split)

    def _image(self, label: str | None) -> str | None:
        known = [name for name in (*IMAGE_COLUMNS, *PATH_COLUMNS) if name in self.images and name != label]
        others = [name for name in self.images if name not in (label, *LABEL_COLUMNS, COARSE_COLUMN, SPLIT_COLUMN)]
        return known[0] if known else others[0] if len(others) == 1 else None

    def _label(self, taken: set[str | None]) -> str | None:
        free = [name for name in self.labels if name not in taken]
        known = [name for name in (*LABEL_COLUMNS, *self.stated) if name in free]
        return known[0] if known else free[0] if len(free) == 1 else None


@dataclass(frozen=True)
class Rows:
    """Labels and parts of all rows. `names` and `coarse_names`: what integer labels stand for, when a file says so."""

    where: Path
    columns: Columns
    labels: list[Any]
    parts: list[str]
    names: list[str] | None = None
    coarse: list[Any] | None = None
    coarse_names: list[str] | None = None

    def contents(self, read: Reader) -> Contents:
        """Classes from the training part, and the rows of each part as its images."""
        of_part = np.array(self.parts)
        rows = {part: np.flatnonzero(of_part == part) for part in PARTS if part in set(self.parts)}
        if "train" not in rows:
            raise UserError(f"{self.where}: no row belongs to the training part: mark some with 'train'")
        labels = Labels.of(_by_part(self.labels, rows), self.columns.label, self.names, self.where)
        require_classes(labels.classes, self.where)
        parts = {part: _part(labels.indices[part], chosen, read) for part, chosen in rows.items()}
        if self.coarse is None:
            return Contents(labels.classes, parts)
        coarse = Labels.of(_by_part(self.coarse, rows), COARSE_COLUMN, self.coarse_names, self.where)
        above = superclass_of(labels, coarse)
        return Contents(labels.classes, parts, None if above is None else coarse.classes, above)


def _by_part(values: list[Any], rows: dict[str, Int64Array]) -> dict[str, list[Any]]:
    return {part: [values[row] for row in chosen] for part, chosen in rows.items()}


def _part(labels: Int64Array, rows: Int64Array, read: Reader) -> Part:
    return Part(labels, lambda: read(rows))


def part_of(value: str | None, where: str) -> str:
    """The part that a value of the split column means."""
    part = PART_OF.get("" if value is None else value.strip().lower())
    if part is None:
        raise UserError(f"{where}: {SPLIT_COLUMN}={value!r} is none of {', '.join(PART_OF)}: mend or rename it")
    return part


@dataclass(frozen=True)
class Labels:
    """Classes, and the class index int64[n] of each image of each part."""

    classes: tuple[str, ...]
    indices: dict[str, Int64Array]

    @classmethod
    def of(cls, values: dict[str, list[Any]], column: str, names: list[str] | None, where: Path) -> "Labels":
        """Indices into `names`, or into the ordered values of the training part when there are no names."""
        known = set(values["train"])
        if names and all(isinstance(value, int) for value in known):
            index: dict[Any, int] = {number: number for number in range(len(names))}
            classes = tuple(names)
        else:
            classes = tuple(class_order(str(value) for value in known))
            numbers = {name: number for number, name in enumerate(classes)}
            index = {value: numbers[str(value)] for value in known}
        for part, part_values in values.items():
            for value in sorted(set(part_values), key=str):
                if names and value not in index:
                    raise UserError(f"{where}: {part} has {column}={value!r}, none of {len(index)} classes: mend it")
                if value not in known:
                    name = classes[index[value]] if value in index else value
                    raise UserError(f"{where}: class '{name}' is in {part} but not in train: add it or remove it there")
        return cls(classes, {p: np.array([index[value] for value in v], np.int64) for p, v in values.items()})


def superclass_of(labels: Labels, coarse: Labels) -> Int64Array | None:
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
