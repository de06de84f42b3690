"""Repeated augmentation: which images an epoch takes, and the copies of each."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seedwise.base import rng


def epoch_order(seed: int, images: int, repeats: int, epoch: int) -> NDArray[np.int64]:
    """Shuffle the images of an epoch, from 0: positions int64[images], copy c (from 0) of position p as p + c * images.

    The copies of an image follow each other, and `repeats` epochs in a row have each copy of each image once. An image
    at the end of such an epoch may have some copies in the next one.
    """
    shuffle, part = divmod(epoch, repeats)
    order = rng.generator(seed, "order", shuffle).permutation(images).astype(np.int64)
    numbers = np.arange(part * images, (part + 1) * images)
    return order[numbers // repeats] + numbers % repeats * images


class Repeats:
    """Gives the copies of an image draws of their own, and counts how many of them meet in a step."""

    def __init__(self, repeats: int, draw_rows: int) -> None:
        """`draw_rows`: rows of the table of draws that the images' ids index."""
        self._repeats, self._draw_rows = repeats, draw_rows
        self._images = self._different = 0

    def draw_ids(self, ids: NDArray[np.int64], copies: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of the draws of copies int64[n], from 0, of the images with ids int64[n]; the first copy's are the
        image's own."""
        return ids + copies * self._draw_rows

    def line(self, images: int) -> str:
        """What an epoch of so many images is, for whoever waits for it."""
        different = math.ceil(images / self._repeats)
        return f"train.repeats: an epoch of {images:,} is {different:,} images, {self._repeats} times each"

    def count(self, positions: NDArray[np.int64], images: int) -> None:
        """Count a step of all processes, its positions int64[n] as `epoch_order` has them for so many images."""
        self._images += len(positions)
        self._different += len(np.unique(positions % images))

    def effects(self) -> dict[str, dict[str, float]]:
        """Images trained on so far, each copy as one, and the mean number of copies of an image in its step."""
        copies = self._images / max(self._different, 1)
        return {"repeated_augmentation": {"images": float(self._images), "copies": copies}}

    def state(self) -> dict[str, Any]:
        """The counts, for a checkpoint."""
        return {"images": self._images, "different": self._different}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on counting from a checkpoint."""
        self._images, self._different = int(state["images"]), int(state["different"])
