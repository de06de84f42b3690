"""Random erasing: covers a box of random area and shape by black, noise or the mean color."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from seedwise.augment.boxes import as_images, as_lines, show_in_boxes
from seedwise.augment.config import RandomErasingConfig
from seedwise.augment.groups import change_some
from seedwise.augment.measure import Measured
from seedwise.base.batch import Batch
from seedwise.base.devices import to_device

TRIALS = 10
"""Boxes drawn until one fits, as in torchvision."""
COLUMNS = 2 * TRIALS + 4


def parameters(draws: Tensor, config: RandomErasingConfig, size: tuple[int, ...]) -> Tensor:
    """int64[n, 4]: box (top, left, bottom, right) to cover in each image of `size` = (h, w); empty where none is.

    The draws float32[n, 24] are: whether to cover, 10 areas and shapes to try, the place (y, x), and the key of the
    noise. As in torchvision an image is left alone where no box fits.
    """
    draws = draws.double()
    h, w = size
    (low, high), log_ratio = config.scale, [math.log(r) for r in config.ratio]
    area = (low + draws[:, 1 : TRIALS + 1] * (high - low)) * (h * w)
    ratio = (log_ratio[0] + draws[:, TRIALS + 1 : 2 * TRIALS + 1] * (log_ratio[1] - log_ratio[0])).exp()
    box_h, box_w = (area * ratio).sqrt().round().long(), (area / ratio).sqrt().round().long()
    fits = (box_h < h) & (box_w < w)
    first = fits.int().argmax(dim=1, keepdim=True)
    box_h, box_w = box_h.gather(1, first)[:, 0], box_w.gather(1, first)[:, 0]
    top = (draws[:, -3] * (h - box_h + 1)).long()
    left = (draws[:, -2] * (w - box_w + 1)).long()
    covered = (draws[:, 0] < config.prob) & fits.any(dim=1) & (box_h > 0) & (box_w > 0)
    return torch.stack((top, left, top + box_h, left + box_w), dim=1) * covered[:, None]


def noise(keys: Tensor, length: int, device: torch.device) -> Tensor:
    """Uniform noise uint8[n, length] that depends only on float32[n] `keys` and the position in its row."""
    key = to_device((keys.double() * 2**24).to(torch.int32), device)[:, None]
    place = torch.arange(length, dtype=torch.int32, device=device)
    # A hash of key and place, with the multipliers of murmur3 and its kin: 32-bit integers that wrap around are the
    # same on every device.
    bits = (key * 0x3C6EF372) ^ (place * 0x1B873593)
    for multiplier, shift in ((0x5BD1E995, 15), (0x2C1B3C6D, 12), (0x297A2D39, 15)):
        bits = (bits ^ (bits >> shift)) * multiplier
    return ((bits >> 24) & 255).to(torch.uint8)


def cover(images: Tensor, boxes: Tensor, keys: Tensor, value: str, mean: Sequence[float]) -> Tensor:
    """Cover boxes int64[n, 4] (empty: none) in uint8[n, c, h, w]; returned in channels_last. `keys` float32[n] for
    noise; `value`: `zero`, `random` or `mean`; `mean` [c] of pixels in [0, 1]."""
    channels = images.shape[1]
    color = torch.tensor([0.0] * channels if value == "zero" else mean, dtype=torch.float64)
    color = to_device((255 * color).round().to(torch.uint8), images.device)

    def covered(lines: Tensor, places: Tensor) -> Tensor:
        if value == "random":
            others = noise(keys[places], lines[0].numel(), images.device).view_as(lines)
        else:
            others = color.repeat(lines.shape[2] // channels).expand_as(lines).clone()
        return show_in_boxes(lines, others, boxes[places], channels)

    return as_images(change_some(as_lines(images), boxes[:, 2] > 0, covered), channels)


def apply(batch: Batch, draws: Tensor, config: RandomErasingConfig, *, mean: Sequence[float]) -> tuple[Batch, Measured]:
    """Cover a box with probability `config.prob`, from draws float32[n, 24]; measures its share of the image's area.

    `mean` [c] is the weights', of pixels in [0, 1].
    """
    h, w = batch.images.shape[-2:]
    boxes = parameters(draws, config, (h, w))
    area = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    images = cover(batch.images, boxes, draws[:, -1], config.value, mean)
    covered = area > 0
    return Batch(images, batch.targets), {"share": covered, "area": area[covered].double() / (h * w)}
