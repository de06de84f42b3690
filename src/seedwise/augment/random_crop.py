"""Random crop: a shift by up to `padding` pixels, as copies of lines without a padded image."""

import torch
from torch import Tensor

from seedwise.augment.config import RandomCropConfig
from seedwise.augment.measure import Measured
from seedwise.base.batch import Batch
from seedwise.base.errors import UserError
from seedwise.kernels.ops.pixels import look_up

COLUMNS = 2


def parameters(draws: Tensor, padding: int) -> Tensor:
    """int64[n, 2]: the (top, left) corner of each crop in its padded image, in [0, 2 * padding]."""
    return (draws.double() * (2 * padding + 1)).long()


def crop(images: Tensor, corners: Tensor, padding: int, padding_mode: str) -> Tensor:
    """Pad uint8[n, c, h, w] on every side and cut h x w out again at int64[n, 2] `corners`."""
    h, w = images.shape[-2:]
    corners = corners.to(images.device)
    rows, inside_rows = _source(corners[:, 0], h, padding, padding_mode)
    columns, inside_columns = _source(corners[:, 1], w, padding, padding_mode)
    cropped = look_up(images, rows, columns)
    if padding_mode == "zero":
        cropped = cropped * (inside_rows[:, None, :, None] & inside_columns[:, None, None, :])
    return cropped


def _source(start: Tensor, length: int, padding: int, padding_mode: str) -> tuple[Tensor, Tensor]:
    """Which source line each of `length` output lines shows (int64[n, length]), and whether it lies in the image."""
    line = start[:, None] + torch.arange(length, device=start.device) - padding
    inside = (line >= 0) & (line < length)
    if padding_mode == "reflect":
        last = length - 1
        line = last - (last - line.abs()).abs()
    return line.clamp(0, length - 1), inside


def apply(batch: Batch, draws: Tensor, config: RandomCropConfig) -> tuple[Batch, Measured]:
    """Shift each image by up to `config.padding` pixels; measures the distance in pixels."""
    shortest = min(batch.images.shape[-2:])
    if config.padding_mode == "reflect" and config.padding >= shortest:
        raise UserError(
            f"augment.random_crop.padding: {config.padding} can't be reflected from images of {shortest} px; "
            f"use at most {shortest - 1}, or padding_mode edge"
        )
    corners = parameters(draws, config.padding)
    distance = (corners - config.padding).double().norm(dim=1)
    images = crop(batch.images, corners, config.padding, config.padding_mode)
    return Batch(images, batch.targets), {"share": distance > 0, "shift": distance}
