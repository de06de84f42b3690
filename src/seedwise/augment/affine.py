"""Affine transforms of images: one matrix per image."""

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from seedwise.base.devices import to_device_together
from seedwise.kernels.ops.pixels import places


def warp(images: Tensor, matrices: Tensor, interpolation: str) -> Tensor:
    """Transform uint8[n, c, h, w]: each output pixel (x, y) is read at `matrices` @ (x, y, 1), black outside the image.

    float64[n, 2, 3] `matrices` on the CPU map an output pixel to its source, in pixels from the center (y downwards).
    """
    h, w = images.shape[-2:]
    grid = places(*to_device_together(axes(matrices, h, w), images.device))
    warped = grid_sample(images.float(), grid, mode=interpolation, padding_mode="zeros", align_corners=False)
    return warped.round_().to(torch.uint8)


def rotations(angles: Tensor) -> Tensor:
    """float64[n, 2, 3] matrices of counter-clockwise rotations about the center, by float64[n] degrees."""
    radians = angles.deg2rad()
    cos, sin, zero = radians.cos(), radians.sin(), torch.zeros_like(radians)
    return torch.stack((cos, -sin, zero, sin, cos, zero), dim=1).view(-1, 2, 3)


def axes(matrices: Tensor, h: int, w: int) -> tuple[Tensor, Tensor, Tensor]:
    """The summands of source positions (x, y) in [-1, 1], on the CPU: float32[n, w, 2] by an output pixel's column,
    float32[n, h, 2] by its row, and float32[n, 2]."""
    # Scaled before it is multiplied out, as torchvision does: ties between two pixels are then broken alike.
    across, down, shift = (matrices.float() / torch.tensor([[w / 2], [h / 2]])).unbind(2)
    y = (torch.arange(h) - (h - 1) / 2)[:, None]
    x = (torch.arange(w) - (w - 1) / 2)[:, None]
    return across[:, None] * x, down[:, None] * y, shift
