"""The protocol of a source of images: a cheap stamp for the cache, then labels, then pixels one by one."""

import os
import re
import stat
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from seedwise.base.errors import UserError

UInt8Array = npt.NDArray[np.uint8]
Int64Array = npt.NDArray[np.int64]

Progress = Callable[[str, int, int], None]
"""Called with (label, done, total) while images are decoded (in images) or downloaded (in bytes)."""

PARTS = ("train", "val", "test")
PART_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
"""Names of each part in folders, files and columns of tables, in lower case."""
PART_OF = {name: part for part, names in PART_NAMES.items() for name in names}
"""The part that a lower-case name means."""
EXAMPLES = 3
"""Names kept of what was passed over."""


class RawImage(NamedTuple):
    """One image before decoding; `where` names it in messages. `data`: its file's bytes or path, uint8[h, w, 3], or the
    numbers of an image of more than 8 bits (see deep)."""

    where: str
    data: bytes | Path | npt.NDArray[Any]


class Located(NamedTuple):
    """Where an image's encoded bytes lie: `offset` and `length` in bytes in `file`; `how`, see located; `size`: its
    bytes once unpacked. `where` names it in messages."""

    where: str
    file: str
    offset: int
    length: int
    how: int
    size: int


@dataclass(frozen=True)
class PassedOver:
    """Things in a source that aren't trained on. `kind`: files, folders, rows, images or classes; `reason`: a suffix, a
    system folder's name or a few words; `examples`: the first names, at most `EXAMPLES`."""

    kind: str
    reason: str
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Survey:
    """What was passed over in the data, and doubts about them, a line each.

    A doubt may not be what the person meant; a result is still a result. What would make it meaningless is a UserError
    instead.
    """

    passed_over: tuple[PassedOver, ...] = ()
    doubts: tuple[str, ...] = ()

    def __add__(self, other: "Survey") -> "Survey":
        return Survey(self.passed_over + other.passed_over, self.doubts + other.doubts)


class Tally:
    """Counts what is passed over, by kind and reason."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, str], list[str]] = {}
        self._counts: dict[tuple[str, str], int] = {}

    def add(self, kind: str, reason: str, name: str, count: int = 1) -> None:
        """Count `name`, or `count` such things, as passed over."""
        key = (kind, reason)
        self._counts[key] = self._counts.get(key, 0) + count
        if len(names := self._names.setdefault(key, [])) < EXAMPLES:
            names.append(printable(name))

    def passed_over(self) -> tuple[PassedOver, ...]:
        """The counts, the largest first."""
        ordered = sorted(self._counts, key=lambda key: (key[0], -self._counts[key], key[1]))
        return tuple(PassedOver(*key, self._counts[key], tuple(self._names[key])) for key in ordered)


@dataclass(frozen=True)
class SourcePart:
    """Labels int64[n] of one part, and a stream of its images in the same order, which is the source's own. `places`:
    where their encoded bytes lie, in the same order, without reading them; None where they lie in no file alone."""

    labels: Int64Array
    images: Callable[[], Iterator[RawImage]]
    places: Callable[[], Iterator[Located]] | None = None


@dataclass(frozen=True)
class Contents:
    """Classes and parts of a source (keys from `PARTS`, always with train). `superclass_of`: int64[k], each class's
    index in `superclasses`."""

    classes: tuple[str, ...]
    parts: dict[str, SourcePart]
    superclasses: tuple[str, ...] | None = None
    superclass_of: Int64Array | None = None
    survey: Survey = field(default_factory=Survey)


class Source(Protocol):
    """A place that images come from."""

    @property
    def name(self) -> str:
        """Short name, for run folders and messages."""
        ...

    @property
    def path(self) -> Path | None:
        """Absolute folder or file, or None when the images come inside a package."""
        ...

    def stamp(self) -> list[str]:
        """Lines that change when the content does (paths, sizes, times); cheap, since every start computes them."""
        ...

    def read(self) -> Contents:
        """Read classes and labels, checked, with images ready to be streamed; a UserError for what can't be used."""
        ...


def file_stamp(path: str | Path) -> str:
    """Path, size and times of a file in one line, which changes when its content does; a UserError if it is missing."""
    try:
        status = os.stat(path)  # noqa: PTH116 -- a Path for each of 100,000 files takes a second
    except (OSError, ValueError) as error:  # ValueError: a null byte in a name out of a table
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{printable(str(path))}: cannot be read ({reason}): mend or remove it") from error
    if not stat.S_ISREG(status.st_mode):  # reading from a pipe or a device might never end
        raise UserError(f"{printable(str(path))}: not an ordinary file: mend or remove it")
    # copying, unpacking and synchronizing keep the time of a file's content, but not that of the file itself (ctime)
    return f"{path}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ctime_ns}"


def require_classes(classes: tuple[str, ...], where: Path | str, least: int = 2) -> None:
    """Raise a UserError unless there are at least `least` classes: two to tell apart, or one to score."""
    if len(classes) < least:
        found = f"only the class '{printable(classes[0])}'" if classes else "no class"
        raise UserError(f"{where}: {found} was found, and training needs at least 2: add another class")


_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")


def raw_bytes(name: str) -> bytes:
    """A file name's bytes by `os.fsencode`, whatever the locale says about names."""
    return name.encode("utf-8", "surrogateescape")


def printable(name: str) -> str:
    r"""A file's name as text in one line: bytes that are no UTF-8 become `\xff`, line breaks `\n`."""
    text = raw_bytes(name).decode("utf-8", "backslashreplace")
    return _CONTROL.sub(lambda match: repr(match[0])[1:-1], text)


def visible(name: str) -> str:
    """`printable` for a terminal: characters without width or that turn the direction of text (U+202E) are escaped."""
    hidden = ("Cc", "Cf")
    return "".join(
        char.encode("ascii", "backslashreplace").decode() if unicodedata.category(char) in hidden else char
        for char in printable(name)
    )


_WHOLE = re.compile(r"-?\d{1,18}", re.ASCII)


def class_order(names: Iterable[str]) -> list[str]:
    """Class names in the order of their indices: by value when all are whole numbers, else by text.

    All sources whose classes have no order of their own use it, so that class 2 stands before class 10 in each of them.
    """
    different = set(names)
    if all(_WHOLE.fullmatch(name) for name in different):
        return sorted(different, key=lambda name: (int(name), name))
    return sorted(different)
