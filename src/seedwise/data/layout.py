"""Images in class folders, on disk or in an archive: which belong to which class of which part."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from seedwise.data.source import (
    PART_NAMES,
    Contents,
    Int64Array,
    Part,
    RawImage,
    class_order,
    printable,
    require_classes,
)
from seedwise.errors import UserError

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".webp", ".avif", ".jp2"),
    *(".bmp", ".dib", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".ico"),
)
"""File names that end like this (in any case) are images; everything else is passed over."""

Classes = Mapping[str, list[str]]
"""The image files of each class folder; a folder may have none."""
Reader = Callable[[list[str]], Iterator[RawImage]]
"""Images of these files, in this order."""


def is_hidden(name: str) -> bool:
    """Whether a file or folder is not meant to be seen: .git, .DS_Store, ._photo.jpg, __MACOSX."""
    return name.startswith((".", "__"))


def is_image(name: str) -> bool:
    """Whether a file counts as an image, by its name alone."""
    return not is_hidden(name) and name.lower().endswith(SUFFIXES)


def choose_parts(folders: Mapping[str, str], has_folders: Callable[[str], bool], root: Path) -> dict[str, str]:
    """The folder of each part, from folders by lower-case name; none when the folders are classes themselves.

    A `train/` without folders in it is a class (of railway pictures, say), not a part.
    """
    if "train" not in folders or not has_folders(folders["train"]):
        return {}
    parts = {"train": folders["train"]}
    validation = [folders[name] for name in PART_NAMES["val"] if name in folders]
    if len(validation) > 1:
        names = " and ".join(f"{Path(folder).name}/" for folder in validation)
        raise UserError(f"{root}: {names} both look like the validation part: keep one")
    if validation:
        parts["val"] = validation[0]
    if "test" in folders:
        parts["test"] = folders["test"]
    return parts


def contents(
    parts: Mapping[str, Classes], where: Mapping[str, Path], read: Reader, order: list[str] | None
) -> Contents:
    """Classes from the training part, and the files of every part as its images.

    `where` names each part in messages. `order`: all files as they should be read when that matters.
    """
    _check(parts, where)
    classes = tuple(class_order(printable(name) for name in parts["train"]))
    require_classes(classes, where["train"])
    index = {name: number for number, name in enumerate(classes)}
    made = {}
    for part, files_of in parts.items():
        label_of = {file: index[printable(name)] for name, files in files_of.items() for file in files}
        files = list(label_of) if order is None else [file for file in order if file in label_of]
        made[part] = _part(files, np.array([label_of[file] for file in files], np.int64), read)
    return Contents(classes, made)


def _part(files: list[str], labels: Int64Array, read: Reader) -> Part:
    return Part(labels, lambda: read(files))


def _check(parts: Mapping[str, Classes], where: Mapping[str, Path]) -> None:
    known = parts["train"]
    for part, files_of in parts.items():
        if not any(files_of.values()):
            raise UserError(f"{where[part]}: no images in class folders (looked for <class>/*.jpg, *.png, …): add some")
        for name, files in files_of.items():
            place = printable(str(where[part] / name))
            if part == "train" and not files:
                raise UserError(f"{place}: this class has no images: add some or remove the folder")
            if name not in known and files:
                raise UserError(f"{place}: class '{printable(name)}' is not in train/: add it there or remove it here")
