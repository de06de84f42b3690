"""Random crop: shifts each image by up to `padding` pixels, as copies of lines without a padded image."""

import torch
from torch import Tensor

from seedwise.augment.config import RandomCropConfig
from seedwise.augment.measure import Measured
from seedwise.base.batch import Batch
from seedwise.base.devices import to_device
from seedwise.base.errors import UserError
from seedwise.kernels.ops.pixels import look_up

COLUMNS = 2


def parameters(draws: Tensor, padding: int) -> Tensor:
    """int64[n, 2]: corner (top, left) of each crop in the padded image, in [0, 2 * padding] px; draws float32[n, 2]."""
    return (draws.double() * (2 * padding + 1)).long()


def crop(images: Tensor, corners: Tensor, padding: int, padding_mode: str) -> Tensor:
    """Pad uint8[n, c, h, w] by `padding` pixels on every side, and crop h x w at corners int64[n, 2]."""
    h, w = images.shape[-2:]
    corners = to_device(corners, images.device)
    rows, inside_rows = _source(corners[:, 0], h, padding, padding_mode)
    columns, inside_columns = _source(corners[:, 1], w, padding, padding_mode)
    cropped = look_up(images, rows, columns)
    if padding_mode == "zero":
        cropped = cropped * (inside_rows[:, None, :, None] & inside_columns[:, None, None, :])
    return cropped


def _source(start: Tensor, length: int, padding: int, padding_mode: str) -> tuple[Tensor, Tensor]:
    """Source line int64[n, length] of each output line, and bool[n, length], whether it lies in the image."""
    line = start[:, None] + torch.arange(length, device=start.device) - padding
    inside = (line >= 0) & (line < length)
    if padding_mode == "reflect":
        last = length - 1
        line = last - (last - line.abs()).abs()
    return line.clamp(0, length - 1), inside


def apply(batch: Batch, draws: Tensor, config: RandomCropConfig) -> tuple[Batch, Measured]:
    """Shift each image by up to `config.padding` pixels, from draws float32[n, 2]; measures the distance in pixels. A
    UserError where images are too small to be mirrored that far."""
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
