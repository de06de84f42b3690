"""CSV (or TSV) files with a header line, a column of image paths and a column of labels; parts are optional.

Besides a single file there are the two layouts of folders that keep their labels in tables: the `metadata.csv` of
Hugging Face's imagefolder, and Roboflow's `_classes.csv` with a column of 0 and 1 for each class.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from seedwise.base.errors import UserError
from seedwise.data.columns import IMAGES, LABELS, Columns, Header, key, word
from seedwise.data.config import DataConfig
from seedwise.data.csvtext import Lines, read_lines
from seedwise.data.formats import named_as_image
from seedwise.data.labels import clean_name, whole_floats
from seedwise.data.located import whole_files
from seedwise.data.places import Places, stamps
from seedwise.data.source import PART_OF, Contents, Int64Array, RawImage, Survey, Tally, file_stamp
from seedwise.data.table import Rows, lacking, options_stamp, other_parts
from seedwise.data.tree import TABLE_SUFFIXES, folders_in, list_folder

METADATA, ONE_HOT = "metadata.csv", "_classes.csv"


def label_folder(folder: Path) -> Path | None:
    """Folder of the tables that label a folder of images: itself, or `data/` in a clone from the Hugging Face hub."""
    if _holds_labels(folder):
        return folder
    data = folder / "data"
    if not data.is_dir() or any(_has_image(inside) for inside in folders_in(folder) if inside != data):
        return None
    return data if _holds_labels(data) else None


def _holds_labels(folder: Path) -> bool:
    """Whether a folder has tables of a known name, and no class folders."""
    parts = _part_folders(folder)
    tables = {name for place in (folder, *parts) for name in (METADATA, ONE_HOT) if (place / name).is_file()}
    if not tables:
        return False
    for place in parts or (folder,):
        inside = [below for below in folders_in(place) if below.name.lower() not in PART_OF]
        if sum(_has_image(below) for below in inside) > 1:
            return False
    return True


def _part_folders(folder: Path) -> dict[Path, str]:
    """The subfolders that are named like parts, and their part."""
    return {inside: part for inside in folders_in(folder) if (part := PART_OF.get(inside.name.lower()))}


def _has_image(folder: Path) -> bool:
    return any(named_as_image(name) for _, _, names in os.walk(folder) for name in names)


@dataclass(frozen=True)
class _Sheet:
    """A table as read from its file, with `places`, where its image names lead."""

    file: Path
    part: str | None
    names: list[str]
    lines: list[tuple[int, list[str]]]
    places: Places
    classes: tuple[str, ...] = ()
    """Classes with a column each."""

    def column(self, name: str) -> list[str]:
        """Values of a column; empty texts where the file lacks it, which only a test part may."""
        if name not in self.names:
            if self.part == "test":
                return [""] * len(self.lines)
            raise UserError(f"{self.file}:1: no column '{name}', which other parts have: add it")
        at = self.names.index(name)
        return [line[at] for _, line in self.lines]

    def images(self, name: str) -> list[str]:
        """Names of images in a column; a UserError for a row without one."""
        for value, (number, _) in zip(values := self.column(name), self.lines, strict=True):
            if not value:
                raise UserError(f"{self.file}:{number}: nothing in column '{name}': fill it or remove the line")
        return values

    def lead(self, names: Sequence[str]) -> tuple[str, str] | None:
        """Which of these columns leads to images, and by which options, judged by three of its values."""
        found = []
        for name in names:
            values = self.column(name)
            options = {self.places.lead(values[at]) for at in (0, len(values) // 2, -1) if values[at]}
            if len(options) == 1 and (lead := options.pop()) is not None:
                found.append((name, lead))
        return found[0] if len(found) == 1 else None


@dataclass(frozen=True)
class CsvSource:
    """A CSV, or a folder with tables of a known name. Paths are relative to each file's own folder unless an option
    says otherwise; labels are names, or whole numbers that name themselves."""

    name: str
    path: Path
    config: DataConfig

    @cached_property
    def _files(self) -> dict[Path, str | None]:
        """The tables, and the part that each one's folder is named after."""
        if not self.path.is_dir():
            return {self.path: None}
        for name in (METADATA, ONE_HOT):
            of_parts = {place / name: part for place, part in _part_folders(self.path).items()}
            found = {file: part for file, part in of_parts.items() if file.is_file()}
            if "train" in found.values():
                if missing := [file for file in of_parts if file not in found]:
                    raise UserError(f"{missing[0]}: is missing, and other parts have one: add it")
                if len(set(found.values())) < len(found):
                    raise UserError(
                        f"{self.path}: two folders look like one part: {', '.join(map(str, found))}: keep one"
                    )
                return dict(found)
            if (self.path / name).is_file():
                return {self.path / name: None}
            if found:
                raise UserError(f"{self.path}: no train/{name}, but {', '.join(map(str, found))}: add it")
        raise UserError(f"{self.path}: no {METADATA} in it: it has changed; start again")

    @cached_property
    def _sheets(self) -> list[_Sheet]:
        return [self._sheet(file, part) for file, part in self._files.items()]

    def _sheet(self, file: Path, part: str | None) -> _Sheet:
        read, places = read_lines(file), Places(file, self.config)
        if file.name == ONE_HOT:
            return _Sheet(file, part, *_one_hot(file, read), places, tuple(read.names[1:]))
        self._demand_header(file, read, places)
        return _Sheet(file, part, *read, places)

    @cached_property
    def _columns(self) -> Columns:
        """The columns to read, chosen in the training part's table or the only one."""
        sheet = next(sheet for sheet in self._sheets if sheet.part in (None, "train"))
        used = [name for name in sheet.names if name]
        images = [name for name in used if named_as_image(os.path.basename(sheet.column(name)[0]))]  # noqa: PTH119

        def only_parts(name: str) -> bool:
            return all(word(value) in PART_OF for value in sheet.column(name))

        def lead(image: str | None) -> tuple[str, str] | None:
            return sheet.lead([image] if image else images or used)

        return Header(used, images or used, used, only_parts=only_parts, lead=lead).choose(self.config, sheet.file)

    def _demand_header(self, file: Path, read: Lines, places: Places) -> None:
        """Raise a UserError when the first line looks like an image's: as a header it would be lost."""
        names, lines = read
        told = [at for at, name in enumerate(names) if name and _names_image(name, places)]
        images = bool(told)
        asked = [key(name) for name in (self.config.image_column, self.config.label_column) if name]
        if not images and not any(key(name) in (*IMAGES, *LABELS, *asked) for name in names):
            values = [{line[at] for _, line in lines} for at in range(len(names))]
            told = [at for at, name in enumerate(names) if name and (name in values[at] or name.isdecimal())]
        if not told:
            return
        label = next((at for at in range(len(names)) if at != told[0] and names[at]), None)
        called = [
            "image" if at == told[0] else "label" if at == label else f"column{at + 1}" for at in range(len(names))
        ]
        said = "names an image" if images else "looks like an image's"
        raise UserError(
            f"{file}:1: the first line {said} ({names[told[0]]}), so there is no header: "
            f"put one above it, such as {','.join(called)}"
        )

    def stamp(self) -> list[str]:
        """Path, size and time of the tables and of every image in them, and the options that choose columns."""
        images = stamps(
            (sheet.places, name, f"{sheet.file}:{number}")
            for sheet in self._sheets
            for name, (number, _) in zip(sheet.images(self._columns.image), sheet.lines, strict=True)
        )
        return [*map(file_stamp, self._files), *images, *options_stamp(self.config)]

    def read(self) -> Contents:
        """Read classes and labels, checked."""
        rows, files = self._rows()

        def images(chosen: Int64Array) -> Iterator[RawImage]:
            return (RawImage(files[row], Path(files[row])) for row in chosen)

        contents = rows.contents(images, lambda chosen: whole_files("", (files[row] for row in chosen)))
        survey = self._not_used(files, contents.classes)
        if not self.path.is_dir():
            survey += Survey(doubts=other_parts(self.path, TABLE_SUFFIXES))
        return replace(contents, survey=survey + contents.survey)

    def _rows(self) -> tuple[Rows, list[str]]:
        """The labels and the columns that may say the parts, and the image file of each row."""
        sheets, columns = self._sheets, self._columns
        lines = [(sheet.file, number) for sheet in sheets for number, _ in sheet.lines]
        names = [name for sheet in sheets for name in sheet.images(columns.image)]
        files = [sheet.places.path(name) for sheet in sheets for name in sheet.images(columns.image)]
        labels = [clean_name(label) or None for label in self._values(columns.label)]
        whole = whole_floats(labels)
        first = next(sheet for sheet in sheets if sheet.part in (None, "train"))
        taken = {"", columns.image, columns.label, columns.coarse}
        rows = Rows(
            where=self.path,
            place=lambda row: f"{lines[row][0]}:{lines[row][1]}",
            columns=columns,
            config=self.config,
            labels=labels if whole is None else whole,
            files=[sheet.part for sheet in sheets for _ in sheet.lines],
            more={name: [clean_name(it) for it in self._values(name)] for name in first.names if name not in taken},
            coarse=None if columns.coarse is None else [clean_name(it) for it in self._values(columns.coarse)],
            image_names=names,
            images=files,
            are_floats=whole is not None,
            header=first.names,
            lacking=lacking(columns.label, ((it.file, it.part, it.names) for it in sheets)),
        )
        return rows, files

    def _values(self, name: str) -> list[str]:
        return [value for sheet in self._sheets for value in sheet.column(name)]

    def _not_used(self, files: Sequence[str], classes: Sequence[str]) -> Survey:
        """Images in the folder that no table names, and classes with a column and no image."""
        named, tally = {os.path.normpath(file) for file in files}, Tally()
        for name in dict.fromkeys(name for sheet in self._sheets for name in sheet.classes):
            if clean_name(name) not in classes:
                tally.add("classes", f"no image in {ONE_HOT}", name)
        if not self.path.is_dir():
            return Survey(tally.passed_over())
        tree = list_folder(self.path)
        for image in tree.root.all_images():
            if os.path.normpath(f"{self.path}/{image}") not in named:
                tally.add("images", "not named in a table", image)
        return Survey(tree.tally.passed_over() + tally.passed_over())


def _names_image(cell: str, places: Places) -> bool:
    if named_as_image(os.path.basename(cell.replace("\\", "/"))):  # noqa: PTH119
        return True
    return key(cell) not in (*IMAGES, *LABELS) and "\0" not in cell and os.path.isfile(places.path(cell))  # noqa: PTH113


def _one_hot(file: Path, read: Lines) -> Lines:
    """Replace the columns of 0 and 1, one for each class, by one column of class names."""
    image, *classes = read.names
    labelled = []
    for number, line in read.lines:
        marks = dict(zip(classes, line[1:], strict=True))
        if odd := next((name for name, mark in marks.items() if mark not in ("0", "1")), None):
            raise UserError(f"{file}:{number}: {odd}={marks[odd]!r} is neither 0 nor 1: mend it")
        marked = [name for name, mark in marks.items() if mark == "1"]
        if len(marked) != 1:
            found = f"{len(marked)} classes ({', '.join(marked)})" if marked else "no class"
            raise UserError(
                f"{file}:{number}: {found} for {line[0]}, and training takes one an image: mend or remove it"
            )
        labelled.append((number, [line[0], marked[0]]))
    return Lines([image, "class"], labelled)
