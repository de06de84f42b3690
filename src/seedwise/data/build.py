"""Decoding a source into files: in parallel threads, in order, in bounded memory.

A folder gets, for each part, `<part>.pixels` (h * w * 3 bytes an image, one after the other) and `<part>.index`
(int64[n, 3]: label, height, width).
"""

import hashlib
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from seedwise.data.images import MAX_ASPECT, decode, resize_short_side
from seedwise.data.source import Contents, Int64Array, Progress, RawImage, Source, UInt8Array

CHUNK = 32
"""Images a thread decodes at a time: enough to hide the cost of handing them over, few enough for photos in memory."""


@dataclass(frozen=True)
class Built:
    """What was written, with the content hash over it."""

    contents: Contents
    fingerprint: str
    short_side: int
    largest_short_side: int


class _Prepared(NamedTuple):
    pixels: UInt8Array
    original_size: tuple[int, int]


class _Written(NamedTuple):
    sizes: Int64Array
    original_sizes: Int64Array


def build(source: Source, short_side: int, folder: Path, report: Progress, threads: int) -> Built:
    """Writes every part of the source.

    Images of one common size with a short side of at most `short_side` are kept as they are. Otherwise all get the
    short side min(short_side, the largest short side in the data). Since that is known only at the end, the first pass
    shrinks what is too large, and a second one over the stored pixels follows only if smaller or too long ones remain.
    """
    contents = source.read()
    written: dict[str, _Written] = {}

    def shrink(raw: RawImage) -> _Prepared:
        pixels = decode(raw)
        height, width = pixels.shape[:2]
        if min(height, width) > short_side:
            pixels = resize_short_side(pixels, short_side)
        return _Prepared(pixels, (height, width))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on odd EXIF blocks and on large but still allowed photos
        for part, content in contents.parts.items():
            label = f"decoding {source.name} {part}"
            count = len(content.labels)
            pixels = _prepare(content.images(), shrink, threads, lambda done: report(label, done, count))  # noqa: B023
            written[part] = _write(folder / f"{part}.pixels", pixels)
    originals = np.concatenate([part.original_sizes for part in written.values()])
    largest = int(originals.min(axis=1).max())
    stored_side = min(short_side, largest)
    if not (originals == originals[0]).all():
        for part, before in written.items():
            written[part] = _refit(folder / f"{part}.pixels", before, stored_side, threads)
    for part, content in contents.parts.items():
        index = np.column_stack([content.labels, written[part].sizes])
        _write_durably(folder / f"{part}.index", [index.tobytes()])
    return Built(contents, _fingerprint(folder, contents), stored_side, largest)


def _prepare(
    images: Iterable[RawImage],
    prepare: Callable[[RawImage], _Prepared],
    threads: int,
    report: Callable[[int], None],
) -> Iterator[_Prepared]:
    """Prepared images in their order, with at most two chunks a thread under way."""

    def prepare_chunk(chunk: list[RawImage]) -> list[_Prepared]:
        return [prepare(raw) for raw in chunk]

    remaining = iter(images)
    under_way: deque[Future[list[_Prepared]]] = deque()
    done = 0
    with ThreadPoolExecutor(threads) as pool:
        while True:
            while len(under_way) < 2 * threads and (chunk := list(islice(remaining, CHUNK))):
                under_way.append(pool.submit(prepare_chunk, chunk))
            if not under_way:
                return
            prepared = under_way.popleft().result()
            yield from prepared
            done += len(prepared)
            report(done)


def _write(file: Path, images: Iterable[_Prepared]) -> _Written:
    sizes: list[tuple[int, int]] = []
    originals: list[tuple[int, int]] = []

    def contents() -> Iterator[bytes]:
        for pixels, original in images:
            sizes.append((pixels.shape[0], pixels.shape[1]))
            originals.append(original)
            yield pixels.tobytes()

    _write_durably(file, contents())
    return _Written(np.array(sizes, np.int64), np.array(originals, np.int64))


def _write_durably(file: Path, contents: Iterable[bytes]) -> None:
    with file.open("wb") as out:
        out.writelines(contents)
        out.flush()
        os.fsync(out.fileno())


def _refit(file: Path, before: _Written, short_side: int, threads: int) -> _Written:
    """Every stored image at this short side and an aspect of at most 2:1; the file is left alone if all are."""
    sizes = before.sizes
    if (sizes.min(axis=1) == short_side).all() and (sizes.max(axis=1) <= MAX_ASPECT * short_side).all():
        return before
    smaller = file.rename(file.with_suffix(".unfitted"))
    mapped = np.memmap(smaller, np.uint8, mode="r")
    lengths = sizes.prod(axis=1) * 3

    def images() -> Iterator[RawImage]:
        for offset, length, size in zip(np.cumsum(lengths) - lengths, lengths, sizes, strict=True):
            yield RawImage(file.name, mapped[offset : offset + length].reshape(*size, 3))

    def fit(raw: RawImage) -> _Prepared:
        pixels = resize_short_side(decode(raw), short_side)
        return _Prepared(pixels, (pixels.shape[0], pixels.shape[1]))

    after = _write(file, _prepare(images(), fit, threads, lambda _done: None))
    smaller.unlink()
    return _Written(after.sizes, before.original_sizes)


def _fingerprint(folder: Path, contents: Contents) -> str:
    """sha256 over class names, then labels, sizes and pixels of each part; no path goes into it."""
    digest = hashlib.sha256()
    for name in contents.classes:
        digest.update(os.fsencode(name) + b"\0")
    for part in sorted(contents.parts):
        digest.update(f"{part} {len(contents.parts[part].labels)}\0".encode())
        for kind in ("index", "pixels"):
            with (folder / f"{part}.{kind}").open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()
