"""Color jitter: brightness, contrast, saturation and hue by a factor per image, in an order per image.

The arithmetic is torchvision's for uint8 images: after every operation the result is cut to uint8.
"""

import torch
from torch import Tensor

from seedwise.augment.config import ColorJitterConfig
from seedwise.augment.groups import Change, change
from seedwise.augment.measure import Measured, changed
from seedwise.base.batch import Batch
from seedwise.base.devices import launches_cost, to_device

OPERATIONS = ("brightness", "contrast", "saturation", "hue")
COLUMNS = 2 * len(OPERATIONS)
NEUTRAL = torch.tensor([1.0, 1.0, 1.0, 0.0], dtype=torch.float64)


def parameters(draws: Tensor, config: ColorJitterConfig) -> tuple[Tensor, Tensor]:
    """Factors float64[n, 4] in the order of OPERATIONS, and int64[n, 4], each image's order; from draws float32[n,
    8]."""
    draws = draws.double()
    strength = torch.tensor([getattr(config, name) for name in OPERATIONS], dtype=torch.float64)
    lowest = NEUTRAL - strength
    lowest[:3].clamp_(min=0)
    factors = lowest + draws[:, :4] * (NEUTRAL + strength - lowest)
    return factors, draws[:, 4:].argsort(dim=1, stable=True)


def jitter(images: Tensor, factors: Tensor, order: Tensor, config: ColorJitterConfig) -> Tensor:
    """Apply the four operations to uint8[n, 3, h, w], with factors float64[n, 4], in each image's order int64[n, 4]."""

    def by(index: int, name: str) -> Change | None:
        return None if getattr(config, name) == 0 else lambda them, places: ADJUST[name](them, factors[places, index])

    changes = [by(index, name) for index, name in enumerate(OPERATIONS)]
    for turn in range(len(OPERATIONS)):
        images = change(images, order[:, turn], changes)
    return images


def adjust_brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply each image of uint8[n, 3, h, w] by its factor, float64[n] >= 0."""
    return (images.float() * _spread(factor, images)).clamp_(0, 255).to(torch.uint8)


def adjust_contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Blend each image of uint8[n, 3, h, w] with the mean of its luma; factor float64[n], 1 keeps the image."""
    gray = luma(images)
    # An integer sum is exact, so the mean doesn't depend on the order of summation.
    mean = gray.int().sum(dim=(1, 2, 3), keepdim=True).float() / gray[0].numel()
    return _blend(images, mean, factor)


def adjust_saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Blend each image of uint8[n, 3, h, w] with its luma; factor float64[n], 1 keeps the image."""
    return _blend(images, luma(images), factor)


def adjust_hue(images: Tensor, factor: Tensor) -> Tensor:
    """Rotate the hue of uint8[n, 3, h, w] by float64[n] `factor`, in turns of the color circle, through HSV."""
    rgb = images.float() / 255
    value, smallest = rgb.amax(dim=1), rgb.amin(dim=1)
    chroma = value - smallest
    divisor = torch.where(chroma == 0, 1.0, chroma)
    r, g, b = rgb.unbind(dim=1)
    sixths = torch.where(
        value == r, (g - b) / divisor, torch.where(value == g, 2 + (b - r) / divisor, 4 + (r - g) / divisor)
    )
    # HSV to RGB in closed form: value - chroma * max(0, min(k, 4 - k, 1)), where k = (offset + hue in sixths) mod 6.
    offsets = torch.arange(5.0, 0.0, -2.0, device=images.device)[:, None, None]
    k = sixths[:, None] + 6 * _spread(factor, images) + offsets
    k -= (k / 6).floor_().mul_(6)  # 5 times faster than remainder_
    rgb = value[:, None] - chroma[:, None] * torch.minimum(k, 4 - k).clamp_(0, 1)
    # torchvision's way back to uint8: equal shares of [0, 1] for each of the 256 values.
    return rgb.mul_(256 - 1e-3).clamp_(0, 255).to(torch.uint8)


ADJUST = {
    "brightness": adjust_brightness,
    "contrast": adjust_contrast,
    "saturation": adjust_saturation,
    "hue": adjust_hue,
}


def luma(images: Tensor) -> Tensor:
    """Luma of ITU-R 601 of uint8[n, 3, h, w]: float32[n, 1, h, w] of whole numbers, cut off as torchvision does."""
    r, g, b = images.float().unbind(dim=1)
    return (r * 0.2989).add_(g, alpha=0.587).add_(b, alpha=0.114).floor_()[:, None]


def _blend(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    """factor * images + (1 - factor) * other, with torchvision's roundings: a gray pixel may lose 1 in both."""
    scaled = images.float() * _spread(factor, images)
    return torch.addcmul(scaled, other, _spread(1 - factor, images)).clamp_(0, 255).to(torch.uint8)


def _spread(factor: Tensor, images: Tensor) -> Tensor:
    """Move float64[n] from the CPU to float32[n, 1, 1, 1] on the images' device."""
    return to_device(factor.float(), images.device)[:, None, None, None]


def apply(batch: Batch, draws: Tensor, config: ColorJitterConfig) -> tuple[Batch, Measured]:
    """Jitter each image, from draws float32[n, 8]; measures the factors of operations that are on, and changed
    images."""
    factors, order = parameters(draws, config)
    measured = {name: factors[:, i] for i, name in enumerate(OPERATIONS) if getattr(config, name) > 0}
    if launches_cost(batch.images.device):
        from seedwise.augment.sorted_jitter import jitter_sorted  # which is made of what stands here

        on = torch.tensor([getattr(config, name) > 0 for name in OPERATIONS])
        images = jitter_sorted(batch.images, factors, order, on)
    else:
        images = jitter(batch.images, factors, order, config)
    return Batch(images, batch.targets), {"share": changed(batch.images, images), **measured}
