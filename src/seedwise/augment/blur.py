"""Gaussian blur with a width per image."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from seedwise.augment.config import BlurConfig
from seedwise.augment.groups import change_some
from seedwise.augment.measure import Measured, changed
from seedwise.base.batch import Batch
from seedwise.base.devices import to_device
from seedwise.base.errors import UserError

COLUMNS = 2


def parameters(draws: Tensor, config: BlurConfig) -> tuple[Tensor, Tensor]:
    """bool[n], whether each image is blurred, and float64[n], its sigma in pixels; from draws float32[n, 2]."""
    draws = draws.double()
    low, high = config.sigma
    return draws[:, 0] < config.prob, low + draws[:, 1] * (high - low)


def blur(images: Tensor, sigma: Tensor, kernel_size: int) -> Tensor:
    """Filter uint8[n, c, h, w] with Gaussians of standard deviation float64[n] `sigma`, `kernel_size` pixels wide.

    Mirrored at the borders; one sum over the filter's rows and one over its columns.
    """
    h, w = images.shape[-2:]
    half = kernel_size // 2
    weights = torch.exp(-0.5 * (torch.arange(-half, half + 1) / sigma[:, None]) ** 2)
    weights = to_device((weights / weights.sum(dim=1, keepdim=True)).float(), images.device)
    taps = weights[:, :, None, None, None].unbind(1)
    pixels = pad(images.float(), (half, half, half, half), mode="reflect")
    across = pixels[..., :w] * taps[0]
    for i in range(1, kernel_size):
        across += pixels[..., i : i + w] * taps[i]
    down = across[..., :h, :] * taps[0]
    for i in range(1, kernel_size):
        down += across[..., i : i + h, :] * taps[i]
    return down.round_().clamp_(0, 255).to(torch.uint8)


def apply(batch: Batch, draws: Tensor, config: BlurConfig) -> tuple[Batch, Measured]:
    """Blur with probability `config.prob`, from draws float32[n, 2]; measures sigma in pixels, and changed images.

    A filter below a quarter of a pixel rounds to none. A UserError where the filter is larger than the images.
    """
    shortest = min(batch.images.shape[-2:])
    if config.kernel_size // 2 >= shortest:
        raise UserError(
            f"augment.blur.kernel_size: {config.kernel_size} is too wide for images of {shortest} px; "
            f"use at most {2 * shortest - 1}"
        )
    blurred, sigma = parameters(draws, config)

    def change(images: Tensor, places: Tensor) -> Tensor:
        return blur(images, sigma[places], config.kernel_size)

    images = change_some(batch.images, blurred, change)
    return Batch(images, batch.targets), {"share": changed(batch.images, images), "sigma": sigma[blurred]}
