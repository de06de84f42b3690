"""Affine maps: every output pixel is read from its place in the input, with one matrix per image."""

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from seedwise.kernels.ops.pixels import places


def warp(images: Tensor, matrices: Tensor, interpolation: str) -> Tensor:
    """Read uint8[n, c, h, w] at `matrices` @ (x, y, 1); what comes from outside is black.

    float64[n, 2, 3] `matrices` on the CPU map an output pixel to its source, in pixels from the center (y downwards).
    """
    h, w = images.shape[-2:]
    grid = _grid(matrices, h, w, images.device)
    warped = grid_sample(images.float(), grid, mode=interpolation, padding_mode="zeros", align_corners=False)
    return warped.round_().to(torch.uint8)


def rotations(angles: Tensor) -> Tensor:
    """Matrices of counter-clockwise rotations by float64[n] degrees about the center."""
    radians = angles.deg2rad()
    cos, sin, zero = radians.cos(), radians.sin(), torch.zeros_like(radians)
    return torch.stack((cos, -sin, zero, sin, cos, zero), dim=1).view(-1, 2, 3)


def _grid(matrices: Tensor, h: int, w: int, device: torch.device) -> Tensor:
    """float32[n, h, w, 2]: the place (x, y) in [-1, 1] that each output pixel is read from."""
    # Scaled before it is multiplied out, as torchvision does: ties between two pixels are then broken alike.
    scaled = matrices.float() / torch.tensor([[w / 2], [h / 2]])
    across, down, shift = scaled.to(device).unbind(2)
    y = (torch.arange(h, device=device) - (h - 1) / 2)[:, None]
    x = (torch.arange(w, device=device) - (w - 1) / 2)[:, None]
    return places(across[:, None] * x, down[:, None] * y, shift)
