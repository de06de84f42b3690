"""Resamples whole images, or one box per image, to the training size."""

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from seedwise.base.devices import arithmetic, launches_cost, to_device, to_device_together
from seedwise.kernels.ops.pixels import look_up

WEIGHT_UNIT = 2.0**-15
"""Filter weights are rounded to multiples of this. A product of such a weight and a uint8 pixel, and any sum of them
over a filter (at most 1.25 * 255 / WEIGHT_UNIT < 2**24 units), is exact in float32: the result depends neither on the
order of summation, and so on threads or batch size, nor on the device."""


def resize(images: Tensor, size: int, interpolation: str) -> Tensor:
    """Resample uint8[n, c, h, w] to uint8[n, c, size, size] in channels_last, antialiased when it shrinks."""
    h, w = images.shape[2:]
    if interpolation == "nearest" and (h, w) != (size, size):
        return look_up(images, *(_nearest_lines(extent, size, images.device)[None] for extent in (h, w)))
    if launches_cost(images.device) and (h, w) != (size, size):
        return _products(images, *(_whole(extent, size, interpolation, images.device) for extent in (w, h)))
    # torch's uint8 kernels for CPUs are 2 to 6 times faster in this format.
    images = images.contiguous(memory_format=torch.channels_last)
    if (h, w) == (size, size):
        return images
    resized = interpolate(images, size=(size, size), mode=interpolation, align_corners=False, antialias=True)
    return resized.contiguous(memory_format=torch.channels_last)


def _nearest_lines(extent: int, size: int, device: torch.device) -> Tensor:
    """int64[size]: index of the input line, of `extent`, that each output line shows."""
    lines = torch.arange(extent, dtype=torch.float32, device=device)
    # As Pillow rounds; "nearest" without "exact" is OpenCV's rule.
    return interpolate(lines[None, None], size=size, mode="nearest-exact")[0, 0].long()


def resize_boxes(images: Tensor, boxes: Tensor, size: int, interpolation: str) -> Tensor:
    """Crop the box int64[n, 4] (top, left, height, width) of each image and resize it to uint8[n, c, size, size].

    What is outside of the box has no influence.
    """
    # Measured on one thread: image by image through torch's uint8 kernel takes half the time of the matrix products at
    # 32 px and a twentieth at 256 px. Other devices have no such kernel, and would pay for 3 launches an image.
    return (as_matrices if launches_cost(images.device) else _one_by_one)(images, boxes, size, interpolation)


def _one_by_one(images: Tensor, boxes: Tensor, size: int, interpolation: str) -> Tensor:
    n, c, _, _ = images.shape
    images = images.contiguous(memory_format=torch.channels_last)
    resized = torch.empty((n, c, size, size), dtype=torch.uint8, memory_format=torch.channels_last)
    for i, (top, left, height, width) in enumerate(boxes.tolist()):
        resized[i] = resize(images[i : i + 1, :, top : top + height, left : left + width], size, interpolation)[0]
    return resized


def as_matrices(images: Tensor, boxes: Tensor, size: int, interpolation: str) -> Tensor:
    """`resize_boxes` for all images at once on any device: a matrix product per image and direction."""
    h, w = images.shape[2:]
    top, left, height, width = boxes.unbind(1)
    parts = torch.cat((left, top)), torch.cat((width, height))
    # Both directions at once, in half the launches: lines behind the end weigh nothing.
    start, length = to_device_together(parts, images.device)
    weights = filter_weights(start, length, max(h, w), size, interpolation)
    across, down = weights.chunk(2)
    return _products(images, across[..., :w], down[..., :h])


@lru_cache(maxsize=64)
def _whole(extent: int, size: int, interpolation: str, device: torch.device) -> Tensor:
    """float32[size, extent]: `filter_weights` of whole images, which all share; computed once, on the CPU."""
    weights = filter_weights(torch.tensor([0]), torch.tensor([extent]), extent, size, interpolation)[0]
    return to_device(weights, device)


def _products(images: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """uint8[n, c, size, size] in channels_last: products of uint8[n, c, h, w] with weights, float32[n, size, w] and
    [n, size, h] or without n.

    In between, pixels are rounded to whole numbers in [0, 255], as Pillow and torch's uint8 kernels do; torch's float
    kernels, which don't, differ by several steps where a bicubic filter overshoots.
    """
    n, c, h, w = images.shape
    size = across.shape[-2]
    pixels = images.reshape(n, c * h, w).float()
    with arithmetic(images.device.type):  # weights of more bits than TF32 keeps
        pixels = (pixels @ across.transpose(-1, -2)).add_(0.5).floor_().clamp_(0, 255)
        pixels = pixels.view(n, c, h, size).transpose(2, 3).reshape(n, c * size, h)
        pixels = (pixels @ down.transpose(-1, -2)).add_(0.5).clamp_(0, 255)
    # The type cuts off, as `floor_` does.
    return pixels.view(n, c, size, size).transpose(2, 3).to(torch.uint8, memory_format=torch.channels_last)


def filter_weights(start: Tensor, length: Tensor, extent: int, size: int, interpolation: str) -> Tensor:
    """float32[n, size, extent]: weight of each of `extent` input lines in each of `size` output lines.

    int64[n] `start` and `length` are the part of the input, in lines, that is resampled of each image.
    """
    line = torch.arange(extent, device=start.device) - start[:, None, None]
    scale = (length / size)[:, None, None]
    output = torch.arange(size, device=start.device)[:, None]
    if interpolation == "nearest":
        return (line == ((output + 0.5) * scale).long()).float()
    stretch = scale.clamp(min=1.0)
    center = (output + 0.5) * scale
    radius = (1 if interpolation == "bilinear" else 2) * stretch
    low = (center - radius + 0.5).long().clamp(min=0)
    high = torch.minimum((center + radius + 0.5).long(), length[:, None, None])
    distance = ((line - center + 0.5) / stretch).abs()
    weights = _triangle(distance) if interpolation == "bilinear" else _cubic(distance)
    weights = weights * ((line >= low) & (line < high))
    weights = weights / weights.sum(dim=-1, keepdim=True)
    return (weights / WEIGHT_UNIT).round() * WEIGHT_UNIT


def _triangle(distance: Tensor) -> Tensor:
    return (1 - distance).clamp(min=0)


def _cubic(distance: Tensor) -> Tensor:
    """Keys' cubic convolution kernel with a = -1/2, the one Pillow and torch antialias with."""
    near = (1.5 * distance - 2.5) * distance * distance + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return torch.where(distance < 1, near, torch.where(distance < 2, far, 0.0))
