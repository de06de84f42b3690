"""Noise images in place of photos, as many and as large, to time a step before photos are decoded."""

import numpy as np

from seedwise.data.dataset import Dataset, Subset
from seedwise.data.glance import Glance
from seedwise.data.storage import RaggedImages

HELD = 64
"""Number of different images; further ones repeat them."""
ASPECT = 4 / 3


def stand_in(seen: Glance, short_side: int) -> Dataset:
    """A data set of noise with the same numbers of images and classes, at the size at which it would be stored.
    `short_side`: the stored short side in pixels."""
    short = max(1, min(short_side, seen.short_side))
    sizes = np.array([(short, round(ASPECT * short)), (round(ASPECT * short), short)], np.int64)
    pixels = np.random.default_rng(0).integers(0, 256, HELD * int(sizes[0].prod()) * 3, np.uint8)

    def part(count: int) -> Subset | None:
        if not count:
            return None
        rows = np.arange(count)
        images = RaggedImages(pixels, rows % HELD * int(sizes[0].prod()) * 3, sizes[rows % 2])
        return Subset(rows, rows % seen.classes, count, images)

    train = part(seen.train)
    assert train is not None
    return Dataset(
        name="noise",
        path=None,
        fingerprint="",
        classes=tuple(map(str, range(seen.classes))),
        superclasses=None,
        superclass_of=None,
        train=train,
        val=part(seen.val),
        test=part(seen.test),
    )
