"""Decodes any image that Pillow opens to uint8[h, w, 3], upright, and resizes it to the stored size."""

import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from seedwise.base.errors import UserError
from seedwise.base.files import SOFTWARE
from seedwise.data.deep import WHOLE, NoRange, Numbers, Oddity, Range, is_deep, numbers, oddities, to_bytes
from seedwise.data.formats import HEAD, IMAGE, LFS_ADVICE, LFS_POINTER, advice, readers, sniff
from seedwise.data.source import RawImage, UInt8Array, printable

if TYPE_CHECKING:
    from PIL import Image

MAX_ASPECT = 2
"""Resized photos are center-cropped to this ratio of long to short side, lest one panorama blow up every batch."""

MAX_RESIZED_ASPECT = 64
"""Anything longer is cut to this before it is resized: a strip of one pixel by a million is no photo."""

MAX_PIXELS = 178_956_970
"""Largest number of pixels; more are a decompression bomb: twice what Pillow warns of, whatever its own limit is."""

ORIENTATION_TAG = 0x0112

PAGED = ("TIFF", "GIF", "WEBP", "PNG", "AVIF", "HEIF")
"""Pillow's names of formats that may hold several pictures, of which only the first is used."""


class DamagedImage(UserError):
    """An image that can't be read. `what`: what is wrong with it, without advice."""

    def __init__(self, where: str, what: str, advice: str) -> None:
        super().__init__(f"{where}: {what}: {advice}")
        self.where, self.what = where, what


class Read(NamedTuple):
    """A decoded image, uint8[h, w, 3]. `is_deep`: it had more than 8 bits a channel. `oddities`: see deep."""

    pixels: UInt8Array
    is_deep: bool = False
    oddities: tuple[Oddity, ...] = ()


def decode(raw: RawImage, pixel_range: Range | None = None) -> UInt8Array:
    """Decode an image to uint8[h, w, 3]: EXIF orientation applied, alpha laid over white, the first frame only. More
    than 8 bits are scaled by the range; without one they raise `NoRange`. `DamagedImage` for what can't be read."""
    return read(raw, pixel_range).pixels


def read(raw: RawImage, pixel_range: Range | None = None, *, scale_to: int | None = None) -> Read:
    """`decode`, with what else is to be known of the image; `scale_to` as in `opened`."""
    pixels, odd = opened(raw, scale_to=scale_to)
    found = scaled(raw.where, pixels, pixel_range)
    return found._replace(oddities=(*found.oddities, *odd)) if odd else found


def unscaled(raw: RawImage, *, deep_only: bool = False) -> Numbers:
    """Decode an image without scaling: uint8[h, w, 3], or its own numbers (see deep) of more than 8 bits.

    `deep_only`: an image of 8 bits is not decoded, and an empty array takes its place.
    """
    return opened(raw, deep_only=deep_only)[0]


def opened(
    raw: RawImage, *, deep_only: bool = False, scale_to: int | None = None
) -> tuple[Numbers, tuple[Oddity, ...]]:
    """`unscaled`, with what is doubtful about the file; raises `DamagedImage`. `scale_to`: pixels that a JPEG's sides
    may be decoded down to, by the scales that its format offers (1/2, 1/4, 1/8)."""
    from PIL import Image

    if isinstance(raw.data, np.ndarray):
        return raw.data, ()
    try:
        with Image.open(io.BytesIO(raw.data) if isinstance(raw.data, bytes) else raw.data, formats=readers()) as image:
            _demand_size(image)
            odd = _oddities(image)
            if scale_to is not None and image.format == "JPEG":
                image.draft(None, (scale_to, scale_to))
            return np.empty(0, np.uint8) if deep_only and not is_deep(image) else pixels_of(image), odd
    # a dozen types come out of Pillow for damaged files: OSError, SyntaxError, struct.error, DecompressionBombError, …
    except Exception as error:
        where = printable(raw.where)
        if isinstance(error, OSError) and error.errno is not None and isinstance(raw.data, Path):
            todo = "check the path" if isinstance(error, FileNotFoundError) else "check its permissions"
            raise DamagedImage(where, f"cannot be read ({error.strerror})", todo) from error
        what = f"not a readable image ({_reason(error, raw.data)})"
        raise DamagedImage(where, what, "replace or remove it") from error


def image_size(raw: RawImage) -> tuple[int, int] | None:
    """(height, width) in pixels as a file's header tells, before it is turned upright; None where it can't be read."""
    from PIL import Image

    if isinstance(raw.data, np.ndarray):
        return raw.data.shape[0], raw.data.shape[1]
    try:
        with Image.open(io.BytesIO(raw.data) if isinstance(raw.data, bytes) else raw.data, formats=readers()) as image:
            return image.height, image.width
    except Exception:  # of a dozen types, as in `opened`
        return None


def scaled(where: str, pixels: Numbers, pixel_range: Range | None) -> Read:
    """Scale `unscaled` pixels to bytes by the range; `NoRange` where they need one."""
    if pixels.dtype == np.uint8:
        return Read(pixels)
    if pixel_range is None:
        raise NoRange(printable(where))
    return Read(to_bytes(pixels, pixel_range), is_deep=True, oddities=oddities(pixels, pixel_range))


def as_trained(where: str, pixels: Numbers, pixel_range: Range | None) -> UInt8Array:
    """Scale `unscaled` pixels to uint8[h, w, 3] for a network, by the range of the images that it was trained on. Where
    these had 8 bits, 16-bit integers are scaled by their whole range, which is no guess; floats and more bits raise
    `NoRange`."""
    return scaled(where, pixels, scale_of(pixels, pixel_range)).pixels


def scale_of(pixels: Numbers, pixel_range: Range | None) -> Range | None:
    """The range by which `as_trained` scales."""
    return WHOLE if pixel_range is None and pixels.dtype == np.uint16 else pixel_range


def _reason(error: Exception, data: bytes | Path | Numbers) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):  # its own message names a Python object
        head = data.open("rb").read(HEAD) if isinstance(data, Path) else bytes(data[:HEAD])
        if not head:
            return "it is empty"
        if head.startswith(LFS_POINTER):
            return LFS_ADVICE
        if (found := sniff(head)) == IMAGE:
            return "its kind of pixels is not read here"
        return advice({found: 1})[0] if found else "it is in no image format known here"
    return " ".join(str(error).split()) or type(error).__name__


def _oddities(image: "Image.Image") -> tuple[Oddity, ...]:
    """Oddities of a file. In a phone's JPEG (MPO) the second picture is a depth map or a preview, by design."""
    several = image.format in PAGED and bool(getattr(image, "is_animated", False))
    ours = image.info.get("Software") == SOFTWARE
    return (*([Oddity.SEVERAL] if several else []), *([Oddity.OURS] if ours else []))


def _demand_size(image: "Image.Image") -> None:
    """Refuse images that are too large, before a pixel is decoded; other code may have lifted Pillow's own check."""
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{image.width} x {image.height} pixels are more than {MAX_PIXELS}")


def pixels_of(image: "Image.Image") -> Numbers:
    """Pixels of an opened image, upright: uint8[h, w, 3], or its own numbers when these have more than 8 bits."""
    from PIL import ImageOps

    if is_deep(image):
        found = numbers(image)  # Pillow has turned a TIFF by now, and taken the tag away
        turn = _TURNS.get(_orientation(image))
        return found if turn is None else turn(found)
    _widen_key(image)
    return np.asarray(_to_rgb(ImageOps.exif_transpose(image) if _orientation(image) != 1 else image))


_TURNS: dict[int, Callable[[Numbers], Numbers]] = {
    2: np.fliplr,
    3: lambda it: it[::-1, ::-1],
    4: np.flipud,
    5: lambda it: it.swapaxes(0, 1),
    6: lambda it: np.rot90(it, -1),
    7: lambda it: it.swapaxes(0, 1)[::-1, ::-1],
    8: np.rot90,
}
"""The transformation for each value of EXIF's orientation."""


def _widen_key(image: "Image.Image") -> None:
    """Scale the transparent gray of a PNG of 2 or 4 bits to 8 bits, as Pillow scales its pixels."""
    tile, key = getattr(image, "tile", None), image.info.get("transparency")
    if tile and isinstance(key, int) and tile[0][3] in ("L;2", "L;4"):
        image.info["transparency"] = key * (85 if tile[0][3] == "L;2" else 17)


def _orientation(image: "Image.Image") -> int:
    try:
        return int(image.getexif().get(ORIENTATION_TAG, 1))
    except Exception:  # cameras and editors leave damaged EXIF blocks in sound photos
        return 1


def _to_rgb(image: "Image.Image") -> "Image.Image":
    from PIL import Image, ImageCms

    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode == "LAB":
        to_srgb = ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")
        converted = ImageCms.applyTransform(image, to_srgb)
        assert converted is not None  # only None when converting in place
        return converted
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa"):
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def resize_short_side(pixels: UInt8Array, short_side: int) -> UInt8Array:
    """Resize uint8[h, w, 3] to a short side in pixels, bicubic with antialiasing, as torchvision's Resize.

    Cropped to an aspect of at most 2:1. What is cut off is an even number of pixels at both ends: the center square of
    the result, whose offset torchvision rounds to even, is then the center square of the whole.
    """
    from PIL import Image

    height, width = pixels.shape[:2]
    shortest, longest = min(height, width), min(max(height, width), MAX_RESIZED_ASPECT * min(height, width))
    if longest < max(height, width):  # a strip, whose resized whole would not fit in memory
        top, left = max(0, height - longest) // 2, max(0, width - longest) // 2
        pixels = pixels[top : top + longest, left : left + longest]
    whole = int(short_side * longest / shortest)  # torchvision truncates
    size = (short_side, whole) if height > width else (whole, short_side)
    if shortest != short_side:
        pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))
    cut = min(2 * max(0, math.ceil((whole - MAX_ASPECT * short_side) / 4)), 2 * ((whole - short_side) // 4))
    return pixels[cut : whole - cut] if height > width else pixels[:, cut : whole - cut]
