"""Any image that Pillow opens as uint8[h, w, 3], upright, and at the size it is stored in."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from seedwise.data.source import RawImage, UInt8Array
from seedwise.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

MAX_ASPECT = 2
"""Resized photos are center-cropped to this ratio of long to short side, lest one panorama blow up every batch."""

ORIENTATION_TAG = 0x0112


def decode(raw: RawImage) -> UInt8Array:
    """uint8[h, w, 3]: EXIF orientation applied, 16 bits scaled to 8, alpha laid over white, first frame only."""
    import io

    from PIL import Image, ImageOps

    if isinstance(raw.data, np.ndarray):
        return raw.data
    try:
        with Image.open(io.BytesIO(raw.data) if isinstance(raw.data, bytes) else raw.data) as image:
            is_turned = image.getexif().get(ORIENTATION_TAG, 1) != 1
            return np.asarray(_to_rgb(ImageOps.exif_transpose(image) if is_turned else image))
    # a dozen types come out of Pillow for damaged files: OSError, SyntaxError, struct.error, DecompressionBombError, …
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{raw.where}: not a readable image ({reason}): replace or remove it") from error


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
    """Center-cropped to an aspect of at most 2:1, then bicubic with antialiasing to the given short side."""
    from PIL import Image

    height, width = pixels.shape[:2]
    longest = MAX_ASPECT * min(height, width)
    top, left = max(0, height - longest) // 2, max(0, width - longest) // 2
    pixels = pixels[top : top + longest, left : left + longest]
    height, width = pixels.shape[:2]
    if min(height, width) == short_side:
        return pixels
    scale = short_side / min(height, width)
    size = round(width * scale), round(height * scale)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))
