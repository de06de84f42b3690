"""What Mixup and CutMix share: where partners come from, and which of the two takes an image."""

from dataclasses import dataclass

import torch
from scipy.special import betaincinv
from torch import Tensor

from seedwise.base.batch import Batch


@dataclass(frozen=True)
class Mixing:
    """What a technique that mixes may use and change."""

    source: Batch
    """The batch before anything was mixed: partners come from it, so that no image is mixed from three."""
    takes: Tensor
    """bool[n] on the CPU: the images that it may mix."""

    @classmethod
    def alone(cls, batch: Batch) -> "Mixing":
        """For the only technique that mixes."""
        return cls(batch, torch.ones(len(batch.images), dtype=torch.bool))


def beta_quantile(draws: Tensor, alpha: float) -> Tensor:
    """Turn uniform float64[n] into Beta(alpha, alpha) by the inverse of its distribution function."""
    return draws if alpha == 1 else torch.from_numpy(betaincinv(alpha, alpha, draws.numpy()))


def partners_in_ring(places: Tensor) -> Tensor:
    """int64[n]: each image's successor in the ring of float64[n] `places`.

    So partners are a permutation without a fixed point, unless the batch is a single image: then it has none.
    """
    ring = places.argsort(stable=True)
    partners = torch.empty_like(ring)
    partners[ring] = ring.roll(-1)
    return partners
