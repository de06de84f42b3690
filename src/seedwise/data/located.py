"""Where the encoded bytes of each image lie, so that any image is read alone: a file, or a span of an archive.

Kept as arrays of numbers and one text of names, 40 bytes and a path an image, since there may be millions of them.
"""

import os
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from seedwise.base.errors import UserError
from seedwise.data.source import Int64Array, Located, RawImage, SourcePart, UInt8Array, raw_bytes

WHOLE, PLAIN, ZIPPED, DEFLATED = range(4)
"""How an image lies in its file: it is the file; its bytes stand there; behind a zip's local header; compressed too."""
ZIP_HEADER = 30
"""Bytes of a zip's local header before the two names, whose lengths are its last two numbers."""
SPAN_COLUMNS = 4
FILES = ("spans", "paths", "ends")
MOST_OPEN = 32
"""Files that a reader keeps open."""


@dataclass(frozen=True)
class Locations:
    """The places of a part's images in the source's order. `spans`: int64[n, 4], the file's number, then offset, length
    and how; `paths`: the files' paths one after the other, uint8; `ends`: int64[k], where each path ends in these."""

    spans: Int64Array
    paths: UInt8Array
    ends: Int64Array
    folder: Path = Path()
    """What relative paths start from."""

    @classmethod
    def of(cls, images: Iterable[Located]) -> "Locations":
        """Collect places; images of one file that stand together share its path."""
        spans, ends, paths, last = NumberRows(SPAN_COLUMNS), NumberRows(1), bytearray(), None
        for it in images:
            if it.file != last:
                paths += raw_bytes(it.file)
                ends.add(len(paths))
                last = it.file
            spans.add(len(ends) - 1, it.offset, it.length, it.how)
        return cls(spans.array(), np.frombuffer(bytes(paths), np.uint8), ends.array()[:, 0])

    @classmethod
    def map(cls, folder: Path, part: str) -> "Locations":
        """Map the files that `write` wrote."""
        spans, paths, ends = (_mapped(folder / f"{part}.{kind}") for kind in FILES)
        return cls(spans.view(np.int64).reshape(-1, SPAN_COLUMNS), paths, ends.view(np.int64), folder)

    def files(self) -> dict[str, bytes]:
        """The bytes of each file that `map` finds, by its suffix."""
        return dict(zip(FILES, (array.tobytes() for array in (self.spans, self.paths, self.ends)), strict=True))

    def without(self, numbers: list[int]) -> "Locations":
        """The places without those of these images, by their number in the part."""
        return replace(self, spans=np.delete(self.spans, numbers, axis=0)) if numbers else self

    def path(self, number: int) -> str:
        """The file that image `number` lies in."""
        file = int(self.spans[number, 0])
        start = int(self.ends[file - 1]) if file else 0
        path = self.paths[start : int(self.ends[file])].tobytes().decode("utf-8", "surrogateescape")
        return os.path.join(self.folder, path)  # noqa: PTH118 -- a Path for each image costs more than its lookup


def whole_files(root: str, files: Iterable[str]) -> Iterator[Located]:
    """The places of images that are files, relative to `root` or absolute."""
    for file in files:
        path = os.path.join(root, file)  # noqa: PTH118
        yield Located(path, path, 0, -1, WHOLE, -1)


def locate(
    part: SourcePart,
    folder: Path,
    name: str,
    seen: Callable[[Iterator[Located]], Iterator[Located]] = lambda images: images,
) -> Locations:
    """Find the places of a part's images; what can't be read alone (Parquet, a compressed tar) is copied, encoded as
    it is, to `<name>.pack` in `folder`. `seen` is handed every place and passes it on. A UserError for images that are
    no files at all."""
    if part.places is not None:
        return Locations.of(seen(part.places()))
    pack = folder / f"{name}.pack"

    def packed() -> Iterator[Located]:
        offset = 0
        with pack.open("wb") as out:
            for raw in part.images():
                if isinstance(raw.data, Path):
                    yield Located(raw.where, str(raw.data), 0, -1, WHOLE, -1)
                elif isinstance(raw.data, bytes):
                    out.write(raw.data)
                    yield Located(raw.where, pack.name, offset, len(raw.data), PLAIN, len(raw.data))
                    offset += len(raw.data)
                else:
                    raise UserError(f"data.storage=encoded: {raw.where} is pixels and no file: drop the option")

    return replace(Locations.of(seen(packed())), folder=folder)


class NumberRows:
    """Rows of whole numbers that grow in place: a list of them would take ten times the memory."""

    def __init__(self, columns: int) -> None:
        self._rows, self._count = np.empty((1024, columns), np.int64), 0

    def __len__(self) -> int:
        return self._count

    def add(self, *row: int) -> None:
        """Add a row."""
        if self._count == len(self._rows):
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
        self._rows[self._count] = row
        self._count += 1

    def array(self) -> Int64Array:
        """The rows, int64[n, columns]."""
        return self._rows[: self._count].copy()


def _mapped(file: Path) -> UInt8Array:
    return np.asarray(np.memmap(file, np.uint8, mode="r"))


class Reader:
    """Reads encoded images of one part, and keeps the files open that many of them share."""

    def __init__(self, places: Locations) -> None:
        self._places = places
        self._open: OrderedDict[int, BinaryIO] = OrderedDict()

    def read(self, number: int, where: str = "") -> RawImage:
        """Image `number` in the source's order, undecoded; a UserError where its archive is not what was listed."""
        path, (file, offset, length, how) = self._places.path(number), self._places.spans[number].tolist()
        if how == WHOLE:
            return RawImage(where or path, Path(path))
        try:
            data = self._span(self._file(file, path), offset, length, how)
        except (OSError, ValueError, zlib.error) as error:
            raise UserError(f"{path}: cannot be read ({error}): copy it again") from error
        return RawImage(where or path, data)

    def each(self, numbers: Int64Array) -> Iterator[RawImage]:
        """The images of these numbers int64[n], one after the other."""
        return (self.read(number) for number in numbers.tolist())

    def _file(self, number: int, path: str) -> BinaryIO:
        if number not in self._open:
            self._open[number] = open(path, "rb")  # noqa: SIM115, PTH123 -- stays open for the images to come
            if len(self._open) > MOST_OPEN:
                self._open.popitem(last=False)[1].close()
        self._open.move_to_end(number)
        return self._open[number]

    @staticmethod
    def _span(file: BinaryIO, offset: int, length: int, how: int) -> bytes:
        if how in (ZIPPED, DEFLATED):
            file.seek(offset)
            header = file.read(ZIP_HEADER)
            if header[:4] != b"PK\x03\x04":
                raise ValueError("no member stands where one was listed")
            offset += ZIP_HEADER + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        file.seek(offset)
        data = file.read(length)
        if len(data) != length:
            raise ValueError("it ends early")
        return zlib.decompress(data, -zlib.MAX_WBITS) if how == DEFLATED else data

    def close(self) -> None:
        """Close the files."""
        while self._open:
            self._open.popitem()[1].close()
