"""What a source of images tells about itself: a cheap stamp for the cache, then labels, then pixels one by one."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from seedwise.errors import UserError

UInt8Array = npt.NDArray[np.uint8]
Int64Array = npt.NDArray[np.int64]

Progress = Callable[[str, int, int], None]
"""Called with (label, done, total) while images are decoded."""

PARTS = ("train", "val", "test")
VALIDATION_NAMES = ("val", "valid", "validation")
"""What the validation part is called in folder and file names."""


class RawImage(NamedTuple):
    """One image before decoding; `where` names it in error messages. An array is uint8[h, w, 3] already."""

    where: str
    data: bytes | Path | UInt8Array


@dataclass(frozen=True)
class Part:
    """Labels int64[n] of one part, and its images in the same order, read as a stream."""

    labels: Int64Array
    images: Callable[[], Iterator[RawImage]]


@dataclass(frozen=True)
class Contents:
    """Classes and parts (keys from `PARTS`, always with train). `superclass_of[c]` indexes `superclasses`."""

    classes: tuple[str, ...]
    parts: dict[str, Part]
    superclasses: tuple[str, ...] | None = None
    superclass_of: Int64Array | None = None


class Source(Protocol):
    """A place that images come from."""

    @property
    def name(self) -> str:
        """Short name for run folders and messages."""
        ...

    @property
    def path(self) -> Path | None:
        """Absolute folder, or None when the images come inside a package."""
        ...

    def stamp(self) -> list[str]:
        """What has to change when the content does (paths, sizes, times); cheap, since every start computes it."""
        ...

    def read(self) -> Contents:
        """Classes and labels, checked, with images ready to be streamed."""
        ...


def file_stamp(path: str | Path) -> str:
    """Path, size and modification time of a file in one line."""
    try:
        status = os.stat(path)  # noqa: PTH116 -- a Path for each of 100,000 files takes a second
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): mend or remove it") from error
    return f"{path}\0{status.st_size}\0{status.st_mtime_ns}"


def require_classes(classes: tuple[str, ...], where: Path) -> None:
    """Raise unless there are two classes to tell apart."""
    if len(classes) < 2:
        found = f"only the class '{classes[0]}'" if classes else "no class"
        raise UserError(f"{where}: {found} was found, and training needs at least 2: add another class")
