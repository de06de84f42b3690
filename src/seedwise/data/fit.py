"""The one rule by which an original becomes a stored image, so that both storages hold the same pixels, bit for bit."""

from typing import NamedTuple

from seedwise.data.deep import Range
from seedwise.data.images import MAX_ASPECT, read, resize_short_side
from seedwise.data.source import RawImage, UInt8Array


class Fit(NamedTuple):
    """How images are stored: larger ones are shrunk to `short_side`, and then all get `stored_side`, at an aspect of at
    most 2:1, except those of the size `common`, (height, width), which all images share; sides in pixels. `scaled`:
    JPEG files of at least four times the side are decoded at a smaller scale, of twice the side or more."""

    short_side: int
    stored_side: int
    common: tuple[int, int] | None = None
    pixel_range: Range | None = None
    scaled: bool = False

    @property
    def largest(self) -> int:
        """Most bytes of a stored image."""
        shrunk = self.stored_side * MAX_ASPECT * self.stored_side
        height, width = self.common if self.common and min(self.common) <= self.short_side else (0, 0)
        return 3 * max(shrunk, height * width)

    def pixels(self, raw: RawImage) -> UInt8Array:
        """Stored pixels uint8[h, w, 3] of an original; `DamagedImage` for one that can't be read, `NoRange` for one of
        more than 8 bits without a range."""
        original = read(raw, self.pixel_range, scale_to=2 * self.short_side if self.scaled else None).pixels
        pixels, size = original, original.shape[:2]
        if min(size) > self.short_side:
            pixels = resize_short_side(original, self.short_side)
        if size == self.common or not needs_refit(pixels.shape[0], pixels.shape[1], self.stored_side):
            return pixels
        return resize_short_side(pixels, self.stored_side)


def needs_refit(height: int, width: int, stored_side: int) -> bool:
    """Whether an image of this size in pixels has another short side, or is too long."""
    return min(height, width) != stored_side or max(height, width) > MAX_ASPECT * stored_side
