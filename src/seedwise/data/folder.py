"""A folder of images: `train/<class>/…` with optional `val/` and `test/`, or `<class>/…` that is split here."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from seedwise.data.source import VALIDATION_NAMES, Contents, Int64Array, Part, RawImage, file_stamp, require_classes
from seedwise.errors import UserError

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".webp", ".avif", ".jp2"),
    *(".bmp", ".dib", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".ico"),
)
"""File names that end like this (in any case) are images; everything else is passed over."""


@dataclass(frozen=True)
class FolderSource:
    """Class names are folder names; folders may nest below a class; hidden files and non-images are passed over."""

    name: str
    path: Path

    @cached_property
    def _parts(self) -> dict[str, dict[str, list[str]]]:
        """Files of each class of each part, sorted, so that the order does not depend on the file system."""
        roots = _part_folders(self.path)
        return {part: {folder.name: _images(folder) for folder in _folders(root)} for part, root in roots.items()}

    def stamp(self) -> list[str]:
        """Every image file with its size and time."""
        return [file_stamp(file) for classes in self._parts.values() for files in classes.values() for file in files]

    def read(self) -> Contents:
        """Classes from the training part, and the files of every part as its images."""
        self._check()
        classes = tuple(sorted(self._parts["train"]))
        require_classes(classes, self.path)
        parts = {}
        for part, files_of in self._parts.items():
            counts = [len(files_of.get(name, [])) for name in classes]
            labels = np.repeat(np.arange(len(classes), dtype=np.int64), counts)
            parts[part] = _part([file for name in classes for file in files_of.get(name, [])], labels)
        return Contents(classes, parts)

    def _check(self) -> None:
        known = self._parts["train"]
        for part, files_of in self._parts.items():
            where = _part_folders(self.path)[part]
            if not any(files_of.values()):
                raise UserError(f"{where}: no images in class folders (looked for <class>/*.jpg, *.png, …): add some")
            for name, files in files_of.items():
                if part == "train" and not files:
                    raise UserError(f"{where / name}: this class has no images: add some or remove the folder")
                if name not in known and files:
                    raise UserError(f"{where / name}: class '{name}' is not in train/: add it there or remove it here")


def _part(files: list[str], labels: Int64Array) -> Part:
    def images() -> Iterator[RawImage]:
        return (RawImage(file, Path(file)) for file in files)

    return Part(labels, images)


def _part_folders(root: Path) -> dict[str, Path]:
    """The folder of each part. A `train/` without folders in it is a class (of railway pictures, say), not a part."""
    folders = {folder.name.lower(): folder for folder in _folders(root)}
    if "train" not in folders or not _folders(folders["train"]):
        return {"train": root}
    parts = {"train": folders["train"]}
    validation = [folders[name] for name in VALIDATION_NAMES if name in folders]
    if len(validation) > 1:
        names = " and ".join(f"{folder.name}/" for folder in validation)
        raise UserError(f"{root}: {names} both look like the validation part: keep one")
    if validation:
        parts["val"] = validation[0]
    if "test" in folders:
        parts["test"] = folders["test"]
    return parts


def _folders(root: Path) -> list[Path]:
    try:
        return sorted(folder for folder in root.iterdir() if folder.is_dir() and not _is_hidden(folder.name))
    except OSError as error:
        raise UserError(f"{root}: cannot be listed ({error.strerror}): check its permissions") from error


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "__"))  # .git, .DS_Store, ._photo.jpg, __MACOSX


def _images(folder: Path) -> list[str]:
    """Image files below a folder, as strings: 100,000 of them as paths would take a second of every start."""

    def stop(error: OSError) -> None:
        raise UserError(f"{error.filename}: cannot be listed ({error.strerror}): check its permissions") from error

    files: list[str] = []
    for base, folders, names in os.walk(folder, onerror=stop):
        folders[:] = [name for name in folders if not _is_hidden(name)]
        files += [f"{base}{os.sep}{name}" for name in names if not _is_hidden(name) and name.lower().endswith(SUFFIXES)]
    return sorted(files)
