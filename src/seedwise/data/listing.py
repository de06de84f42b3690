"""Builds the index of data too large to look at before training: from names and sizes of files, without their pixels.

The rows of each part stand by class, then by a hash of the image's name in the source, so a folder, an archive and a
table of the same files give the same rows. A fixed sample of images settles the size that all are stored at.
"""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from seedwise.base.errors import UserError
from seedwise.data.damage import Damage, refuse, sound
from seedwise.data.deep import NoRange, Range
from seedwise.data.fit import Fit
from seedwise.data.images import DamagedImage, read
from seedwise.data.located import WHOLE, Locations, Reader, locate
from seedwise.data.naming import image_name
from seedwise.data.parallel import in_order
from seedwise.data.pixel_range import guess
from seedwise.data.source import (
    Contents,
    Int64Array,
    Located,
    Progress,
    RawImage,
    Source,
    SourcePart,
    Survey,
    UInt8Array,
    raw_bytes,
)

SAMPLE = 256
"""Images, evenly spaced in the training part's order, that settle the stored size."""
DOUBT = (
    "the images were not all looked at before training (data.order=listing): a damaged one stops it when its turn "
    "comes, and copies are not searched for (`seedwise audit` does both)"
)


class Listed(NamedTuple):
    """The index of one part: labels, order int64[n] (a row's number in the source) and places in the source's order;
    `names`: text, a line a row; `digest`: what enters the fingerprint."""

    labels: Int64Array
    order: Int64Array
    places: Locations
    names: bytes
    digest: bytes


class ListedSource(NamedTuple):
    """All parts, how their images are stored, and a fingerprint over names, sizes of files and labels."""

    contents: Contents
    parts: dict[str, Listed]
    fit: Fit
    fingerprint: str
    largest_short_side: int
    is_deep: bool


def list_images(
    source: Source, contents: Contents, short_side: int, pixel_range: Range | None, folder: Path, report: Progress,
    threads: int,
) -> ListedSource:  # fmt: skip
    """List every part; a UserError where no image of the sample can be read."""
    digest = hashlib.sha256()
    for name in contents.classes:
        digest.update(raw_bytes(name) + b"\0")
    parts = {}
    for part in sorted(contents.parts):
        report(f"listing {source.name} {part}", 0, 1)
        parts[part] = _list(source, part, contents.parts[part], folder)
        digest.update(parts[part].digest)
    sizes, is_deep, pixel_range = _sample(source, contents, parts["train"], pixel_range, report, threads)
    largest = int(sizes.min(axis=1).max())
    alike = (sizes == sizes[0]).all()
    common = (int(sizes[0, 0]), int(sizes[0, 1])) if alike and largest <= short_side else None
    fit = Fit(short_side, min(short_side, largest), common, pixel_range, scaled=True)
    told = replace(contents, survey=contents.survey + Survey(doubts=(DOUBT,)))
    return ListedSource(told, parts, fit, digest.hexdigest(), largest, is_deep)


def _list(source: Source, name: str, part: SourcePart, folder: Path) -> Listed:
    hashes = np.empty(len(part.labels), np.uint64)
    ends = np.zeros(len(part.labels) + 1, np.int64)
    lengths = np.zeros(len(part.labels), np.int64)
    text, count = bytearray(), 0

    def named(images: Iterator[Located]) -> Iterator[Located]:
        nonlocal count
        for it in images:
            whole = it.how == WHOLE
            shown = image_name(RawImage(it.where, Path(it.file) if whole else b""), source.path, (source.name,))
            encoded = shown.encode()
            hashes[count] = int.from_bytes(hashlib.sha256(encoded).digest()[:8], "big")
            text.extend(encoded)
            ends[count + 1] = len(text)
            lengths[count] = os.stat(it.file).st_size if whole else it.size  # noqa: PTH116
            count += 1
            yield it

    places = locate(part, folder, name, named)
    if count != len(part.labels):
        raise UserError(
            f"{source.path}: {name} had {len(part.labels)} images and then {count}: it changed; start again"
        )
    order = np.lexsort((hashes, part.labels))
    lines = bytearray()
    for row in order.tolist():
        lines += text[ends[row] : ends[row + 1]] + b"\n"
    seen = np.column_stack([part.labels[order], lengths[order], hashes[order].view(np.int64)])
    return Listed(part.labels, order, places, bytes(lines[:-1]), f"{name} {count}\0".encode() + seen.tobytes())


def _sample(
    source: Source, contents: Contents, train: Listed, pixel_range: Range | None, report: Progress, threads: int
) -> tuple[Int64Array, bool, Range | None]:
    """Sizes int64[n, 2] of a sample's originals, (height, width); whether any has more than 8 bits, and their range."""
    chosen = np.unique(np.linspace(0, len(train.order) - 1, SAMPLE).astype(np.int64))
    reader = Reader(train.places)
    deep = False

    def size(raw: RawImage) -> tuple[int, int] | DamagedImage:
        nonlocal deep
        try:
            found = read(raw, pixel_range)
        except DamagedImage as error:
            return error
        deep |= found.is_deep
        return found.pixels.shape[0], found.pixels.shape[1]

    def sizes() -> tuple[Int64Array, list[Damage]]:
        damaged: list[Damage] = []
        raws = (reader.read(int(train.order[row])) for row in chosen)
        label = f"looking at {source.name}"
        looked = in_order(raws, size, threads, lambda done: report(label, done, len(chosen)))
        return np.array(list(sound(looked, damaged)), np.int64).reshape(-1, 2), damaged

    try:
        found, damaged = sizes()
    except NoRange:
        pixel_range = guess(contents, source.name, report, threads)
        found, damaged = sizes()
    finally:
        reader.close()
    if not len(found):
        refuse(damaged)
    return found, deep, pixel_range


def decoded_pixels(listed: Listed, fit: Fit, report: Progress, label: str, threads: int) -> Iterator[UInt8Array]:
    """Decode a part's images in the order of its rows; a UserError names all damaged ones."""
    reader, damaged = Reader(listed.places), list[Damage]()

    def pixels(raw: RawImage) -> UInt8Array | DamagedImage:
        try:
            return fit.pixels(raw)
        except DamagedImage as error:
            return error

    raws = (reader.read(number) for number in listed.order.tolist())
    count = len(listed.order)
    yield from sound(in_order(raws, pixels, threads, lambda done: report(label, done, count)), damaged)
    reader.close()
    refuse(damaged)
