"""RandAugment: applies a few of 14 operations to each image, all at one magnitude (arXiv 1909.13719)."""

import torch
from torch import Tensor

from seedwise.augment.config import RandAugmentConfig
from seedwise.augment.measure import Measured, changed
from seedwise.augment.operations import NAMES, Space, magnitudes, shares, values
from seedwise.augment.sorted_operations import transform_in_turn
from seedwise.base.batch import Batch

COLUMNS = 16
"""Draws of an image: for each of at most 8 operations which one, and its direction."""
SPACE = Space(shear=0.3, translate=(150 / 331, 0), degrees=30.0, factor=0.9, bits=4)
"""torchvision's ranges for RandAugment."""


def parameters(draws: Tensor, config: RandAugmentConfig, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Codes int64[n, num_ops] and values float64[n, num_ops] of each image's operations; draws float32[n, 16]. `shape`:
    (h, w) of the images. The draws are which operation, and its direction, for up to 8 operations."""
    draws = draws[:, : 2 * config.num_ops].double()
    codes = (draws[:, ::2] * len(NAMES)).long()
    table = magnitudes(SPACE, config.num_magnitude_bins, shape)
    magnitude = torch.full_like(draws[:, ::2], config.magnitude)
    return codes, values(codes, magnitude, draws[:, 1::2] < 0.5, table)


def apply(batch: Batch, draws: Tensor, config: RandAugmentConfig) -> tuple[Batch, Measured]:
    """Apply the operations in turn, from draws float32[n, 16]; measures how often each was drawn, and changed
    images."""
    codes, value = parameters(draws, config, batch.images.shape[-2:])
    images = transform_in_turn(batch.images, codes, value, config.interpolation)
    magnitude = torch.full((len(codes),), config.magnitude)
    measured = {"share": changed(batch.images, images), "magnitude": magnitude, **shares(codes)}
    return Batch(images, batch.targets), measured
