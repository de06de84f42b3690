"""Shared parts of Mixup and CutMix: Beta-distributed shares, and partners within the batch."""

from dataclasses import dataclass

import torch
from scipy.special import betaincinv
from torch import Tensor

from seedwise.base.batch import Batch

UNIT = 2.0**-15
"""Shares of pixels are rounded to multiples of this, so that products with uint8 pixels, and their sum, are exact in
float32: the result depends neither on threads nor on the device."""


@dataclass(frozen=True)
class Mixing:
    """The images that a mixing technique may read and change."""

    source: Batch
    """The unmixed batch, which partners come from, so that no image is mixed from three."""
    mask: Tensor
    """bool[n] on the CPU: the images that the technique may mix."""

    @classmethod
    def alone(cls, batch: Batch) -> "Mixing":
        """All images of a batch, for the only mixing technique that is on."""
        return cls(batch, torch.ones(len(batch.images), dtype=torch.bool))


def beta_quantile(draws: Tensor, a: float, b: float | None = None) -> Tensor:
    """Quantiles float64[n] of Beta(a, b), by default Beta(a, a), at probabilities float64[n] in [0, 1)."""
    b = a if b is None else b
    return draws if a == b == 1 else torch.from_numpy(betaincinv(a, b, draws.numpy()))


def partners_in_ring(places: Tensor) -> Tensor:
    """int64[n]: each image's successor in the ring of images sorted by float64[n] `places`.

    So partners are a permutation without a fixed point, unless the batch is a single image.
    """
    ring = places.argsort(stable=True)
    partners = torch.empty_like(ring)
    partners[ring] = ring.roll(-1)
    return partners
