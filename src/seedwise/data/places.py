"""Resolves the image names in a table to files, and advises when a file is missing."""

import os
import re
import shlex
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from seedwise.base.errors import Mistakes, UserError
from seedwise.data.config import DataConfig
from seedwise.data.formats import named_as_image
from seedwise.data.source import file_stamp, printable
from seedwise.data.tree import is_hidden

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_FOUND = "it is found with "
NAMED = 10
"""Largest number of missing images that are named, a line each."""
MOST_FOLDERS = 200
"""Largest number of folders searched for a missing image."""


@dataclass(frozen=True)
class Places:
    """Resolves image names of one table: from its folder or `data.image_folder`, with `data.image_suffix`."""

    table: Path
    config: DataConfig

    @cached_property
    def base(self) -> str:
        """The folder that names are relative to."""
        asked = self.config.image_folder
        if asked is None:
            return str(self.table.parent)
        folder = os.path.join(self.table.parent, os.path.expanduser(asked))  # noqa: PTH118, PTH111 -- raises for ~nobody
        if not os.path.isdir(folder):  # noqa: PTH112
            raise UserError(f"{folder}: no such folder: data.image_folder={asked} is relative to {self.table.parent}")
        return folder

    def path(self, name: str) -> str:
        """The file of a name; tries backslashes as separators, and other forms of Unicode."""
        suffix = self.config.image_suffix or ""
        whole = name if name.lower().endswith(suffix.lower()) else name + suffix
        path = os.path.join(self.base, whole)  # noqa: PTH118 -- 100,000 Paths take a second
        if ("\\" in whole or not whole.isascii()) and not os.path.exists(path):  # noqa: PTH110
            slashed = whole.replace("\\", "/")
            spelled = [unicodedata.normalize(form, text) for text in (whole, slashed) for form in ("NFC", "NFD")]
            others = (os.path.join(self.base, other) for other in (slashed, *spelled))  # noqa: PTH118
            return next((other for other in others if os.path.exists(other)), path)  # noqa: PTH110
        return path

    def lead(self, name: str) -> str | None:
        """The options that lead to the file of a name, '' if none is needed; None where no file is found."""
        if os.path.isfile(self.path(name)):  # noqa: PTH113
            return ""
        advice = self.advice(name)
        return advice.removeprefix(_FOUND) if advice.startswith(_FOUND) else None

    def advice(self, name: str) -> str:
        """Advice on a name that leads to no file."""
        path = self.path(name)
        if _ADDRESS.match(name):
            return "images at addresses are not fetched: download them first, and write their paths"
        if os.path.exists(path) or "\0" in path:  # noqa: PTH110
            return "mend or remove it"
        slashed = re.sub(r"^[A-Za-z]:", "", name.replace("\\", "/"))
        below, last = os.path.split(slashed.lstrip("/"))
        is_relative = slashed == name and not slashed.startswith("/")
        for folder in self._folders():
            for found in _alike(os.path.join(folder, below) if is_relative else folder, last):  # noqa: PTH118
                if is_relative and found.startswith(last):
                    options = [] if folder == str(self.table.parent) else [("image_folder", self._relative(folder))]
                    options += [("image_suffix", found[len(last) :])] if found != last else []
                    said = " ".join(f"-s data.{option}={shlex.quote(value)}" for option, value in options)
                    return f"{_FOUND}{said}" if said else "leave data.image_folder and data.image_suffix out"
                there = printable(self._relative(os.path.join(folder, below if is_relative else "", found)))  # noqa: PTH118
                return f"there is {there}: write paths relative to {self.table.parent}"
        return "mend or remove it, or name the folder of the images with -s data.image_folder=FOLDER"

    def _relative(self, path: str) -> str:
        return os.path.relpath(path, self.table.parent)

    def _folders(self) -> Iterator[str]:
        """Yield the table's own folder and those below it, nearest first."""
        level, seen = [str(self.table.parent)], 0
        while level and seen < MOST_FOLDERS:
            below: list[str] = []
            for folder in level[: MOST_FOLDERS - seen]:
                yield folder
                seen += 1
                try:
                    with os.scandir(folder) as entries:
                        below += sorted(it.path for it in entries if it.is_dir() and not is_hidden(it.name))
                except OSError:
                    continue
            level = below


def stamps(named: Iterable[tuple[Places, str, str]]) -> list[str]:
    """Stamps of the files of names, each with where it stands; a UserError names all missing files."""
    found, lost = [], []
    for places, name, where in named:
        try:
            found.append(file_stamp(places.path(name)))
        except UserError as error:
            reason = printable(name) if _ADDRESS.match(name) else re.sub(r": mend or remove it$", "", str(error))
            lost.append((places, name, f"{where}: {reason}"))
    if not lost:
        return found
    places, name, first = lost[0]
    advice, count = places.advice(name), len(found) + len(lost)
    if len(lost) == 1:
        raise UserError(f"{first}: {advice}")
    if not found:
        raise UserError(f"{first}, nor can any other of {count} images: {advice}")
    more = f", of which {NAMED} are named" if len(lost) > NAMED else ""
    lines = [said for _, _, said in lost[:NAMED]]
    raise Mistakes([*lines, f"{len(lost)} of {count} images cannot be read{more}; the first: {advice}"])


def _alike(folder: str, name: str) -> list[str]:
    """Files of this name in a folder: exactly, with the suffix of an image, or in another case."""
    try:
        names = os.listdir(folder)  # noqa: PTH208
    except (OSError, ValueError):
        return []
    found = [it for it in names if it == name or (os.path.splitext(it)[0] == name and named_as_image(it))]  # noqa: PTH122
    return sorted(found, key=len) or [it for it in names if it.lower() == name.lower()]
