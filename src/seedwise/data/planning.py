"""Decides how data are kept and ordered, from sizes of files and headers of a sample."""

import shutil
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from seedwise.base.files import cache_root
from seedwise.data.config import DataConfig, Order, Storage
from seedwise.data.images import MAX_ASPECT, image_size
from seedwise.data.located import Locations, Reader
from seedwise.data.selection import read_contents
from seedwise.data.source import Contents, RawImage, Source, SourcePart

LARGE = 2 << 30
"""Bytes of files from which the order follows from the listing: 18,000 photos of 120 KB, about a minute of decoding."""
SHARE = 4
"""Decoded images may take a fourth of the free disk."""
SAMPLE = 64


class Plan(NamedTuple):
    """A kind of storage, and why: bytes that the images take decoded, and bytes of free disk."""

    storage: Storage
    decoded_bytes: int
    free_bytes: int


def encoded_bytes(stamp: Iterable[str]) -> int:
    """Bytes of all files of a source, as its stamp tells them."""
    return sum(int(line.split("\0")[1]) for line in stamp if line.count("\0") == 3)


def order_of(stamp: Iterable[str], config: DataConfig) -> Order:
    """What the order of the rows follows from: from the data and the options alone, never from the machine."""
    if config.order is not None:
        return config.order
    return "listing" if not config.skip_damaged and encoded_bytes(stamp) >= LARGE else "content"


def planned(source: Source, config: DataConfig, short_side: int, contents: Contents | None = None) -> Plan:
    """How the source is kept at this short side in pixels, where `data.storage` leaves it open."""
    contents = contents or read_contents(source, config, 1)
    count = sum(len(part.labels) for part in contents.parts.values())
    sizes = _sizes(contents.parts["train"])
    free = free_disk()
    if sizes is None:  # pixels, in memory already
        return Plan("decoded", 0, free)
    short, long = sizes.min(axis=1), sizes.max(axis=1)
    stored = np.minimum(short, short_side)
    each = 3 * stored * np.minimum(stored * long // np.maximum(short, 1), MAX_ASPECT * stored)
    decoded = int(each.mean() * count)
    wanted: Storage = "decoded" if decoded * SHARE <= free else "encoded"
    return Plan(config.storage or wanted, decoded, free)


def free_disk() -> int:
    """Free bytes of the disk that the cache lies on."""
    place = cache_root()
    return shutil.disk_usage(next(folder for folder in (place, *place.parents) if folder.exists())).free


def sampled(part: SourcePart, count: int) -> list[RawImage]:
    """About so many images of a part, undecoded and evenly spaced where they can be read alone, else the first."""
    if part.places is None:
        return list(islice(part.images(), count))
    step = max(1, len(part.labels) // count)
    reader = Reader(Locations.of(islice(part.places(), 0, None, step)))
    found = [reader.read(number) for number in range(-(-len(part.labels) // step))]
    reader.close()
    return found


def _sizes(part: SourcePart) -> "np.ndarray[tuple[int, int], np.dtype[np.int64]] | None":
    """Sizes int64[n, 2] of a sample; None for images that are no files."""
    raws = sampled(part, SAMPLE)
    if any(not isinstance(raw.data, bytes | Path) for raw in raws):
        return None
    found = [size for raw in raws if (size := image_size(raw)) is not None]
    return np.array(found or [(1, 1)], np.int64)
