"""Rotation about the center by one angle per image."""

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from seedwise.augment.config import RotationConfig
from seedwise.augment.measure import Measured
from seedwise.batch import Batch

COLUMNS = 1


def parameters(draws: Tensor, degrees: float) -> Tensor:
    """float64[n]: the angle of each image in degrees, counter-clockwise, in [-degrees, degrees)."""
    return (2 * draws[:, 0].double() - 1) * degrees


def rotate(images: Tensor, angles: Tensor, interpolation: str) -> Tensor:
    """Rotate uint8[n, c, h, w] by float64[n] `angles` in degrees; what comes from outside is black."""
    h, w = images.shape[-2:]
    grid = _grid(angles, h, w, images.device)
    turned = grid_sample(images.float(), grid, mode=interpolation, padding_mode="zeros", align_corners=False)
    return turned.round_().to(torch.uint8)


def _grid(angles: Tensor, h: int, w: int, device: torch.device) -> Tensor:
    """float32[n, h, w, 2]: the place (x, y) in [-1, 1] that each output pixel is read from."""
    radians = angles.deg2rad()
    cos = radians.cos().float().to(device)[:, None, None]
    sin = radians.sin().float().to(device)[:, None, None]
    y = (torch.arange(h, device=device) - (h - 1) / 2)[:, None]
    x = (torch.arange(w, device=device) - (w - 1) / 2)[None, :]
    return torch.stack(((cos * x - sin * y) * (2 / w), (sin * x + cos * y) * (2 / h)), dim=-1)


def apply(batch: Batch, draws: Tensor, config: RotationConfig) -> tuple[Batch, Measured]:
    """Rotate each image by up to ±`config.degrees`; measures the angle in degrees."""
    angles = parameters(draws, config.degrees)
    images = rotate(batch.images, angles, config.interpolation)
    return Batch(images, batch.targets), {"share": angles != 0, "degrees": angles}
