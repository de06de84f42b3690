"""Images as they lie in the cache: memory-mapped bytes, one shape for all or a shape each."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from seedwise.data.source import Int64Array, UInt8Array


class Images(Protocol):
    """Stored images, read by row."""

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) when all images share it."""
        ...

    def gather(self, rows: Int64Array) -> tuple[UInt8Array, Int64Array | None]:
        """uint8[n, 3, h, w] (channels last in memory) and, unless all images share one size, int64[n, 2] sizes."""
        ...


@dataclass(frozen=True)
class UniformImages:
    """Pixels uint8[n, h, w, 3]: what torch's channels_last wants, so no copy follows the one out of the map.

    `slots`: int64[n], where in the pixels each row lies.
    """

    pixels: UInt8Array
    slots: Int64Array

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) of every image."""
        return self.pixels.shape[1], self.pixels.shape[2]

    def gather(self, rows: Int64Array) -> tuple[UInt8Array, Int64Array | None]:
        """The rows as uint8[n, 3, h, w]."""
        return self.pixels[self.slots[rows]].transpose(0, 3, 1, 2), None


@dataclass(frozen=True)
class RaggedImages:
    """Pixels uint8[bytes], one image after the other, with the offset int64[n] and size int64[n, 2] of each."""

    pixels: UInt8Array
    offsets: Int64Array
    sizes: Int64Array

    @property
    def size(self) -> tuple[int, int] | None:
        """None: sizes differ."""
        return None

    def gather(self, rows: Int64Array) -> tuple[UInt8Array, Int64Array | None]:
        """The rows at the top left of canvases as large as the largest of them, zero elsewhere."""
        sizes = self.sizes[rows]
        height, width = sizes.max(axis=0, initial=0)
        canvas = np.zeros((len(rows), height, width, 3), np.uint8)
        for image, offset, (h, w) in zip(canvas, self.offsets[rows], sizes, strict=True):
            image[:h, :w] = self.pixels[offset : offset + h * w * 3].reshape(h, w, 3)
        return canvas.transpose(0, 3, 1, 2), sizes


def map_images(file: Path, sizes: Int64Array, slots: Int64Array) -> Images:
    """Images of a file that holds h * w * 3 bytes of each, for sizes int64[n, 2]; row i is number `slots[i]` in it."""
    # a plain array over the map: memmap's subclass machinery costs more than a small gather
    pixels = np.asarray(np.memmap(file, np.uint8, mode="r"))
    if (sizes == sizes[0]).all():
        height, width = sizes[0]
        return UniformImages(pixels.reshape(len(sizes), height, width, 3), slots)
    lengths = np.empty(len(sizes), np.int64)
    lengths[slots] = sizes.prod(axis=1) * 3
    return RaggedImages(pixels, (np.cumsum(lengths) - lengths)[slots], sizes)
