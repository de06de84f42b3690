"""Decoding a source into files: in parallel threads, in bounded memory, in an order that is not the source's.

A folder gets, for each part, `<part>.pixels` (h * w * 3 bytes an image, one after the other as they came) and
`<part>.index` (int64[n, 5]: label, height, width, the image's number in the pixel file, and the CRC-32 of its pixels).

The rows of the index stand in the *canonical order*: by class, then by the sha256 of the decoded original. It depends
on what the images show and on nothing else, so a folder, a Parquet file, a CSV and an archive of the same images give
the same rows, the same splits and the same weights, whatever the files are called and in which order they come; nor
does it change with the size that images are stored at. Only equal images of one class are tied, and these may be
exchanged freely.
"""

import hashlib
import os
import warnings
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from seedwise.data.images import MAX_ASPECT, decode, resize_short_side
from seedwise.data.source import Contents, Int64Array, Progress, RawImage, Source, UInt8Array
from seedwise.errors import UserError

CHUNK = 32
"""Images a thread decodes at a time: enough to hide the cost of handing them over, few enough for photos in memory."""
CHUNK_BYTES = 8 << 20
"""A chunk of encoded images ends when it has grown to this, so that large photos out of archives stay few."""
INDEX_COLUMNS = 5


@dataclass(frozen=True)
class Built:
    """What was written, with the content hash over it."""

    contents: Contents
    fingerprint: str
    short_side: int
    largest_short_side: int


class _Prepared(NamedTuple):
    """`identity`: sha256 of the original, by which images are ordered; `content`: of the pixels as stored, whose
    CRC-32, `crc`, is what every later process checks."""

    pixels: UInt8Array
    original_size: tuple[int, int]
    identity: bytes
    content: bytes
    crc: int


@dataclass(frozen=True)
class _Written:
    """In the order of the pixel file; digests are uint8[n, 32]."""

    sizes: Int64Array
    original_sizes: Int64Array
    identities: UInt8Array
    contents: UInt8Array
    crcs: Int64Array


def build(source: Source, contents: Contents, short_side: int, folder: Path, report: Progress, threads: int) -> Built:
    """Writes every part of the source's contents.

    Images of one common size with a short side of at most `short_side` are kept as they are. Otherwise all get the
    short side min(short_side, the largest short side in the data). Since that is known only at the end, the first pass
    shrinks what is too large, and a second one over the stored pixels follows only if smaller or too long ones remain.
    """
    written: dict[str, _Written] = {}

    def shrink(raw: RawImage) -> _Prepared:
        original = decode(raw)
        height, width = original.shape[:2]
        identity = _digest(original)
        if min(height, width) <= short_side:
            return _Prepared(original, (height, width), identity, identity, _crc(original))
        pixels = resize_short_side(original, short_side)
        return _Prepared(pixels, (height, width), identity, _digest(pixels), _crc(pixels))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on odd EXIF blocks and on large but still allowed photos
        for part, content in contents.parts.items():
            label = f"decoding {source.name} {part}"
            count = len(content.labels)
            pixels = _prepare(content.images(), shrink, threads, lambda done: report(label, done, count))  # noqa: B023
            written[part] = _write(folder / f"{part}.pixels", pixels)
            if (came := len(written[part].sizes)) != count:
                raise UserError(f"{source.path}: {part} had {count} images and then {came}: it changed; start again")
    originals = np.concatenate([part.original_sizes for part in written.values()])
    largest = int(originals.min(axis=1).max())
    stored_side = min(short_side, largest)
    if not (originals == originals[0]).all():
        for part, before in written.items():
            written[part] = _refit(folder / f"{part}.pixels", before, stored_side, threads)
    digest = hashlib.sha256()
    for name in contents.classes:
        digest.update(os.fsencode(name) + b"\0")
    for part in sorted(contents.parts):
        digest.update(_write_index(folder / f"{part}.index", part, contents.parts[part].labels, written[part]))
    return Built(contents, digest.hexdigest(), stored_side, largest)


def _digest(pixels: UInt8Array) -> bytes:
    digest = hashlib.sha256(b"%d %d\0" % pixels.shape[:2])
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()


def _crc(pixels: UInt8Array) -> int:
    return zlib.crc32(np.ascontiguousarray(pixels).data)


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
            while len(under_way) < 2 * threads and (chunk := _next_chunk(remaining)):
                under_way.append(pool.submit(prepare_chunk, chunk))
            if not under_way:
                return
            prepared = under_way.popleft().result()
            yield from prepared
            done += len(prepared)
            report(done)


def _next_chunk(images: Iterator[RawImage]) -> list[RawImage]:
    chunk: list[RawImage] = []
    size = 0
    for raw in images:
        chunk.append(raw)
        size += len(raw.data) if isinstance(raw.data, bytes) else 0
        if len(chunk) == CHUNK or size >= CHUNK_BYTES:
            break
    return chunk


def _write(file: Path, images: Iterable[_Prepared]) -> _Written:
    sizes: list[tuple[int, int]] = []
    originals: list[tuple[int, int]] = []
    crcs: list[int] = []
    identities, contents = bytearray(), bytearray()

    def stored() -> Iterator[bytes]:
        nonlocal identities, contents
        for pixels, original, identity, content, crc in images:
            sizes.append((pixels.shape[0], pixels.shape[1]))
            originals.append(original)
            identities += identity
            contents += content
            crcs.append(crc)
            yield pixels.tobytes()

    _write_durably(file, stored())
    by_original, by_content = (np.frombuffer(many, np.uint8).reshape(-1, 32) for many in (identities, contents))
    stored_sizes, original_sizes = np.array(sizes, np.int64), np.array(originals, np.int64)
    return _Written(stored_sizes, original_sizes, by_original, by_content, np.array(crcs, np.int64))


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
        return _Prepared(pixels, (pixels.shape[0], pixels.shape[1]), bytes(32), _digest(pixels), _crc(pixels))

    after = _write(file, _prepare(images(), fit, threads, lambda _done: None))
    smaller.unlink()
    return _Written(after.sizes, before.original_sizes, before.identities, after.contents, after.crcs)


def _write_index(file: Path, part: str, labels: Int64Array, written: _Written) -> bytes:
    """Writes the rows in canonical order; returns what the fingerprint takes of the part: no path, no file order."""
    words = written.identities.view(">u8")
    order = np.lexsort((*(words[:, word] for word in reversed(range(words.shape[1]))), labels))
    seen = np.column_stack([labels, written.sizes])[order]
    _write_durably(file, [np.column_stack([seen, order, written.crcs[order]]).tobytes()])
    return f"{part} {len(labels)}\0".encode() + seen.tobytes() + written.contents[order].tobytes()
