"""Grayscale: removes the color of some images."""

from torch import Tensor

from seedwise.augment.color_jitter import luma
from seedwise.augment.config import GrayscaleConfig
from seedwise.augment.groups import change_some
from seedwise.augment.measure import Measured
from seedwise.base.batch import Batch
from seedwise.base.devices import to_device

COLUMNS = 1


def parameters(draws: Tensor, prob: float) -> Tensor:
    """bool[n]: whether each image becomes gray; from float32[n, 1] draws."""
    return draws[:, 0].double() < prob


def to_gray(images: Tensor, chosen: Tensor) -> Tensor:
    """Set all channels of the images of uint8[n, 3, h, w] chosen by bool[n] `chosen` to their luma."""
    return change_some(images, chosen, lambda some, _: luma(some).to(images.dtype).expand_as(some))


def apply(batch: Batch, draws: Tensor, config: GrayscaleConfig) -> tuple[Batch, Measured]:
    """Turn images gray with probability `config.prob`, from draws float32[n, 1]; measures which of them had a color."""
    chosen = parameters(draws, config.prob)
    colored = (batch.images[:, 1:] != batch.images[:, :-1]).flatten(1).any(dim=1)
    return Batch(to_gray(batch.images, chosen), batch.targets), {"share": to_device(chosen, colored.device) & colored}
