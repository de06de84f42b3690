"""Near-duplicate images: the same picture re-encoded, shifted, brightened or mirrored.

Two steps. Every pair of images is compared coarsely: a blurred center window of the one, at 25 shifts and mirrored,
against the center window of the other, as products of short vectors. Pairs that are alike there are aligned to the
pixel, and called near-duplicates when both the pixels and, blur removed, their detail correlate: skies and portraits
before a white wall have the first in common, but not the second. Correlation ignores brightness and contrast.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seedwise.data.source import Progress

SIDE: Final = 32
"""Pixels of the square thumbnails that are compared."""
REACH: Final = 4
"""Pixels of a thumbnail by which one picture may be shifted against the other, in each direction."""
WINDOW: Final = SIDE - 2 * REACH
STEP: Final = 2
"""Pixels between the shifts of the coarse comparison, which is blurred as much."""
BLUR: Final = 1.5
GRID: Final = 8
DIMENSIONS: Final = 32
"""Of each of the two halves (mirror-symmetric and antisymmetric) of a coarse vector."""

COARSE: Final = 0.88
"""Least coarse likeness of pairs that are looked at closely."""
ALIKE: Final = 0.85
"""Least correlation of the aligned pixels."""
DETAIL: Final = 0.7
"""Least correlation of the aligned detail."""

WORTH: Final = 0.7
"""Least correlation after the first look at which a pair is aligned further."""
CLIMBS: Final = 3
CANDIDATES: Final = 2048
"""Pairs that are aligned at once."""

ROWS, COLUMNS = 512, 2048
"""Of a block of pairs: small enough for the caches of a core."""


@dataclass(frozen=True)
class Pairs:
    """Near-duplicates: numbers int64[m] of both images, the lower first, and how alike they are."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    alike: NDArray[np.float32]
    """Correlation of aligned pixels."""
    detail: NDArray[np.float32]
    """Correlation of aligned pixels after a blurred copy was taken off."""
    mirrored: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.first)


def near_duplicates(thumbnails: NDArray[np.uint8], progress: Progress) -> Pairs:
    """All near-duplicates among uint8[n, 32, 32, 3]."""
    coarse = _Coarse.of(thumbnails)
    kept: list[list[Tensor]] = []
    for first, second in coarse.candidates(progress):
        kept.append(_verified(coarse, thumbnails, first, second))
    columns = [torch.cat(column).numpy() for column in zip(*kept, strict=True)] if kept else [np.empty(0)] * 5
    return Pairs(
        columns[0].astype(np.int64),
        columns[1].astype(np.int64),
        columns[2].astype(np.float32),
        columns[3].astype(np.float32),
        columns[4].astype(np.bool_),
    )


@dataclass(frozen=True)
class _Coarse:
    """Unit vectors of windows: float[n, d] even and odd halves of the center one, float[s, n, d] of the shifted."""

    center: tuple[Tensor, Tensor]
    shifted: tuple[Tensor, Tensor]

    @classmethod
    def of(cls, thumbnails: NDArray[np.uint8]) -> "_Coarse":
        center = _halves(thumbnails, 0, 0)
        bases = [_principal(half) for half in center]
        shifts = list(product(range(-REACH, REACH + 1, STEP), repeat=2))
        shifted = [_project(_halves(thumbnails, *shift), bases) for shift in shifts]
        even, odd = (torch.stack([pair[half] for pair in shifted]) for half in (0, 1))
        return cls(_project(center, bases), (even, odd))

    def candidates(self, progress: Progress) -> Iterator[tuple[Tensor, Tensor]]:
        """Pairs (i < j) whose coarse likeness is at least COARSE, block by block."""
        n = len(self.center[0])
        for top in range(0, n, ROWS):
            progress("comparing images", top, n)
            for left in range(top - top % COLUMNS, n, COLUMNS):
                likeness = self._likeness(slice(top, top + ROWS), slice(left, left + COLUMNS))
                first, second = (likeness >= COARSE).nonzero(as_tuple=True)
                first, second = first + top, second + left
                keep = first < second
                if keep.any():
                    yield first[keep], second[keep]
        progress("comparing images", n, n)

    def _likeness(self, rows: slice, columns: slice) -> Tensor:
        even, odd = self.center[0][columns].T, self.center[1][columns].T
        best: Tensor | None = None
        for shift in range(len(self.shifted[0])):
            likeness = (self.shifted[1][shift, rows] @ odd).abs_().add_(self.shifted[0][shift, rows] @ even)
            best = likeness if best is None else torch.maximum(best, likeness, out=best)
        assert best is not None
        return best


def _halves(thumbnails: NDArray[np.uint8], dx: int, dy: int) -> tuple[Tensor, Tensor]:
    """The blurred window at a shift, sampled on a grid, as float[n, GRID * GRID * 3]: what a mirror keeps and turns."""
    filtered = _filter(WINDOW)[torch.arange(GRID) * (WINDOW // GRID) + 1]
    y, x = REACH + dy, REACH + dx
    parts = []
    for start in range(0, len(thumbnails), 4096):
        window = torch.from_numpy(thumbnails[start : start + 4096, y : y + WINDOW, x : x + WINDOW])
        parts.append(filtered @ window.permute(0, 3, 1, 2).float() @ filtered.T)
    window = torch.cat(parts)
    window = window - window.mean(dim=(1, 2, 3), keepdim=True)
    window = window / window.flatten(1).norm(dim=1).clamp(min=1.0)[:, None, None, None]
    mirrored = window.flip(3)
    return ((window + mirrored) / 2).flatten(1), ((window - mirrored) / 2).flatten(1)


def _principal(half: Tensor) -> Tensor:
    """The directions of most variance, float[GRID * GRID * 3, DIMENSIONS]."""
    vectors: Tensor = torch.linalg.eigh(half.T @ half).eigenvectors
    return vectors[:, -DIMENSIONS:]


def _project(halves: tuple[Tensor, Tensor], bases: list[Tensor]) -> tuple[Tensor, Tensor]:
    even, odd = (half @ basis for half, basis in zip(halves, bases, strict=True))
    length = torch.sqrt(even.square().sum(1) + odd.square().sum(1)).clamp(min=1e-6)[:, None]
    return even / length, odd / length


def _filter(size: int) -> Tensor:
    """The matrix float[size, size] that blurs a line of pixels by a Gaussian; its ends are repeated."""
    radius = round(3 * BLUR)
    matrix = torch.zeros(size, size)
    for offset in range(-radius, radius + 1):
        places = (torch.arange(size) + offset).clamp(0, size - 1)
        matrix[torch.arange(size), places] += math.exp(-(offset**2) / (2 * BLUR**2))
    return matrix / matrix.sum(dim=1, keepdim=True)


def _verified(coarse: _Coarse, thumbnails: NDArray[np.uint8], first: Tensor, second: Tensor) -> list[Tensor]:
    """(first, second, alike, detail, mirrored) of the candidates that are near-duplicates."""
    starts = range(0, len(first), CANDIDATES)
    parts = [_verify(coarse, thumbnails, first[i : i + CANDIDATES], second[i : i + CANDIDATES]) for i in starts]
    return [torch.cat(column) for column in zip(*parts, strict=True)]


def _verify(coarse: _Coarse, thumbnails: NDArray[np.uint8], first: Tensor, second: Tensor) -> list[Tensor]:
    even = torch.einsum("snd,nd->sn", coarse.shifted[0][:, first], coarse.center[0][second])
    odd = torch.einsum("snd,nd->sn", coarse.shifted[1][:, first], coarse.center[1][second])
    shift = (even + odd.abs()).argmax(dim=0)
    mirrored = odd.gather(0, shift[None])[0] < 0
    count = 2 * REACH // STEP + 1
    left, top = (shift // count) * STEP, (shift % count) * STEP  # the shifts' order is product()'s: dx, then dy
    moving = torch.from_numpy(thumbnails[first.numpy()])
    center = torch.from_numpy(thumbnails[second.numpy()])[:, REACH : SIDE - REACH, REACH : SIDE - REACH]
    targets = _two_views(center)
    best, best_detail = torch.full((2, len(first)), -1.0)
    going = torch.arange(len(first))
    for _ in range(CLIMBS):  # to the best alignment; most pairs are left after the first look
        y0, x0 = top[going].clone(), left[going].clone()
        for nudge in product((-1, 0, 1), repeat=2):
            y, x = (y0 + nudge[1]).clamp(0, 2 * REACH), (x0 + nudge[0]).clamp(0, 2 * REACH)
            views = _two_views(_windows(moving[going], y, x, mirrored[going]))
            alike, fine = ((view * target[going]).sum(dim=1) for view, target in zip(views, targets, strict=True))
            better = alike + fine > best[going] + best_detail[going]
            moved = going[better]
            best[moved], best_detail[moved] = alike[better], fine[better]
            top[moved], left[moved] = y[better], x[better]
        going = going[(best[going] >= WORTH) & ((top[going] != y0) | (left[going] != x0))]
    keep = (best >= ALIKE) & (best_detail >= DETAIL)
    return [column[keep] for column in (first, second, best, best_detail, mirrored)]


def _windows(images: Tensor, y: Tensor, x: Tensor, mirrored: Tensor) -> Tensor:
    """uint8[n, WINDOW, WINDOW, 3] at each image's own place, mirrored where it says so."""
    line = torch.arange(WINDOW)
    columns = x[:, None] + torch.where(mirrored[:, None], line.flip(0), line)
    rows = y[:, None] + line
    return images[torch.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None, :]]


def _two_views(windows: Tensor) -> tuple[Tensor, Tensor]:
    """Of uint8[n, h, w, 3] the standardized pixels, and the standardized gray without its blurred copy.

    What is the same along a whole row or column is taken off the latter too: else all horizons were one picture.
    """
    pixels = windows.permute(0, 3, 1, 2).float()
    gray = pixels.mean(dim=1)
    blur = _filter(WINDOW)
    fine = gray - blur @ gray @ blur.T
    fine = fine - fine.mean(dim=1, keepdim=True)
    return _standard(pixels), _standard(fine - fine.mean(dim=2, keepdim=True))


def _standard(windows: Tensor) -> Tensor:
    """Mean 0 and length 1, float[n, c * h * w]: the product of two is their correlation."""
    flat = windows.flatten(1)
    flat = flat - flat.mean(dim=1, keepdim=True)
    length: Tensor = flat.norm(dim=1, keepdim=True)
    return flat / length.clamp(min=1.0)
