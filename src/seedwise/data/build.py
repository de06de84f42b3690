"""Decodes a source into files: in parallel threads, in bounded memory, in an order that doesn't depend on the source's.

A folder gets, for each part, `<part>.pixels` (h * w * 3 bytes an image, one after the other as they came),
`<part>.index` (int64[n, 5]: label, height, width, the image's number in the pixel file, and the CRC-32 of its pixels),
`<part>.names` (what each image is called in the source, a line each) and `<part>.originals` (uint64[n], the first 8
bytes of the sha256 of each decoded original).

The rows of index, names and originals stand in the *canonical order*: by class, then by the sha256 of the decoded
original. It depends on what the images show and on nothing else, so a folder, a Parquet file, a CSV and an archive of
the same images give the same rows, the same splits and the same weights, whatever the files are called and in which
order they come; nor does it change with the size that images are stored at. Only equal images of one class are tied,
and these may be exchanged freely.
"""

import hashlib
import os
import warnings
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from seedwise.base.errors import UserError
from seedwise.data.config import DataConfig, Order, Storage
from seedwise.data.damage import Damage, refuse, sound, without
from seedwise.data.deep import NoRange, Oddity, Range
from seedwise.data.doubts import DARK, Light, Originals, doubts
from seedwise.data.fit import Fit, needs_refit
from seedwise.data.images import DamagedImage, decode, read, resize_short_side
from seedwise.data.located import Locations, Reader, locate
from seedwise.data.naming import image_name
from seedwise.data.originals import canonical, originals, prints
from seedwise.data.parallel import in_order
from seedwise.data.pixel_range import guess
from seedwise.data.selection import read_contents
from seedwise.data.source import Contents, Int64Array, Progress, RawImage, Source, Survey, UInt8Array, raw_bytes

INDEX_COLUMNS = 5


@dataclass(frozen=True)
class Built:
    """What `build` wrote: sha256 over it (`fingerprint`) and over the original images (`originals`), sides in pixels.
    `pixel_range`: black and white of images of more than 8 bits; None where there are none."""

    contents: Contents
    fingerprint: str
    originals: str
    short_side: int
    largest_short_side: int
    pixel_range: Range | None
    fit: Fit
    order: Order = "content"


class _Prepared(NamedTuple):
    """A decoded image, uint8[h, w, 3], with its hashes and facts about its original: `original_size` (height, width);
    `identity`, its sha256, by which images are ordered; `content`, the sha256 of the stored pixels; `crc`, their
    CRC-32."""

    pixels: UInt8Array
    original_size: tuple[int, int]
    identity: bytes
    content: bytes
    crc: int
    where: str = ""
    is_deep: bool = False
    oddities: tuple[Oddity, ...] = ()
    name: str = ""


@dataclass(frozen=True)
class _Written:
    """Facts about the images of a pixel file, in its order: sizes int64[n, 2] as (height, width); sha256 of originals
    and of stored pixels uint8[n, 32]; CRC-32 int64[n]."""

    sizes: Int64Array
    original_sizes: Int64Array
    identities: UInt8Array
    contents: UInt8Array
    crcs: Int64Array
    where: list[str]
    names: list[str]
    odd: dict[Oddity, list[str]]
    is_deep: bool


def build(
    source: Source,
    config: DataConfig,
    short_side: int,
    folder: Path,
    report: Progress,
    threads: int,
    least_classes: int = 2,
    storage: Storage = "decoded",
) -> Built:
    """Decode every part of a source, as far as it is used, and write it to `folder`; with `storage` encoded all but
    the pixels, and where the encoded images lie.

    Images of one common size with a short side of at most `short_side` pixels are kept as they are. Otherwise all get
    the short side min(short_side, the largest short side in the data). Since that is known only at the end, the first
    pass shrinks what is too large, and a second one over the stored pixels follows only if smaller or too long ones
    remain. Images of more than 8 bits are scaled by `data.pixel_range`; without one, all are looked at for it first. A
    UserError for images that can't be read, unless `data.skip_damaged` is set.
    """
    contents, pixel_range = read_contents(source, config, least_classes), config.pixel_range
    to = {name: folder / f"{name}.pixels" if storage == "decoded" else None for name in contents.parts}
    places = {} if storage == "decoded" else {name: locate(it, folder, name) for name, it in contents.parts.items()}
    decode_by = partial(_decode, source, contents, config, short_side, to, report, threads)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on odd EXIF blocks and on large but still allowed photos
        try:
            written, damaged, seen_light = decode_by(pixel_range)
        except NoRange:
            pixel_range = guess(contents, source.name, report, threads)
            written, damaged, seen_light = decode_by(pixel_range)
    if not config.skip_damaged:
        refuse([it for of in damaged.values() for it in of])
    contents = without(contents, damaged, source)
    sizes = np.concatenate([part.original_sizes for part in written.values()])
    largest = int(sizes.min(axis=1).max())
    stored_side = min(short_side, largest)
    alike = (sizes == sizes[0]).all()
    is_deep = any(part.is_deep for part in written.values())
    pixel_range = pixel_range if is_deep else None
    fit = Fit(short_side, stored_side, (int(sizes[0, 0]), int(sizes[0, 1])) if alike else None, pixel_range)
    places = {name: it.without([bad.number for bad in damaged[name]]) for name, it in places.items()}
    for part, before in {} if alike else dict(written).items():
        written[part] = _refit(to[part], before, fit, places.get(part), threads)
    for part, it in places.items():
        write_places(folder, part, it)
    digest = hashlib.sha256()
    for name in contents.classes:
        digest.update(raw_bytes(name) + b"\0")
    for part in sorted(contents.parts):
        digest.update(_write_index(folder / f"{part}.index", part, contents.parts[part].labels, written[part]))
    seen = {
        name: Originals(contents.parts[name].labels, part.identities, part.where, part.odd)
        for name, part in written.items()
    }
    found = Survey(doubts=doubts(seen, source.path, seen_light, is_deep=is_deep))
    told = replace(contents, survey=contents.survey + found)
    by_original = {name: (contents.parts[name].labels, part.identities) for name, part in written.items()}
    whole = originals(contents.classes, by_original)
    return Built(told, digest.hexdigest(), whole, stored_side, largest, pixel_range, fit)


def _decode(
    source: Source,
    contents: Contents,
    config: DataConfig,
    short_side: int,
    to: Mapping[str, Path | None],
    report: Progress,
    threads: int,
    pixel_range: Range | None,
) -> tuple[dict[str, _Written], dict[str, list[Damage]], Light]:
    """Decode every part, shrinking large images; also returns those that can't be read, and whether any pixel is bright
    or dark."""
    has_light = has_dark = False
    owners = (source.name, f"data.factory {config.factory}")

    def shrink(raw: RawImage) -> _Prepared | DamagedImage:
        nonlocal has_light, has_dark
        try:
            original, is_deep, oddities = read(raw, pixel_range)
        except DamagedImage as error:
            return error
        has_light = has_light or int(original.max()) > DARK  # one bright image will do, and the first mostly is
        has_dark = has_dark or int(original.min()) < 255 - DARK
        height, width = original.shape[:2]
        identity = content = _digest(original)
        pixels = original
        if min(height, width) > short_side:
            pixels = resize_short_side(original, short_side)
            content = _digest(pixels)
        name = image_name(raw, source.path, owners)
        return _Prepared(pixels, (height, width), identity, content, _crc(pixels), raw.where, is_deep, oddities, name)

    written, damaged = {}, {}
    for part, content in contents.parts.items():
        label = f"decoding {source.name} {part}"
        count = len(content.labels)
        damaged[part] = of = list[Damage]()
        pixels = in_order(content.images(), shrink, threads, lambda done: report(label, done, count))  # noqa: B023
        written[part] = _write(to[part], sound(pixels, of))
        if (came := len(written[part].sizes) + len(of)) != count:
            raise UserError(f"{source.path}: {part} had {count} images and then {came}: it changed; start again")
    return written, damaged, Light(has_light, has_dark)


def _digest(pixels: UInt8Array) -> bytes:
    digest = hashlib.sha256(b"%d %d\0" % pixels.shape[:2])
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()


def _crc(pixels: UInt8Array) -> int:
    return zlib.crc32(np.ascontiguousarray(pixels).data)


def _write(file: Path | None, images: Iterable[_Prepared]) -> _Written:
    """Write pixels to a file, or to none, and keep the facts about them."""
    sizes: list[tuple[int, int]] = []
    before: list[tuple[int, int]] = []
    crcs: list[int] = []
    where: list[str] = []
    names: list[str] = []
    odd: dict[Oddity, list[str]] = {}
    identities, contents = bytearray(), bytearray()
    is_deep = False

    def stored() -> Iterator[bytes]:
        nonlocal identities, contents, is_deep
        for one in images:
            sizes.append((one.pixels.shape[0], one.pixels.shape[1]))
            before.append(one.original_size)
            identities += one.identity
            contents += one.content
            crcs.append(one.crc)
            where.append(one.where)
            names.append(one.name)
            is_deep |= one.is_deep
            for oddity in one.oddities:
                odd.setdefault(oddity, []).append(one.where)
            yield one.pixels.tobytes()

    if file is not None:
        write_durably(file, stored())
    else:
        deque(stored(), maxlen=0)
    by_original, by_content = (np.frombuffer(many, np.uint8).reshape(-1, 32) for many in (identities, contents))
    stored_sizes, original_sizes = np.array(sizes, np.int64), np.array(before, np.int64)
    return _Written(
        stored_sizes, original_sizes, by_original, by_content, np.array(crcs, np.int64), where, names, odd, is_deep
    )


def write_durably(file: Path, contents: Iterable[bytes]) -> None:
    """Write a file that is there after a power cut too."""
    with file.open("wb") as out:
        out.writelines(contents)
        out.flush()
        os.fsync(out.fileno())


def write_places(folder: Path, part: str, places: Locations) -> None:
    """Write where a part's encoded images lie."""
    for kind, data in places.files().items():
        write_durably(folder / f"{part}.{kind}", [data])


def _stored(file: Path, sizes: Int64Array) -> Iterator[RawImage]:
    """Reads stored images of these sizes again."""
    mapped = np.memmap(file, np.uint8, mode="r")
    lengths = sizes.prod(axis=1) * 3
    for offset, length, size in zip(np.cumsum(lengths) - lengths, lengths, sizes, strict=True):
        yield RawImage(file.name, mapped[offset : offset + length].reshape(*size, 3))


def _refit(
    file: Path | None,
    before: _Written,
    fit: Fit,
    places: Locations | None,
    threads: int,
) -> _Written:
    """Resize images to the fit's short side and an aspect of at most 2:1, where any has another. A file is written
    anew, as a whole; without one, those images are made again, for what is known about them."""
    sizes = before.sizes
    odd = np.flatnonzero([needs_refit(height, width, fit.stored_side) for height, width in sizes.tolist()])
    if not len(odd):
        return before

    def facts(pixels: UInt8Array) -> _Prepared:
        return _Prepared(pixels, (pixels.shape[0], pixels.shape[1]), bytes(32), _digest(pixels), _crc(pixels))

    if file is None:
        assert places is not None  # either the pixels are kept, or the places of the originals
        images = in_order(Reader(places).each(odd), lambda raw: facts(fit.pixels(raw)), threads, lambda _done: None)
        chosen, after = odd, _write(None, images)
    else:
        fitted, side = file.with_suffix(".fitted"), fit.stored_side
        again = (_stored(file, sizes), lambda raw: facts(resize_short_side(decode(raw), side)))
        chosen, after = np.arange(len(sizes)), _write(fitted, in_order(*again, threads, lambda _done: None))
        fitted.replace(file)
    known = replace(before, sizes=sizes.copy(), contents=before.contents.copy(), crcs=before.crcs.copy())
    known.sizes[chosen], known.contents[chosen], known.crcs[chosen] = after.sizes, after.contents, after.crcs
    return known


def _write_index(file: Path, part: str, labels: Int64Array, written: _Written) -> bytes:
    """Write the rows in canonical order; returns the part's bytes for the fingerprint: no path, no file order."""
    order = canonical(labels, written.identities)
    seen = np.column_stack([labels, written.sizes])[order]
    write_durably(file, [np.column_stack([seen, order, written.crcs[order]]).tobytes()])
    write_durably(file.with_suffix(".names"), ["\n".join(written.names[row] for row in order.tolist()).encode()])
    write_durably(file.with_suffix(".originals"), [prints(written.identities)[order].tobytes()])
    return f"{part} {len(labels)}\0".encode() + seen.tobytes() + written.contents[order].tobytes()
