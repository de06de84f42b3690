"""Rotation about the center, by one angle per image."""

from torch import Tensor

from seedwise.augment.affine import rotations, warp
from seedwise.augment.config import RotationConfig
from seedwise.augment.measure import Measured, changed
from seedwise.base.batch import Batch

COLUMNS = 1


def parameters(draws: Tensor, degrees: float) -> Tensor:
    """float64[n]: angle of each image in degrees, counter-clockwise, in [-degrees, degrees); draws float32[n, 1]."""
    return (2 * draws[:, 0].double() - 1) * degrees


def rotate(images: Tensor, angles: Tensor, interpolation: str) -> Tensor:
    """Rotate uint8[n, c, h, w] by float64[n] `angles` in degrees, counter-clockwise; uncovered corners are black."""
    return warp(images, rotations(angles), interpolation)


def apply(batch: Batch, draws: Tensor, config: RotationConfig) -> tuple[Batch, Measured]:
    """Rotate each image by up to ±`config.degrees`, from draws float32[n, 1]; measures the angle, and changed images.

    With `nearest` a small angle moves none: up to 1.8 degrees at 32 px.
    """
    angles = parameters(draws, config.degrees)
    images = rotate(batch.images, angles, config.interpolation)
    return Batch(images, batch.targets), {"share": changed(batch.images, images), "degrees": angles}
