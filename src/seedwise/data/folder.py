"""A folder of images: `train/<class>/…` with optional `val/` and `test/`, or `<class>/…` that is split here."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from seedwise.data import layout
from seedwise.data.source import Contents, RawImage, file_stamp
from seedwise.errors import UserError


@dataclass(frozen=True)
class FolderSource:
    """Class names are folder names; folders may nest below a class; hidden files and non-images are passed over."""

    name: str
    path: Path

    @cached_property
    def _roots(self) -> dict[str, Path]:
        folders = {folder.name.lower(): str(folder) for folder in _folders(self.path)}
        parts = layout.choose_parts(folders, lambda folder: bool(_folders(Path(folder))), self.path)
        return {part: Path(folder) for part, folder in parts.items()} or {"train": self.path}

    @cached_property
    def _parts(self) -> dict[str, dict[str, list[str]]]:
        """Files of each class of each part, sorted, so that the stamp does not depend on the file system."""
        return {part: {folder.name: _images(folder) for folder in _folders(root)} for part, root in self._roots.items()}

    def stamp(self) -> list[str]:
        """Every image file with its size and time."""
        return [file_stamp(file) for classes in self._parts.values() for files in classes.values() for file in files]

    def read(self) -> Contents:
        """Classes from the training part, and the files of every part as its images."""

        def images(files: list[str]) -> Iterator[RawImage]:
            return (RawImage(file, Path(file)) for file in files)

        return layout.contents(self._parts, self._roots, images, order=None)


def _folders(root: Path) -> list[Path]:
    try:
        return sorted(folder for folder in root.iterdir() if folder.is_dir() and not layout.is_hidden(folder.name))
    except OSError as error:
        raise UserError(f"{root}: cannot be listed ({error.strerror}): check its permissions") from error


def _images(folder: Path) -> list[str]:
    """Image files below a folder, as strings: 100,000 of them as paths would take a second of every start."""

    def stop(error: OSError) -> None:
        raise UserError(f"{error.filename}: cannot be listed ({error.strerror}): check its permissions") from error

    files: list[str] = []
    for base, folders, names in os.walk(folder, onerror=stop):
        folders[:] = [name for name in folders if not layout.is_hidden(name)]
        files += [f"{base}{os.sep}{name}" for name in names if layout.is_image(name)]
    return sorted(files)
