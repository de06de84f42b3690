"""Random resized crop: resamples a box of random area and shape in each image's valid area to the training size."""

import math

import torch
from torch import Tensor

from seedwise.augment.config import RandomResizedCropConfig
from seedwise.augment.measure import Measured
from seedwise.augment.resize import resize_boxes
from seedwise.base.batch import Batch

TRIALS = 10
"""Boxes drawn until one fits, as in torchvision."""
COLUMNS = 2 * TRIALS + 2


def parameters(draws: Tensor, areas: Tensor, config: RandomResizedCropConfig) -> Tensor:
    """int64[n, 4]: box (top, left, height, width) in each image, whose valid (height, width) is int64[n, 2] `areas`.

    From draws float32[n, 22]. Of `TRIALS` boxes the first that fits is taken; if none does, the largest central one
    within the ratios.
    """
    draws = draws.double()
    height, width = areas.unbind(1)
    (low, high), log_ratio = config.scale, [math.log(r) for r in config.ratio]
    area = (low + draws[:, :TRIALS] * (high - low)) * (height * width)[:, None]
    ratio = (log_ratio[0] + draws[:, TRIALS : 2 * TRIALS] * (log_ratio[1] - log_ratio[0])).exp()
    box_h = (area / ratio).sqrt().round().long()
    box_w = (area * ratio).sqrt().round().long()
    fits = (box_w > 0) & (box_w <= width[:, None]) & (box_h > 0) & (box_h <= height[:, None])
    first = fits.int().argmax(dim=1, keepdim=True)
    box_h, box_w = box_h.gather(1, first)[:, 0], box_w.gather(1, first)[:, 0]
    top = (draws[:, -2] * (height - box_h + 1)).long()
    left = (draws[:, -1] * (width - box_w + 1)).long()
    drawn = torch.stack((top, left, box_h, box_w), dim=1)
    return torch.where(fits.any(dim=1, keepdim=True), drawn, _central(areas, config.ratio))


def _central(areas: Tensor, ratio: tuple[float, float]) -> Tensor:
    """int64[n, 4]: the largest centered box within the ratios."""
    height, width = areas.unbind(1)
    box_h = torch.minimum(height, (width / ratio[0]).round().long().clamp(min=1))
    box_w = torch.minimum(width, (height * ratio[1]).round().long().clamp(min=1))
    return torch.stack(((height - box_h) // 2, (width - box_w) // 2, box_h, box_w), dim=1)


def apply(
    batch: Batch, draws: Tensor, config: RandomResizedCropConfig, *, size: int, interpolation: str
) -> tuple[Batch, Measured]:
    """Resample each image's own box to size x size, from draws float32[n, 22]; measures its share of the area."""
    n, _, h, w = batch.images.shape
    areas = torch.tensor([h, w]).expand(n, 2) if batch.sizes is None else batch.sizes
    boxes = parameters(draws, areas, config)
    images = resize_boxes(batch.images, boxes, size, interpolation)
    share = boxes[:, 2:].prod(dim=1).double() / areas.prod(dim=1)
    return Batch(images, batch.targets), {"share": share < 1, "area": share}
