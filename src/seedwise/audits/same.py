"""Decides whether two images are one picture: compares their difference, once aligned, with JPEG's.

The one is moved, stretched and brightened until it fits the other best (Lucas and Kanade 1981: least squares over
shift, scale along each axis, contrast and brightness, from blurred copies to sharp ones). A picture that was
re-encoded, resized or cropped a little then differs by no more than compression does; another photo of the same hand
does, however alike, since edges that moved by a pixel leave more than JPEG. How much JPEG leaves depends on the
picture: so it is measured, on the two themselves, at quality 50, and what is left is given in units of it.
"""

import io
import math
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample

from seedwise.data.source import Progress

QUALITY: Final = 50
"""Quality of the JPEG whose change is the unit of a difference."""
FLOOR: Final = 2.0
"""Levels of 255 added to JPEG's change: it changes nothing in plain areas, where rounding changes a level."""
SOFTEN: Final = 0.6
"""Standard deviation in pixels of a blur of differences, so that resampling counts less than moved edges."""
TILES: Final = 8
"""Tiles along a side, half a tile apart, whose differences are measured separately."""
SEEN: Final = 0.25
"""Least share of a tile that both images show."""
CLIPPED: Final = 4.0
"""Levels from black or white at which a value may have been cut off."""
STEPS: Final = ((24, 6), (0, 6))
"""Stages of the alignment: blur as a part of the side (0: `SOFTEN`), and number of steps."""
DAMPING: Final = 1e-3
BATCH: Final = 256
"""Pairs that are compared together: 64 MB at 96 pixels."""


@dataclass(frozen=True)
class Rest:
    """Remaining difference of m aligned pairs, float32[m] each, in units of what JPEG at quality 50 changes.

    `whole`: over all of the picture. `worst`: in the tile where most is left. `placed`: float32[m, 2, 3], the alignment
    that was found: where, from -1 to 1, the first has what the second has at a place.
    """

    whole: NDArray[np.float32]
    worst: NDArray[np.float32]
    placed: NDArray[np.float32]


def place(scale: NDArray[np.float32], left: NDArray[np.float32], top: NDArray[np.float32]) -> NDArray[np.float32]:
    """Matrices float32[m, 2, 3] of alignments, from `scale` and the shifts `left` and `top` in sides, float32[m]."""
    placed = np.zeros((len(scale), 2, 3), np.float32)
    placed[:, 0, 0] = placed[:, 1, 1] = scale
    placed[:, 0, 2], placed[:, 1, 2] = 2 * left, 2 * top
    return placed


def rest(first: NDArray[np.uint8], second: NDArray[np.uint8], placed: NDArray[np.float32], progress: Progress) -> Rest:
    """Align pairs of images uint8[m, s, s, 3] and measure their remaining difference. `placed`: float32[m, 2, 3], a
    guess of the alignment (see `place`), good to a twentieth of s."""
    parts = []
    for start in range(0, len(first), BATCH):
        progress("aligning pairs", start, len(first))
        rows = slice(start, start + BATCH)
        parts.append(_rest(first[rows], second[rows], placed[rows]))
    if not parts:
        return Rest(np.empty(0, np.float32), np.empty(0, np.float32), placed)
    return Rest(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _rest(
    first: NDArray[np.uint8], second: NDArray[np.uint8], guess: NDArray[np.float32]
) -> tuple[NDArray[np.float32], ...]:
    moving, target = _tensor(first), _tensor(second)
    placed = torch.from_numpy(guess)
    gray, gray_target = moving.mean(dim=1, keepdim=True), target.mean(dim=1, keepdim=True)
    for part, steps in STEPS:
        blur = max(SOFTEN, first.shape[1] / part) if part else SOFTEN
        placed = _aligned(_blurred(gray, blur), _blurred(gray_target, blur), placed, steps)
    moved, seen = _moved(moving, placed)
    moved_jpeg, _ = _moved(_tensor(_recoded(first)), placed)
    contrast, brightness = _levels(moved, target, seen)
    # where the brighter of the two was cut off at white, only the other can tell the one from the other
    there = _compared(target, (contrast * moved + brightness).clamp(0, 255), _tensor(_recoded(second)), seen)
    back = _compared(moved, ((target - brightness) / contrast).clamp(0, 255), moved_jpeg, seen)
    better = torch.where((there[:, 1] <= back[:, 1])[:, None], there, back).numpy()
    return better[:, 0], better[:, 1], placed.numpy()


def _tensor(images: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float()


def _recoded(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    from PIL import Image

    made = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=QUALITY)
        made.append(np.asarray(Image.open(file)))
    return np.stack(made)


@cache
def _filter(size: int, sigma: float) -> Tensor:
    places = torch.arange(size)
    radius = max(1, round(3 * sigma))
    matrix = torch.zeros(size, size)
    for offset in range(-radius, radius + 1):
        matrix[places, (places + offset).clamp(0, size - 1)] += math.exp(-(offset**2) / (2 * sigma**2))
    return matrix / matrix.sum(dim=1, keepdim=True)


def _blurred(images: Tensor, sigma: float) -> Tensor:
    matrix = _filter(images.shape[-1], sigma)
    return matrix @ images @ matrix.T


@cache
def _line(size: int) -> Tensor:
    """Pixel positions float[size] from -1 to 1."""
    return (torch.arange(size) + 0.5) * 2 / size - 1


def _moved(images: Tensor, placed: Tensor, mode: str = "bicubic") -> tuple[Tensor, Tensor]:
    """Warp images to their alignment, float[m, c, s, s]; and float[m, s, s], 1 where they cover it."""
    size = images.shape[-1]
    y, x = torch.meshgrid(_line(size), _line(size), indexing="ij")
    places = torch.stack([x, y, torch.ones_like(x)], dim=-1).flatten(0, 1) @ placed.transpose(1, 2)
    places = places.reshape(len(placed), size, size, 2)
    seen = (places.abs() <= 1 - 1 / size).all(dim=-1).float()
    return grid_sample(images, places, mode, "border", align_corners=False), seen


def _aligned(moving: Tensor, target: Tensor, placed: Tensor, steps: int) -> Tensor:
    """Gauss-Newton steps on shift, scale, contrast and brightness of gray float[m, 1, s, s]."""
    size, count = moving.shape[-1], len(moving)
    y, x = torch.meshgrid(_line(size), _line(size), indexing="ij")
    goal = target.reshape(count, -1, 1)
    for _ in range(steps):
        moved, seen = _moved(moving, placed, "bilinear")
        along, down = ((moved.roll(-1, d) - moved.roll(1, d))[:, 0] * (size / 4) for d in (3, 2))
        inner = seen.clone()
        inner[:, [0, -1]] = inner[:, :, [0, -1]] = 0
        slopes = torch.stack([along * x, down * y, along, down, moved[:, 0], torch.ones_like(along)], dim=-1)
        slopes = slopes.flatten(1, 2)
        weighted = (slopes * inner.reshape(count, -1, 1)).transpose(1, 2)
        solved = torch.linalg.solve(weighted @ slopes + DAMPING * torch.eye(6), weighted @ goal)[..., 0]
        change = (solved[:, :4] / solved[:, 4:5].clamp(0.3, 3.0)).clamp(-0.1, 0.1)
        step = torch.eye(3).repeat(count, 1, 1)
        step[:, 0, 0] += change[:, 0]
        step[:, 1, 1] += change[:, 1]
        step[:, :2, 2] = change[:, 2:]
        placed = placed @ step
    return placed


def _levels(moved: Tensor, target: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """Contrast and brightness float[m, 1, 1, 1] that map one image to the other, from values that were not cut off.

    One for all channels: a can in another color is another can.
    """
    whole = torch.stack([moved, target])
    used = ((whole > CLIPPED) & (whole < 255 - CLIPPED)).all(dim=0) * seen[:, None] + 1e-4 * seen[:, None]

    def total(values: Tensor) -> Tensor:
        return (used * values).sum(dim=(1, 2, 3), keepdim=True)

    count = total(torch.ones_like(moved)).clamp(min=1e-4)
    means = [total(each) / count for each in (moved, target)]
    off = moved - means[0]
    contrast = ((total(off * (target - means[1])) + 1) / (total(off.square()) + 1)).clamp(0.4, 2.5)
    return contrast, means[1] - contrast * means[0]


def _compared(target: Tensor, made: Tensor, recoded: Tensor, seen: Tensor) -> Tensor:
    """(whole, worst) float[m, 2]: the difference of `made` over that of the target's JPEG."""
    tile = max(4, target.shape[-1] // TILES)
    shown = avg_pool2d(seen[:, None], tile, stride=tile // 2)[:, 0]
    used = (shown > SEEN).float()

    def left(other: Tensor) -> Tensor:
        square = _blurred(target - other, SOFTEN).square().mean(dim=1, keepdim=True) * seen[:, None]
        return avg_pool2d(square, tile, stride=tile // 2)[:, 0] / shown.clamp(min=SEEN)

    found, usual = left(made), left(recoded)
    count = used.sum(dim=(1, 2)).clamp(min=1)
    mean = (usual * used).sum(dim=(1, 2)) / count
    whole = (found * used).sum(dim=(1, 2)) / count / (mean + FLOOR**2)
    worst = (found / (mean[:, None, None] + usual + FLOOR**2) * used).flatten(1).amax(dim=1)
    return torch.stack([whole, worst], dim=1).sqrt()
