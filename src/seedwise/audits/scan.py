"""Reads all images of a source once, as they are; damaged ones are noted, not refused."""

import hashlib
import io
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from seedwise.base import machine
from seedwise.base.errors import UserError
from seedwise.data.deep import NoRange, Range
from seedwise.data.formats import readers
from seedwise.data.images import decode
from seedwise.data.originals import canonical
from seedwise.data.parallel import in_order
from seedwise.data.pixel_range import guess
from seedwise.data.source import Contents, Int64Array, Progress, RawImage, Source, UInt8Array

SIDE = 32
"""Pixels of the square thumbnails that are compared."""
SHOWN = 128
"""Largest height in pixels of pictures on a page."""


@dataclass(frozen=True)
class Scanned:
    """The n readable images of one part, in the order of the data's own rows, and the damaged ones.

    `labels`: int64[n]. `numbers`: int64[n], their places in the source's own order. `sides`: int64[n], pixels of their
    short sides. `where`: what names each in messages. `thumbnails`: uint8[n, 32, 32, 3], of the center square. `exact`:
    uint8[n, 32], the SHA-256 of size and pixels. `sizes`: how many are so many pixels (width, height). `damaged`: a
    line each.
    """

    labels: Int64Array
    numbers: Int64Array
    sides: Int64Array
    where: list[str]
    thumbnails: UInt8Array
    exact: UInt8Array
    sizes: Counter[tuple[int, int]]
    modes: Counter[str]
    damaged: list[str]
    pixel_range: Range | None = None


@dataclass(frozen=True)
class _Seen:
    where: str
    thumbnail: UInt8Array | None
    exact: bytes = b""
    size: tuple[int, int] = (0, 0)
    mode: str = ""
    problem: str = ""


def scan(
    source: Source, contents: Contents, progress: Progress, pixel_range: Range | None = None
) -> dict[str, Scanned]:
    """Read every part of a source, image by image. `pixel_range`: as for training (see build)."""
    threads = machine.cores()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on odd EXIF blocks and on large but still allowed photos
        try:
            return _scan(source, contents, progress, threads, pixel_range)
        except NoRange:
            return _scan(source, contents, progress, threads, guess(contents, source.name, progress, threads))


def _scan(
    source: Source, contents: Contents, progress: Progress, threads: int, pixel_range: Range | None
) -> dict[str, Scanned]:
    parts = {}
    for name, part in contents.parts.items():
        count, label = len(part.labels), f"reading {source.name} {name}"
        see = partial(_see, pixel_range=pixel_range)
        seen = list(in_order(part.images(), see, threads, lambda done: progress(label, done, count)))  # noqa: B023
        parts[name] = replace(_collect(part.labels, seen), pixel_range=pixel_range)
    return parts


def _see(raw: RawImage, pixel_range: Range | None) -> _Seen:
    try:
        mode = _mode(raw)
        pixels = decode(raw, pixel_range)
    except NoRange:
        raise
    except UserError as error:
        return _Seen(raw.where, None, problem=str(error))
    height, width = pixels.shape[:2]
    digest = hashlib.sha256(b"%d %d\0" % (height, width))
    digest.update(np.ascontiguousarray(pixels).data)
    return _Seen(raw.where, thumbnail(pixels), digest.digest(), (width, height), mode)


def _mode(raw: RawImage) -> str:
    """Pillow's mode of an image file, such as RGB, L or CMYK; `?` if it is damaged. Pairs in order: duplicates first,
    of these those with two labels, then those across splits; the most alike first."""
    from PIL import Image

    if isinstance(raw.data, np.ndarray):
        return "RGB" if raw.data.dtype == np.uint8 else str(raw.data.dtype)
    try:
        with Image.open(io.BytesIO(raw.data) if isinstance(raw.data, bytes) else raw.data, formats=readers()) as image:
            return str(image.mode)
    except Exception:
        return "?"


def look_again(
    contents: Contents,
    parts: Mapping[str, Scanned],
    wanted: Mapping[str, Collection[int]],
    make: Callable[[UInt8Array], UInt8Array],
    progress: Progress,
) -> dict[tuple[str, int], UInt8Array]:
    """Decode some images again: `make(pixels)` by part and row, for the rows in `wanted` by part.

    `make` takes and returns uint8[h, w, 3]. An image that changed or went since the scan is left out.
    """
    made: dict[tuple[str, int], UInt8Array] = {}
    done, count = 0, sum(map(len, wanted.values()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, rows in wanted.items():
            row_of = {int(parts[name].numbers[row]): row for row in rows}
            chosen = (raw for number, raw in enumerate(contents.parts[name].images()) if number in row_of)
            see = partial(_pixels, make=make, pixel_range=parts[name].pixel_range)
            found = in_order(chosen, see, machine.cores(), lambda _done: None)
            for number, it in zip(sorted(row_of), found, strict=False):
                done += 1
                progress("looking again", done, count)
                if it is not None:
                    made[name, row_of[number]] = it
    return made


def _pixels(raw: RawImage, make: Callable[[UInt8Array], UInt8Array], pixel_range: Range | None) -> UInt8Array | None:
    try:
        return make(decode(raw, pixel_range))
    except (UserError, NoRange):
        return None


def thumbnail(pixels: UInt8Array, size: int = SIDE) -> UInt8Array:
    """Resize the center square of uint8[h, w, 3] to uint8[size, size, 3]; unchanged if it has that size."""
    from PIL import Image

    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = pixels[top : top + side, left : left + side]
    if side == size:
        return square
    return np.asarray(Image.fromarray(square).resize((size, size), Image.Resampling.BICUBIC, reducing_gap=3.0))


def shrunk(pixels: UInt8Array) -> UInt8Array:
    """Shrink uint8[h, w, 3] for display: at most SHOWN pixels high and twice as wide."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((2 * SHOWN, SHOWN), Image.Resampling.BICUBIC)
    return np.asarray(picture)


def _collect(labels: Int64Array, seen: list[_Seen]) -> Scanned:
    """Sort the scanned images into canonical order, the cache's (see build): by label, then by hash."""
    good = [i for i, one in enumerate(seen) if one.thumbnail is not None]
    exact = np.frombuffer(b"".join(seen[i].exact for i in good), np.uint8).reshape(-1, 32)
    kept = labels[good]
    order = canonical(kept, exact)
    ordered = [good[i] for i in order]
    thumbnails = [seen[i].thumbnail for i in ordered]
    return Scanned(
        labels=kept[order],
        numbers=np.array(ordered, np.int64),
        sides=np.array([min(seen[i].size) for i in ordered], np.int64),
        where=[seen[i].where for i in ordered],
        thumbnails=np.stack(thumbnails) if thumbnails else np.empty((0, SIDE, SIDE, 3), np.uint8),
        exact=exact[order],
        sizes=Counter(seen[i].size for i in good),
        modes=Counter(seen[i].mode for i in good),
        damaged=[one.problem for one in seen if one.problem],
    )


def exact_duplicates(exact: UInt8Array) -> Iterable[tuple[int, int]]:
    """Pairs (i, j), i < j, of equal hashes uint8[n, 32]: each with the first of its kind."""
    first: dict[bytes, int] = {}
    for number, digest in enumerate(exact):
        earlier = first.setdefault(digest.tobytes(), number)
        if earlier != number:
            yield earlier, number
