"""Stored images: memory-mapped bytes, of one shape or a shape each, checked when first read; and their names."""

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from seedwise.base.errors import UserError
from seedwise.data.source import Int64Array, UInt8Array


class StoredImages(Protocol):
    """Stored images, read by row."""

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) in pixels when all images share it, else None."""
        ...

    @property
    def decoded(self) -> bool:
        """Whether reading takes no decoding."""
        ...

    def gather(self, rows: Int64Array) -> tuple[UInt8Array, Int64Array | None]:
        """Read rows int64[b]: uint8[b, 3, h, w], channels last, and sizes int64[b, 2], None where all share one."""
        ...

    def expect(self, rows: Int64Array) -> None:
        """Hear that rows int64[n] will be asked for, in this order, in place of what was heard before."""
        ...


class _Mapped:
    """Pixels that need no preparation."""

    @property
    def decoded(self) -> bool:
        """Whether reading takes no decoding: it takes none."""
        return True

    def expect(self, rows: Int64Array) -> None:
        """Do nothing."""


class Checksums:
    """CRC-32 of every row, int64[n], compared with its pixels the first time that this process reads them."""

    def __init__(self, file: Path, crcs: Int64Array) -> None:
        self._file, self._crcs = file, crcs
        self._unread = np.ones(len(crcs), np.bool_)

    def verify(self, rows: Int64Array, images: Sequence[UInt8Array] | UInt8Array) -> None:
        """Raise a UserError if an image of rows int64[b] is not what was written; images uint8[h, w, 3] each."""
        fresh = np.flatnonzero(self._unread[rows])
        if not len(fresh):
            return
        for i, crc in zip(fresh.tolist(), self._crcs[rows[fresh]].tolist(), strict=True):
            if zlib.crc32(images[i].data) != crc:
                raise UserError(
                    f"{self._file}: damaged, an image in it is not the one that was written: delete "
                    f"{self._file.parent} and give the command again, which decodes the images anew"
                )
        self._unread[rows[fresh]] = False


class Names:
    """Names of the images of a part in their source, by row.

    The file is mapped at once, so that a training finds it at its end, even if the data are decoded anew meanwhile.
    """

    def __init__(self, file: Path) -> None:
        self._text = np.memmap(file, np.uint8, mode="r")

    @property
    def sha256(self) -> str:
        """SHA-256 of the file."""
        return hashlib.sha256(self._text.data).hexdigest()

    def take(self, rows: Int64Array) -> npt.NDArray[np.str_]:
        """Names str[b] of rows int64[b]."""
        names = self._text.tobytes().decode().split("\n")
        return np.array([names[row] for row in rows.tolist()], np.str_)


@dataclass(frozen=True)
class UniformImages(_Mapped):
    """Images of one size: pixels uint8[n, h, w, 3], which torch takes as channels_last without a further copy.

    `slots`: int64[n], index in the pixels of each row.
    """

    pixels: UInt8Array
    slots: Int64Array
    checksums: Checksums | None = None

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) of every image in pixels."""
        return self.pixels.shape[1], self.pixels.shape[2]

    def gather(self, rows: Int64Array) -> tuple[UInt8Array, Int64Array | None]:
        """Read rows int64[b] as uint8[b, 3, h, w]."""
        taken = self.pixels[self.slots[rows]]
        if self.checksums is not None:
            self.checksums.verify(rows, taken)
        return taken.transpose(0, 3, 1, 2), None


@dataclass(frozen=True)
class RaggedImages(_Mapped):
    """Images of different sizes: pixels uint8[bytes], offsets int64[n], (height, width) int64[n, 2] in pixels."""

    pixels: UInt8Array
    offsets: Int64Array
    sizes: Int64Array
    checksums: Checksums | None = None

    @property
    def size(self) -> tuple[int, int] | None:
        """None: sizes differ."""
        return None

    def gather(self, rows: Int64Array) -> tuple[UInt8Array, Int64Array | None]:
        """Read rows int64[b], each at the top left of a canvas as large as the largest of them, zero elsewhere."""
        sizes = self.sizes[rows]
        spans = zip(self.offsets[rows], sizes.prod(axis=1) * 3, strict=True)
        taken = [self.pixels[offset : offset + length] for offset, length in spans]
        if self.checksums is not None:
            self.checksums.verify(rows, taken)
        return on_canvas([pixels.reshape(h, w, 3) for pixels, (h, w) in zip(taken, sizes, strict=True)])


def on_canvas(images: Sequence[UInt8Array]) -> tuple[UInt8Array, Int64Array]:
    """Lay images uint8[h, w, 3] each at the top left of a canvas as large as the largest, zero elsewhere: uint8[b, 3,
    h, w], channels last, and their (height, width) int64[b, 2]."""
    sizes = np.array([image.shape[:2] for image in images], np.int64).reshape(-1, 2)
    height, width = sizes.max(axis=0, initial=0)
    canvas = np.zeros((len(images), height, width, 3), np.uint8)
    for place, image in zip(canvas, images, strict=True):
        place[: image.shape[0], : image.shape[1]] = image
    return canvas.transpose(0, 3, 1, 2), sizes


def map_images(
    file: Path, sizes: Int64Array, slots: Int64Array, crcs: Int64Array, *, may_be_alike: bool = True
) -> StoredImages:
    """Map a file of h * w * 3 bytes for each image, (height, width) int64[n, 2]; row i is number `slots[i]` in it.
    `slots`, `crcs`: int64[n]. `may_be_alike`: images of one size say so, which takes all sizes to know."""
    checksums = Checksums(file, crcs)
    # a plain array over the map: memmap's subclass machinery costs more than a small gather
    pixels = np.asarray(np.memmap(file, np.uint8, mode="r"))
    if may_be_alike and (sizes == sizes[0]).all():
        height, width = sizes[0]
        return UniformImages(pixels.reshape(len(sizes), height, width, 3), slots, checksums)
    lengths = np.empty(len(sizes), np.int64)
    lengths[slots] = sizes.prod(axis=1) * 3
    return RaggedImages(pixels, (np.cumsum(lengths) - lengths)[slots], sizes, checksums)
