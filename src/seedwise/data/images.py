"""Any image that Pillow opens as uint8[h, w, 3], upright, and at the size it is stored in."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from seedwise.data.formats import readers
from seedwise.data.source import RawImage, UInt8Array, printable
from seedwise.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

MAX_ASPECT = 2
"""Resized photos are center-cropped to this ratio of long to short side, lest one panorama blow up every batch."""

MAX_RESIZED_ASPECT = 64
"""Anything longer is cut to this before it is resized: a strip of one pixel by a million is no photo."""

MAX_PIXELS = 178_956_970
"""Larger images are taken for decompression bombs: twice what Pillow warns of, whatever its own limit was set to."""

ORIENTATION_TAG = 0x0112


def decode(raw: RawImage) -> UInt8Array:
    """uint8[h, w, 3]: EXIF orientation applied, 16 bits scaled to 8, alpha laid over white, first frame only."""
    import io

    from PIL import Image

    if isinstance(raw.data, np.ndarray):
        return raw.data
    try:
        with Image.open(io.BytesIO(raw.data) if isinstance(raw.data, bytes) else raw.data, formats=readers()) as image:
            _demand_size(image)
            return upright_rgb(image)
    # a dozen types come out of Pillow for damaged files: OSError, SyntaxError, struct.error, DecompressionBombError, …
    except Exception as error:
        where = printable(raw.where)
        if isinstance(error, OSError) and error.errno is not None and isinstance(raw.data, Path):
            raise UserError(f"{where}: cannot be read ({error.strerror}): check its permissions") from error
        raise UserError(f"{where}: not a readable image ({_reason(error, raw.data)}): replace or remove it") from error


def _reason(error: Exception, data: bytes | Path | UInt8Array) -> str:
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):  # its own message names a Python object
        is_empty = not (data.stat().st_size if isinstance(data, Path) else len(data))
        return "it is empty" if is_empty else "it is in no image format known here"
    return " ".join(str(error).split()) or type(error).__name__


def _demand_size(image: "Image.Image") -> None:
    """Before a pixel is decoded; Pillow has the same check, but any other code in the process may have lifted it."""
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{image.width} x {image.height} pixels are more than {MAX_PIXELS}")


def upright_rgb(image: "Image.Image") -> UInt8Array:
    """An opened image as uint8[h, w, 3], with the conversions that `decode` names."""
    from PIL import ImageOps

    return np.asarray(_to_rgb(ImageOps.exif_transpose(image) if _is_turned(image) else image))


def _is_turned(image: "Image.Image") -> bool:
    try:
        return bool(image.getexif().get(ORIENTATION_TAG, 1) != 1)
    except Exception:  # cameras and editors leave damaged EXIF blocks in sound photos
        return False


def _to_rgb(image: "Image.Image") -> "Image.Image":
    from PIL import Image, ImageCms

    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_to_8_bits(np.asarray(image))).convert("RGB")
    if image.mode == "LAB":
        to_srgb = ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")
        converted = ImageCms.applyTransform(image, to_srgb)
        assert converted is not None  # only None when converting in place
        return converted
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa"):
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def _to_8_bits(gray: npt.NDArray[Any]) -> UInt8Array:
    """Integers are 16 bits (Pillow widens some to 32); floats count to 1 or, when any is larger, to 255."""
    is_float = np.issubdtype(gray.dtype, np.floating)
    top = 65535 if not is_float else 255 if gray.max(initial=0) > 1 else 1
    scaled: UInt8Array = np.rint(np.nan_to_num(np.clip(gray, 0, top)) * (255 / top)).astype(np.uint8)
    return scaled


def resize_short_side(pixels: UInt8Array, short_side: int) -> UInt8Array:
    """Bicubic with antialiasing to the given short side, as torchvision's Resize; cropped to an aspect of at most 2:1.

    What is cut off is an even number of pixels at both ends: the center square of the result, whose offset torchvision
    rounds to even, is then the center square of the whole.
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
