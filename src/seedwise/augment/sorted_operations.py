"""The operations of RandAugment for a batch on a GPU, where launches cost more than pixels of small images do.

Images are sorted by operation, so that an operation changes a slice in place, and operations share what they have in
common. What maps each value of a pixel to another one is looked up. Bits are those of `operations`, which makes tables.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn.functional import conv2d, grid_sample

from seedwise.augment.affine import axes
from seedwise.augment.color_jitter import luma
from seedwise.augment.operations import (
    CODES,
    GEOMETRIC,
    NAMES,
    auto_contrast,
    matrices,
    posterize,
    solarize,
    transform,
)
from seedwise.base.devices import arithmetic, launches_cost, to_device, to_device_together
from seedwise.kernels.ops.pixels import places

SORTED = (
    *("identity", *GEOMETRIC, "sharpness", "brightness", "color", "contrast"),
    *("posterize", "solarize", "auto_contrast", "equalize"),
)
"""Operations in the order of their slices: neighbours share kernels."""
RANKS = torch.tensor([SORTED.index(name) for name in NAMES])
LOWEST, HIGHEST = -256, 511
"""Range of blended values, before they are cut to [0, 255]: factors lie between 0 and 2."""
POSTERIZE = HIGHEST + 1 - LOWEST
SOLARIZE = POSTERIZE + 9 * 256
STRETCH = SOLARIZE + 256 * 256
"""Where the parts of `_table` begin, in values; before them are those that cut blended values to [0, 255]."""
LARGE = 2**20
"""More than any value of a table."""


@dataclass(frozen=True)
class _SortedTurn:
    """One operation for each image: slices of the sorted images, and on the device what the operations need."""

    ends: tuple[int, ...]
    """Where the slice of each operation ends, in the order of SORTED."""
    order: Tensor
    """int32[n]: the place before the turn of each sorted image."""
    along: Tensor
    down: Tensor
    shift: Tensor
    """Of the geometric operations, as `axes` gives them."""
    factors: Tensor
    """float32[m, 1, 1, 1]: from sharpness to contrast."""
    rest: Tensor
    """1 - factors, subtracted in float64."""
    offsets: Tensor
    """int32[m, 3, 1, 1]: place in a table of value 0, from sharpness on; of auto_contrast it follows from pixels."""

    def place(self, first: str, last: str = "") -> slice:
        """Slice of the images from operation `first` to `last`."""
        start, stop = SORTED.index(first), SORTED.index(last or first)
        return slice(self.ends[start - 1] if start else 0, self.ends[stop])


def transform_in_turn(images: Tensor, codes: Tensor, values: Tensor, interpolation: str) -> Tensor:
    """Apply k operations to each image of uint8[n, 3, h, w], one after the other, as `transform` does.

    int64[n, k] `codes` and float64[n, k] `values` are on the CPU.
    """
    if launches_cost(images.device):
        return transform_sorted(images, codes, values, interpolation)
    for code, value in zip(codes.unbind(1), values.unbind(1), strict=True):
        images = transform(images, code, value, interpolation)
    return images


def transform_sorted(images: Tensor, codes: Tensor, values: Tensor, interpolation: str) -> Tensor:
    """Do what `transform_in_turn` does, on any device, in few launches."""
    h, w = images.shape[-2:]
    sizes, packed = [], [torch.tensor([h * w], dtype=torch.float32)]
    unsorted = torch.arange(len(images))
    for code, value in zip(codes.unbind(1), values.unbind(1), strict=True):
        order = RANKS[code].argsort(stable=True)
        counts = RANKS[code].bincount(minlength=len(SORTED)).tolist()
        sizes.append(tuple(accumulate(counts)))
        packed += _parameters(code[order], value[order], sizes[-1], (h, w))
        packed.append(unsorted[order].int())
        unsorted = order.argsort()
    count, *parts, back = to_device_together([*packed, unsorted.int()], images.device)
    pixels = images.contiguous().float()
    for ends in sizes:
        along, down, shift, factors, rest, offsets, index = parts[:7]
        turn = _SortedTurn(ends, index, along, down, shift, factors, rest, offsets)
        pixels, parts = _apply(pixels, turn, count, interpolation), parts[7:]
    return pixels.index_select(0, back).to(torch.uint8)


def _parameters(codes: Tensor, values: Tensor, ends: tuple[int, ...], shape: tuple[int, int]) -> list[Tensor]:
    """What a `_SortedTurn` holds but for the order, of sorted images: int64[n] `codes`, float64[n] `values`."""
    warped = slice(ends[SORTED.index("identity")], ends[SORTED.index(GEOMETRIC[-1])])
    blended = slice(warped.stop, ends[SORTED.index("contrast")])
    factors = values[blended][:, None, None, None]
    codes_looked_up, looked_up = codes[warped.stop :], values[warped.stop :]
    offsets = torch.full((len(looked_up), 3), -LOWEST, dtype=torch.int32)
    for name, begin, rows in (
        ("posterize", POSTERIZE, looked_up),
        ("solarize", SOLARIZE, looked_up.float().ceil()),
    ):
        chosen = codes_looked_up == CODES[name]
        offsets[chosen] = (begin + 256 * rows[chosen, None]).int()
    even = codes_looked_up == CODES["equalize"]
    offsets[even] = 1 + 257 * torch.arange(3 * int(even.sum()), dtype=torch.int32).view(-1, 3)
    lines = axes(matrices(codes[warped], values[warped], shape), *shape)
    return [*lines, factors.float(), (1 - factors).float(), offsets[:, :, None, None]]


def _apply(pixels: Tensor, turn: _SortedTurn, count: Tensor, interpolation: str) -> Tensor:
    """Sort the images, whole numbers float32[n, 3, h, w], and apply each one's operation; `count` float32[1]: h * w."""
    pixels = pixels.index_select(0, turn.order)
    warped = pixels[turn.place(GEOMETRIC[0], GEOMETRIC[-1])]
    if len(warped):
        grid = places(turn.along, turn.down, turn.shift)
        moved = grid_sample(warped, grid, mode=interpolation, padding_mode="zeros", align_corners=False)
        torch.round(moved, out=warped)
    sharpened = pixels[turn.place("sharpness")]
    if len(sharpened) and min(pixels.shape[-2:]) > 2:
        _sharpen(sharpened, turn.rest[: len(sharpened)])
    blended = pixels[turn.place("brightness", "contrast")]
    if len(blended):
        first, color = turn.place("brightness"), turn.place("color")
        factors, rest = (by[-len(blended) :] for by in (turn.factors, turn.rest))
        blend_sorted(blended, (first.stop - first.start, color.stop - first.start), factors, rest, count)
    looked_up = pixels[turn.place("sharpness", "equalize")]
    if len(looked_up):
        _look_up(looked_up, turn, turn.place("sharpness").start)
    return pixels


def _sharpen(pixels: Tensor, rest: Tensor) -> None:
    """Blend with the smoothed images in place, uncut."""
    # The filter's sums of whole numbers, over 13, are never near a half: rounding forgives what they are computed by.
    inner = pixels[..., 1:-1, 1:-1]
    with arithmetic(pixels.device.type):
        smooth = conv2d(pixels, _filter(pixels.device), groups=3)
    inner += smooth.round_().sub_(inner).mul_(rest)


def blend_sorted(pixels: Tensor, ends: tuple[int, int], factors: Tensor, rest: Tensor, count: Tensor) -> None:
    """Change brightness (until the first of `ends`), color (until the second) and contrast (of the others) of whole
    numbers float32[n, 3, h, w] in place, uncut; factors and 1 - factors float32[n, 1, 1, 1], `count` float32[1]: h * w.
    """
    bright, colored = ends
    if bright < len(pixels):
        gray = luma(pixels[bright:])
        means = gray[colored - bright :].int().sum(dim=(1, 2, 3), keepdim=True, dtype=torch.int32) / count
        pixels *= factors
        if bright < colored:
            pixels[bright:colored].addcmul_(gray[: colored - bright], rest[bright:colored])
        if colored < len(pixels):
            pixels[colored:].addcmul_(means, rest[colored:])
    else:
        pixels *= factors


def _look_up(pixels: Tensor, turn: _SortedTurn, first: int) -> None:
    """Cut blended values, and posterize, solarize, stretch and equalize in place; the slice begins at image `first`."""
    stretched, even = turn.place("auto_contrast"), turn.place("equalize")
    values = pixels.int()
    stretch = slice(stretched.start - first, stretched.stop - first)
    if stretch.start < stretch.stop:
        low, high = values[stretch].flatten(2).aminmax(dim=2)
        keys = torch.add(high, low, alpha=256).view(-1)
        torch.index_select(_stretches(pixels.device), 0, keys, out=turn.offsets[stretch].view(-1))
    found = values.add_(turn.offsets)
    by_table, equalized = pixels[: stretch.stop], pixels[stretch.stop :]
    if len(by_table):
        torch.index_select(_table(pixels.device), 0, found[: stretch.stop].view(-1), out=by_table.view(-1))
    if even.start < even.stop:
        table = _even(found[stretch.stop :], pixels)
        torch.index_select(table, 0, found[stretch.stop :].view(-1), out=equalized.view(-1))


def _even(found: Tensor, pixels: Tensor) -> Tensor:
    """float32[m * 257]: the tables that equalize m channels, whose values are int32 `found`, places of the tables.

    As `equalize` says it. Value v stands in place v + 1: so the sums up to a place are those of smaller values.
    """
    area, rows = pixels.shape[-2] * pixels.shape[-1], found.shape[0] * found.shape[1]
    counts = found.new_zeros(rows * 257).index_add_(0, found.view(-1), _one(pixels.device).expand(found.numel()))
    below = counts.view(rows, 257).cumsum(dim=1, dtype=torch.int32)
    # Above the largest value that occurs it is all pixels; below that one, fewer than at it.
    most = below.remainder(area).amax(dim=1)
    half, step, lowest_cap = _steps(area, pixels.device).index_select(0, most)[:, :, None].unbind(1)
    table = pixels.new_empty(rows, 257)
    caps = torch.maximum(_values(pixels.device), lowest_cap)
    steps = (below[:, :-1] + half).div_(step, rounding_mode="trunc")
    torch.minimum(steps, caps, out=table[:, 1:])
    return table.view(-1)


@lru_cache(maxsize=8)
def _filter(device: torch.device) -> Tensor:
    """float32[3, 1, 3, 3]: the smoothing that `sharpness` blends with, for each channel."""
    weights = torch.ones(3, 1, 3, 3)
    weights[:, :, 1, 1] = 5
    return to_device(weights * (1 / 13), device)


@lru_cache(maxsize=8)
def _table(device: torch.device) -> Tensor:
    """float32: what values become when they are cut to [0, 255], posterized to 0 to 8 bits, solarized from 0 to 255 on,
    and stretched from [0, 0 to 255]."""
    line = torch.arange(256, dtype=torch.uint8)
    cut = torch.arange(LOWEST, HIGHEST + 1).clamp(0, 255)
    few = posterize(line.expand(9, 1, 1, 256), torch.arange(9).double())
    inverted = solarize(line.expand(256, 1, 1, 256), torch.arange(256).double())
    upto = torch.minimum(line, line[:, None])[:, None, None]
    stretched = auto_contrast(upto, torch.zeros(256))
    return to_device(torch.cat([part.flatten() for part in (cut, few, inverted, stretched)]).float(), device)


@lru_cache(maxsize=8)
def _stretches(device: torch.device) -> Tensor:
    """int32[256 * 256]: where auto_contrast finds value 0 in `_table`, by the smallest value * 256 + the largest."""
    low, high = torch.arange(256)[:, None], torch.arange(256)
    return to_device(torch.where(low < high, STRETCH + 256 * (high - low) - low, -LOWEST).int().flatten(), device)


@lru_cache(maxsize=8)
def _steps(area: int, device: torch.device) -> Tensor:
    """int32[area, 3]: by the pixels below the largest value half a step, the step, and what its table is capped by, but
    for values above; too few pixels for a step leave each value."""
    step = torch.arange(area) // 255
    whole = step > 0
    columns = torch.where(whole, step // 2, LARGE), step.clamp(min=1), 255 * whole
    return to_device(torch.stack(columns, dim=1).int(), device)


@lru_cache(maxsize=8)
def _values(device: torch.device) -> Tensor:
    """int32[256]: 0 to 255."""
    return to_device(torch.arange(256, dtype=torch.int32), device)


@lru_cache(maxsize=8)
def _one(device: torch.device) -> Tensor:
    """int32[]: 1."""
    return to_device(torch.ones((), dtype=torch.int32), device)
