"""Mirrors images: `horizontal_flip`, `alternating_flip` and `vertical_flip`, one coin per image."""

import torch
from torch import Tensor

from seedwise.augment.config import AlternatingFlipConfig, HorizontalFlipConfig, VerticalFlipConfig
from seedwise.augment.measure import Measured
from seedwise.base.batch import Batch
from seedwise.base.devices import to_device
from seedwise.kernels.ops.pixels import look_up

COLUMNS = 1


def parameters(draws: Tensor, prob: float) -> Tensor:
    """bool[n]: whether each image is mirrored; from float32[n, 1] draws."""
    return draws[:, 0].double() < prob


def flip(images: Tensor, flipped: Tensor, dim: int) -> Tensor:
    """Mirror the images of uint8[n, c, h, w] chosen by bool[n] `flipped` along `dim`: -1 left-right, -2 top-bottom."""
    rows, columns = (torch.arange(extent, device=images.device)[None] for extent in images.shape[-2:])
    chosen = to_device(flipped, images.device)[:, None]
    if dim == -1:
        columns = torch.where(chosen, columns.flip(1), columns)
    else:
        rows = torch.where(chosen, rows.flip(1), rows)
    return look_up(images, rows, columns)


def apply_horizontal(batch: Batch, draws: Tensor, config: HorizontalFlipConfig) -> tuple[Batch, Measured]:
    """Mirror left and right with probability `config.prob`, from draws float32[n, 1]."""
    flipped = parameters(draws, config.prob)
    return Batch(flip(batch.images, flipped, -1), batch.targets), {"share": flipped}


def apply_alternating(
    batch: Batch, draws: Tensor, config: AlternatingFlipConfig, *, epoch: int
) -> tuple[Batch, Measured]:
    """Mirror left and right in every other epoch, from 0; draws float32[n, 1] say which images begin mirrored."""
    flipped = parameters(draws, 0.5) ^ bool(epoch % 2)
    return Batch(flip(batch.images, flipped, -1), batch.targets), {"share": flipped}


def apply_vertical(batch: Batch, draws: Tensor, config: VerticalFlipConfig) -> tuple[Batch, Measured]:
    """Mirror top and bottom with probability `config.prob`, from draws float32[n, 1]."""
    flipped = parameters(draws, config.prob)
    return Batch(flip(batch.images, flipped, -2), batch.targets), {"share": flipped}
