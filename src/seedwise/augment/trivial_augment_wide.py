"""TrivialAugment, wide: applies one of 14 operations to each image, at a random strength (arXiv 2103.10158)."""

from torch import Tensor

from seedwise.augment.config import TrivialAugmentWideConfig
from seedwise.augment.measure import Measured, changed
from seedwise.augment.operations import NAMES, Space, magnitudes, shares, values
from seedwise.augment.sorted_operations import transform_in_turn
from seedwise.base.batch import Batch

COLUMNS = 3
SPACE = Space(shear=0.99, translate=(0, 32.0), degrees=135.0, factor=0.99, bits=6)
"""torchvision's ranges for TrivialAugmentWide."""


def parameters(draws: Tensor, config: TrivialAugmentWideConfig, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Code int64[n] of each image's operation, and its value float64[n], for images of `shape` = (h, w).

    The draws float32[n, 3] are: which operation, the step on the scale, the direction.
    """
    draws = draws.double()
    codes = (draws[:, 0] * len(NAMES)).long()
    bins = config.num_magnitude_bins
    return codes, values(codes, (draws[:, 1] * bins).floor(), draws[:, 2] < 0.5, magnitudes(SPACE, bins, shape))


def apply(batch: Batch, draws: Tensor, config: TrivialAugmentWideConfig) -> tuple[Batch, Measured]:
    """Apply one operation, from draws float32[n, 3]; measures how often each was drawn, and changed images."""
    codes, value = parameters(draws, config, batch.images.shape[-2:])
    images = transform_in_turn(batch.images, codes[:, None], value[:, None], config.interpolation)
    return Batch(images, batch.targets), {"share": changed(batch.images, images), **shares(codes)}
