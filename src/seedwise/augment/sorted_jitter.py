"""Color jitter for a batch on a GPU, in fewer launches: images are sorted by operation, and hue, the longest, comes
once. Bits are those of `color_jitter.jitter`.
"""

from itertools import accumulate

import torch
from torch import Tensor

from seedwise.augment.color_jitter import OPERATIONS, adjust_hue
from seedwise.augment.sorted_operations import blend_sorted
from seedwise.base.devices import to_device_together

RANKS = torch.tensor([1, 3, 2, 4])
"""Places of OPERATIONS in a sorted batch, behind the images that rest; `blend_sorted` says why."""
PHASES = 2 * len(OPERATIONS) - 1
"""Three operations before hue, hue, and three after it: an image rests in those that its order doesn't name."""


def jitter_sorted(images: Tensor, factors: Tensor, order: Tensor, on: Tensor) -> Tensor:
    """Change uint8[n, 3, h, w] by factors float64[n, 4] of OPERATIONS in each image's order int64[n, 4]; bool[4] `on`
    says which are. All but the images are on the CPU."""
    hue = len(OPERATIONS) - 1
    turns = torch.arange(len(OPERATIONS)).expand_as(order)
    at = (order == hue).int().argmax(dim=1, keepdim=True)
    phases = torch.where(turns < at, turns, turns - at + hue)
    ranks = torch.zeros(len(order), PHASES, dtype=torch.int64).scatter_(1, phases, torch.where(on, RANKS, 0)[order])
    drawn = torch.zeros(len(order), PHASES, dtype=torch.float64).scatter_(1, phases, factors.gather(1, order))
    ends, parts = [], [torch.tensor([images[0, 0].numel()], dtype=torch.float32)]
    unsorted = torch.arange(len(images))
    for rank, factor in zip(ranks.unbind(1), drawn.unbind(1), strict=True):
        if not rank.any():
            continue
        place = rank.argsort(stable=True)
        ends.append(tuple(accumulate(rank.bincount(minlength=len(OPERATIONS) + 1).tolist())))
        sorted_factors = factor[place, None, None, None]
        parts += [unsorted[place].int(), sorted_factors.float(), (1 - sorted_factors).float()]
        unsorted = place.argsort()
    count, *parts, back = to_device_together([*parts, unsorted.int()], images.device)
    pixels = images.contiguous().float()
    for number, (rest, bright, colored, blended, _) in enumerate(ends):
        there, by, remaining = parts[3 * number : 3 * number + 3]
        pixels = pixels.index_select(0, there)
        if rest < blended:
            part = slice(rest, blended)
            blend_sorted(pixels[part], (bright - rest, colored - rest), by[part], remaining[part], count)
            pixels[part].clamp_(0, 255).trunc_()
        if blended < len(pixels):
            pixels[blended:] = adjust_hue(pixels[blended:], by[blended:, 0, 0, 0])
    return pixels.index_select(0, back).to(torch.uint8)
