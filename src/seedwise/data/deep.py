"""Images of more than 8 bits a channel, or of floats: reads their numbers and scales them to bytes."""

import io
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from seedwise.base.errors import UserError
from seedwise.data.source import UInt8Array

if TYPE_CHECKING:
    from PIL import Image

Range = tuple[float, float]
Numbers = npt.NDArray[Any]
"""uint16, int32, uint32 or float32 [h, w] or [h, w, c]; of 2 or 4 channels the last is alpha, whose 65535 is opaque."""
OPAQUE = 65535
BURNT = 0.5
"""Largest share of an image's values above white for which it fits the range."""
NO_LIGHT = 0.001
"""Share of the range below which all of an image is black."""

WHOLE = (0.0, 65535.0)
"""Range of 16-bit integers without a given one (PNG specification, 12.4)."""


class Oddity(StrEnum):
    """What is doubtful about an image that is used all the same."""

    HOLES = "holes"
    """Some of it is no number (NaN, infinite)."""
    BURNT = "burnt"
    """More than half of it lies above what is white."""
    SEVERAL = "several"
    """Its file holds several pictures."""
    OURS = "ours"
    """It is a picture that seedwise drew."""


class NoRange(UserError):
    """An image of more than 8 bits without a known range from black to white."""

    def __init__(self, where: str) -> None:
        super().__init__(f"{where}: has more than 8 bits a channel, unlike the images trained on: convert it to 8 bits")


def is_deep(image: "Image.Image") -> bool:
    """Whether an opened image holds more than 8 bits a channel, by its header. Pillow keeps the upper 8 bits of colors
    of 16; until they are read, its plan for reading them (`tile`) shows it."""
    return (
        image.mode in ("I", "F")
        or image.mode.startswith("I;")
        or any(_is_wide(image, decoder, args) for decoder, _, _, args in _tiles(image))
    )


def numbers(image: "Image.Image") -> Numbers:
    """Pixel values of a deep image as its file has them, [h, w] or [h, w, channels]; a ValueError for unknown
    layouts."""
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        found = _one_channel(image)
    else:
        tiles = _tiles(image)
        found = _sgi(image, tiles[0][2]) if tiles[0][0] == "SGI16" else _both_bytes(image, tiles)
    key = image.info.get("transparency")  # of PNG: the color that is nothing
    if not isinstance(key, int | tuple) or (found.ndim == 3 and found.shape[2] != 3):
        return found
    colors = found if found.ndim == 3 else found[..., None]
    alpha = np.where((colors == np.array(key)).all(axis=2, keepdims=True), 0, OPAQUE)
    return np.concatenate([colors, alpha.astype(colors.dtype)], axis=2)


def to_bytes(found: Numbers, pixel_range: Range) -> UInt8Array:
    """Scale pixel values to uint8[h, w, 3], alpha laid over white; NaN and values below the range become black."""
    low, high = pixel_range
    colors, alpha = (found, None) if found.ndim == 2 or found.shape[2] == 3 else (found[..., :-1], found[..., -1:])
    if colors.dtype == np.uint16:  # a table of all values: photos of 50 megapixels in floats would be a gigabyte
        table = np.rint(np.clip((np.arange(65536) - low) / (high - low), 0, 1) * 255).astype(np.uint8)
        scaled: UInt8Array = table[colors]
    else:
        whole = np.nan_to_num(colors.astype(np.float64), nan=low, posinf=high, neginf=low)
        scaled = np.rint(np.clip((whole - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    if alpha is not None:
        share = alpha.astype(np.float64) / OPAQUE
        scaled = np.rint(scaled * share + 255 * (1 - share)).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(scaled.reshape(*found.shape[:2], -1), (*found.shape[:2], 3)))


def oddities(found: Numbers, pixel_range: Range) -> tuple[Oddity, ...]:
    """What is doubtful about a deep image's values, given a range."""
    colors = colors_of(found)
    odd = []
    if np.issubdtype(colors.dtype, np.floating) and not np.isfinite(found).all():
        odd.append(Oddity.HOLES)
    if np.count_nonzero(colors > pixel_range[1]) > BURNT * colors.size:
        odd.append(Oddity.BURNT)
    return tuple(odd)


def off_scale(found: Numbers, pixel_range: Range) -> str:
    """A warning that an image doesn't fit the range that its network was trained with; empty if it does."""
    (low, high), colors = pixel_range, colors_of(found)
    finite = colors[np.isfinite(colors)]
    if not finite.size:
        return "none of its values is a number: it is black"
    said = []
    if (holes := colors.size - finite.size) > 0:
        said.append(f"{holes} of {colors.size} values are no numbers, which count as black")
    if Oddity.BURNT in oddities(found, pixel_range):
        said.append(f"values up to {finite.max():g}, and white is {high:g} in this run")
    elif finite.max() <= low + NO_LIGHT * (high - low):
        said.append(f"no pixel above {NO_LIGHT:.1%} of the run's range [{low:g}, {high:g}]")
    return "; ".join(said)


def colors_of(found: Numbers) -> Numbers:
    """The channels [h, w] or [h, w, c] without alpha."""
    return found[..., :-1] if found.ndim == 3 and found.shape[2] in (2, 4) else found


def _tiles(image: "Image.Image") -> list[tuple[str, Any, int, Any]]:
    """Pillow's plan for reading an image that is opened and not loaded yet: (decoder, extents, offset, arguments)."""
    return [(tile[0], tile[1], tile[2], tile[3]) for tile in getattr(image, "tile", ())]


def _is_wide(image: "Image.Image", decoder: str, args: Any) -> bool:
    rawmode = args if isinstance(args, str) else str(args[0]) if args else ""
    if rawmode.startswith(("CMYK", "BGR")):  # inks, whose scale is what their bits say; 5 or 6 bits a color
        return False
    if decoder in ("ppm", "sgi_rle"):  # a PPM of another maximum says itself what white is
        return bool(args[1] == 65535) if decoder == "ppm" else bool(args[2] == 2)
    return decoder == "SGI16" or ";16" in rawmode or _is_planar(image)


def _is_planar(image: "Image.Image") -> bool:
    """Whether it is a TIFF with one plane a channel, of 16 bits."""
    tags = getattr(image, "tag_v2", {})
    return tags.get(284) == 2 and max(np.atleast_1d(tags.get(258, 1))) > 8


def _one_channel(image: "Image.Image") -> Numbers:
    image.load()
    found = np.asarray(image)
    found = found.astype(found.dtype.newbyteorder("="))
    tags = getattr(image, "tag_v2", {})
    if found.dtype == np.int32 and tags.get(339, 1) == 1 and tags.get(258) == (32,):  # TIFF without signs
        found = found.view(np.uint32)
    if tags.get(262) == 0:  # TIFF where 0 is white, which Pillow heeds up to 8 bits alone
        if found.dtype != np.uint16:
            raise ValueError("floats whose 0 is white")
        found = OPAQUE - found
    return found


def _sgi(image: "Image.Image", offset: int) -> Numbers:
    file: Any = getattr(image, "fp", None)
    file.seek(offset)
    shape = len(image.mode), image.height, image.width
    planes = np.frombuffer(file.read(2 * int(np.prod(shape))), ">u2").reshape(shape)[:, ::-1]
    return np.squeeze(planes.transpose(1, 2, 0).astype(np.uint16), axis=2 if len(image.mode) == 1 else ())


def _both_bytes(image: "Image.Image", tiles: list[tuple[str, Any, int, Any]]) -> Numbers:
    """Decode twice: for the upper bytes, which Pillow keeps, and for the lower ones, as if bytes had another order."""
    from PIL import Image, ImageFile

    decoder, extents, offset, args = tiles[0]
    rawmode = args if isinstance(args, str) else str(args[0])
    upper = "BL"[sys.byteorder == "little"] if rawmode.endswith("N") else "L" if rawmode.endswith("L") else "B"
    if decoder == "sgi_rle" or (decoder == "libtiff" and _is_planar(image)):
        raise ValueError("16 bits a channel, packed plane by plane")
    if _is_planar(image):
        upper = "L" if image.tag_v2.prefix == b"II" else "B"  # type: ignore[attr-defined]
    file: Any = getattr(image, "fp", None)
    file.seek(0)
    data = file.read()

    def decoded(order: str) -> Numbers:
        with Image.open(io.BytesIO(data)) as twin:
            twin.seek(image.tell())
            if decoder == "ppm":
                plan: list[Any] = [("raw", extents, offset, (f"RGB;16{order}", 0, 1))]
            else:
                plan = [(*tile[:3], _in_order(tile[3], order)) for tile in _tiles(twin)]
            twin.tile = [ImageFile._Tile(*tile) for tile in plan]
            return np.asarray(twin).astype(np.uint16)

    if rawmode == "LA;16B":  # Pillow's RGBA of it, read as bytes: gray's two, then alpha's
        both = decoded("B")
        return both[..., [0, 2]] << 8 | both[..., [1, 3]]
    found: Numbers = decoded(upper) << 8 | decoded("L" if upper == "B" else "B")
    if rawmode.startswith("RGBa"):  # colors times alpha
        alpha = np.maximum(found[..., 3:], 1).astype(np.float64)
        found[..., :3] = np.minimum(np.rint(found[..., :3] * (OPAQUE / alpha)), OPAQUE)
    return found


def _in_order(args: Any, order: str) -> Any:
    """The arguments of a tile with the other byte order."""
    if not isinstance(args, str):
        return (_in_order(args[0], order), *args[1:])
    channels = args.split(";")[0]
    return "RGBA" if channels == "LA" else f"{'RGBA' if channels == 'RGBa' else channels};16{order}"
