"""A user's own data as a source: what a callable returns, found by import path.

The callable runs at every start, and what it returns decides whether the decoded images in the cache are still good:
the stamp holds classes, labels, the bytes of arrays and the path, size and time of files. A stamp of the module's file
alone would miss a changed helper, and changed images beside it.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from seedwise.base.errors import UserError
from seedwise.base.user_code import fails, find
from seedwise.data.deep import Numbers
from seedwise.data.images import pixels_of
from seedwise.data.source import PARTS, Contents, Int64Array, RawImage, SourcePart, file_stamp

OPTION = "data.factory"
_WANTED = "give uint8[h, w, 3], a PIL image, or a path"


@dataclass(frozen=True)
class UserSource:
    """A user's data: `factory()` -> {"classes": [...], "train": (images, labels)}, with "val" and "test" if any."""

    factory: str
    name: str

    @property
    def path(self) -> Path:
        """The name as a path: the data come from no one place, and it is what finds them again."""
        return Path(self.name)

    def stamp(self) -> list[str]:
        """Everything that the callable returned, images before decoding."""
        lines = [f"{OPTION} {self.factory}", *self._contents.classes]
        for part, content in self._contents.parts.items():
            digest = hashlib.sha256(content.labels.tobytes())
            for raw in content.images():
                digest.update(_identity(raw))
            lines.append(f"{part} {digest.hexdigest()}")
        return lines

    def read(self) -> Contents:
        """Call the factory and check classes, labels and images; a UserError for what doesn't fit."""
        return self._contents

    @cached_property
    def _contents(self) -> Contents:
        load = find(OPTION, self.factory)
        try:
            given = load()
        except (Exception, SystemExit) as error:
            raise fails(OPTION, self.factory, "called without arguments, it raised", error) from error
        if not isinstance(given, Mapping) or not {"classes", "train"} <= set(given) <= {"classes", *PARTS}:
            found = (
                f"a mapping with {', '.join(map(str, given))}" if isinstance(given, Mapping) else type(given).__name__
            )
            raise self._wrong(f"returned {found}; return {{'classes': ..., 'train': (images, labels)}}, val, test")
        classes = self._classes(given["classes"])
        parts = {part: self._part(part, given[part], len(classes)) for part in PARTS if given.get(part) is not None}
        return Contents(classes, parts)

    def _classes(self, given: Any) -> tuple[str, ...]:
        names = tuple(given) if isinstance(given, Sequence) and not isinstance(given, str) else ()
        if len(set(names)) < 2 or len(set(names)) < len(names) or not all(isinstance(name, str) for name in names):
            raise self._wrong(f"classes are {given!r:.80}; give a list of at least two different names")
        return names

    def _part(self, part: str, given: Any, classes: int) -> SourcePart:
        if not isinstance(given, tuple | list) or len(given) != 2:
            raise self._wrong(f"{part} is {type(given).__name__}; give (images, labels)")
        images, labels = given[0], self._labels(part, given[1], classes)
        if not hasattr(images, "__len__") or not hasattr(images, "__getitem__"):
            raise self._wrong(f"{part} has images of type {type(images).__name__}; give an array or a list")
        if len(images) != len(labels) or not len(labels):
            raise self._wrong(f"{part} has {len(images)} images and {len(labels)} labels; give one for each image")

        def stream() -> Iterator[RawImage]:
            for row in range(len(labels)):
                where = f"{OPTION} {self.factory}: {part} image {row}"
                yield RawImage(where, self._image(where, images[row]))

        return SourcePart(labels, stream)

    def _labels(self, part: str, given: Any, classes: int) -> Int64Array:
        try:
            labels = np.asarray(given)
        except (ValueError, TypeError) as error:
            raise self._wrong(f"{part} has labels that are no array ({error}); give an integer an image") from error
        if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
            raise self._wrong(f"{part} has labels {labels.dtype}{list(labels.shape)}; give an integer an image")
        if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
            raise self._wrong(
                f"{part} has labels from {labels.min()} to {labels.max()}; classes are 0 to {classes - 1}"
            )
        return labels.astype(np.int64)

    def _image(self, where: str, given: Any) -> Path | Numbers:
        from PIL import Image

        if isinstance(given, str | Path):
            return Path(given).expanduser().absolute()
        if isinstance(given, Image.Image):
            try:
                return pixels_of(given)
            except Exception as error:  # a lazily opened file is read only now, and may be damaged in a dozen ways
                raise fails(OPTION, self.factory, f"{where.rpartition(': ')[2]} can't be read:", error) from error
        kind = f"{given.dtype}{list(given.shape)}" if isinstance(given, np.ndarray) else type(given).__name__
        if isinstance(given, np.ndarray) and kind.startswith("uint8") and given.shape[2:] == (3,) and given.size:
            return given
        raise UserError(f"{where} is {kind}; {_WANTED}")

    def _wrong(self, what: str) -> UserError:
        return UserError(f"{OPTION} {self.factory}: {what}")


def _identity(raw: RawImage) -> bytes:
    """Bytes that change when an image does: an array's pixels, or a file's path, size and time."""
    if isinstance(raw.data, np.ndarray):
        return hashlib.sha256(f"{raw.data.dtype} {raw.data.shape}\0".encode() + raw.data.tobytes()).digest()
    assert isinstance(raw.data, Path)
    return file_stamp(raw.data).encode("utf-8", "surrogateescape") + b"\0"
