"""Finds pairs of images that may be duplicates, among all pairs of a data set; `same` decides which are.

Two steps. Every pair of images is compared coarsely: a blurred center window of the one, at nine shifts and mirrored,
against the center window of the other, as products of short vectors. Pairs that are alike there are aligned to the
pixel, as they are and with either of the two magnified a little, as what is cropped is. They are kept when both the
pixels and, blur removed, their detail correlate: skies and portraits before a white wall have the first in common, but
not the second. Correlation ignores brightness and contrast.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import eigh
from torch import Tensor
from torch.nn.functional import avg_pool2d

from seedwise.data.source import Progress

SIDE: Final = 32
"""Pixels of the square thumbnails that are compared."""
REACH: Final = 4
"""Pixels of a thumbnail by which one picture may be shifted against the other, in each direction."""
WINDOW: Final = SIDE - 2 * REACH
SHIFTS: Final = (-3, 0, 3)
"""Shifts of the coarse comparison in pixels, in each direction: every shift within reach is within a pixel of one."""
BLUR: Final = 1.5
"""Standard deviation in pixels of the blur before the coarse comparison, and of the copy subtracted from the detail."""
NOISE: Final = 0.5
"""Standard deviation in pixels of a blur of the detail, so that compression and resizing change it less."""
GRID: Final = 8
DIMENSIONS: Final = 32
"""Dimensions of each half (mirror-symmetric and antisymmetric) of a coarse vector."""

COARSE: Final = 0.87
"""Least coarse correlation of pairs that are aligned."""
ALIKE: Final = 0.8
"""Least correlation of the aligned pixels."""
DETAIL: Final = 0.6
"""Least correlation of the aligned detail."""
MAGNIFIED: Final = 1.08
"""Magnification that is tried on either of a pair: what lost 5% of its sides at each end is 1.11 times as large."""

FAINT: Final = 1.0
"""Standard deviation, in levels of 255, below which an image's detail is no more than noise."""

WORTH: Final = 0.4
"""Least correlation of detail after the first look at which a pair is aligned further, and tried magnified."""
LOOKS: Final = 3

ROWS, COLUMNS = 512, 2048
"""Rows and columns of a block of pairs: small enough for the caches of a core."""
CHUNK: Final = 4096
"""Images that are prepared at once."""


@dataclass(frozen=True)
class Pairs:
    """m pairs of similar images: indices int64[m] of both, the lower first, their correlation and alignment.

    What the second shows x pixels of a thumbnail to the right of its center, the first (mirrored where it is) shows
    scale * x + left to the right of its own; and so from top to bottom.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    alike: NDArray[np.float32]
    """float32[m] in [-1, 1]: correlation of aligned pixels."""
    detail: NDArray[np.float32]
    """float32[m] in [-1, 1]: correlation of aligned pixels minus a blurred copy."""
    mirrored: NDArray[np.bool_]
    """bool[m]."""
    scale: NDArray[np.float32]
    left: NDArray[np.float32]
    top: NDArray[np.float32]
    """float32[m]: scale, and shifts `left` and `top` in pixels of a thumbnail."""

    def __len__(self) -> int:
        return len(self.first)


def candidates(thumbnails: NDArray[np.uint8], progress: Progress) -> Pairs:
    """Find all pairs that may be one picture among thumbnails uint8[n, 32, 32, 3]; n may be 0."""
    kept = []
    if len(thumbnails):
        coarse, close = _Coarse.of(thumbnails), _Close.of(thumbnails)
        kept = [close.kept(guess) for guess in coarse.candidates(progress)]
    columns = [torch.cat(column).numpy() for column in zip(*kept, strict=True)] if kept else [np.empty(0)] * 8
    return Pairs(
        columns[0].astype(np.int64),
        columns[1].astype(np.int64),
        columns[2].astype(np.float32),
        columns[3].astype(np.float32),
        columns[4].astype(np.bool_),
        *(column.astype(np.float32) for column in columns[5:]),
    )


@dataclass(frozen=True)
class _Guess:
    """Candidate pairs, with a rough position in the first image (mirrored or not) of the second's center window."""

    first: Tensor
    second: Tensor
    top: Tensor
    left: Tensor
    mirrored: Tensor

    @property
    def columns(self) -> tuple[Tensor, ...]:
        return self.first, self.second, self.top, self.left, self.mirrored

    def __getitem__(self, which: Tensor) -> "_Guess":
        return _Guess(*(column[which] for column in self.columns))

    def where(self, better: Tensor, other: "_Guess") -> "_Guess":
        """Choose the other guess where bool[m] `better`."""
        pairs = zip(other.columns, self.columns, strict=True)
        return _Guess(*(torch.where(better, theirs, ours) for theirs, ours in pairs))


@dataclass(frozen=True)
class _Coarse:
    """Unit vectors of windows: float[n, d] even and odd halves of the center one, float[s, n, d] of the shifted."""

    center: tuple[Tensor, Tensor]
    shifted: tuple[Tensor, Tensor]

    @classmethod
    def of(cls, thumbnails: NDArray[np.uint8]) -> "_Coarse":
        center = _halves(thumbnails, 0, 0)
        bases = [_principal(half) for half in center]
        shifted = [_project(_halves(thumbnails, *shift), bases) for shift in product(SHIFTS, repeat=2)]
        even, odd = (torch.stack([pair[half] for pair in shifted]) for half in (0, 1))
        return cls(_project(center, bases), (even, odd))

    def candidates(self, progress: Progress) -> Iterator[_Guess]:
        """Yield pairs (i < j) whose coarse correlation is at least COARSE, block by block."""
        n = len(self.center[0])
        for top in range(0, n, ROWS):
            progress("comparing images", top, n)
            for left in range(top - top % COLUMNS, n, COLUMNS):
                likeness = self._likeness(slice(top, top + ROWS), slice(left, left + COLUMNS))
                first, second = (likeness >= COARSE).nonzero(as_tuple=True)
                first, second = first + top, second + left
                keep = first < second
                if keep.any():
                    yield self._guess(first[keep], second[keep])
        progress("comparing images", n, n)

    def _likeness(self, rows: slice, columns: slice) -> Tensor:
        even, odd = self.center[0][columns].T, self.center[1][columns].T
        best: Tensor | None = None
        for shifted_even, shifted_odd in zip(self.shifted[0][:, rows], self.shifted[1][:, rows], strict=True):
            likeness = (shifted_odd @ odd).abs_().addmm_(shifted_even, even)
            best = likeness if best is None else torch.maximum(best, likeness, out=best)
        assert best is not None
        return best

    def _guess(self, first: Tensor, second: Tensor) -> _Guess:
        even = torch.einsum("snd,nd->sn", self.shifted[0][:, first], self.center[0][second])
        odd = torch.einsum("snd,nd->sn", self.shifted[1][:, first], self.center[1][second])
        shift = (even + odd.abs()).argmax(dim=0)
        mirrored = odd.gather(0, shift[None])[0] < 0
        offsets = REACH + torch.tensor(list(product(SHIFTS, repeat=2)))[shift]
        return _Guess(first, second, offsets[:, 1], offsets[:, 0], mirrored)


def _halves(thumbnails: NDArray[np.uint8], dx: int, dy: int) -> tuple[Tensor, Tensor]:
    """The even and odd part under mirroring of the blurred window at a shift, on a grid, float[n, GRID * GRID * 3]."""
    filtered = _filter(WINDOW, BLUR)[torch.arange(GRID) * (WINDOW // GRID) + 1]
    y, x = REACH + dy, REACH + dx
    parts = []
    for start in range(0, len(thumbnails), CHUNK):
        window = torch.from_numpy(thumbnails[start : start + CHUNK, y : y + WINDOW, x : x + WINDOW])
        parts.append(filtered @ window.permute(0, 3, 1, 2).float() @ filtered.T)
    window = torch.cat(parts)
    window = window - window.mean(dim=(1, 2, 3), keepdim=True)
    window = window / window.flatten(1).norm(dim=1).clamp(min=1.0)[:, None, None, None]
    mirrored = window.flip(3)
    return ((window + mirrored) / 2).flatten(1), ((window - mirrored) / 2).flatten(1)


def _principal(half: Tensor) -> Tensor:
    """Principal directions, float[GRID * GRID * 3, DIMENSIONS].

    In double precision: gray pictures have many equal eigenvalues, on which PyTorch's solver gave up at times.
    """
    gram = (half.T @ half).double().numpy()
    _, vectors = eigh(gram, subset_by_index=[len(gram) - DIMENSIONS, len(gram) - 1])
    return torch.from_numpy(vectors).to(half.dtype)


def _project(halves: tuple[Tensor, Tensor], bases: list[Tensor]) -> tuple[Tensor, Tensor]:
    even, odd = (half @ basis for half, basis in zip(halves, bases, strict=True))
    length = torch.sqrt(even.square().sum(1) + odd.square().sum(1)).clamp(min=1e-6)[:, None]
    return even / length, odd / length


def _filter(size: int, sigma: float) -> Tensor:
    """Matrix float[size, size] of a Gaussian blur of a line of pixels, its ends repeated."""
    radius = round(3 * sigma)
    matrix = torch.zeros(size, size)
    for offset in range(-radius, radius + 1):
        places = (torch.arange(size) + offset).clamp(0, size - 1)
        matrix[torch.arange(size), places] += math.exp(-(offset**2) / (2 * sigma**2))
    return matrix / matrix.sum(dim=1, keepdim=True)


@dataclass(frozen=True)
class _Close:
    """Every image's detail and the norms of its windows, for alignment to the pixel.

    `detail`: float16[2n, 32, 32], of image i at i, and at n + i of it magnified. `lengths`: float[2n, 9, 9].
    """

    thumbnails: NDArray[np.uint8]
    detail: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, thumbnails: NDArray[np.uint8]) -> "_Close":
        starts = range(0, len(thumbnails), CHUNK)
        chunks = [torch.from_numpy(thumbnails[start : start + CHUNK]) for start in starts]
        made = [_detail(magnifier, chunk) for magnifier in (None, _magnifier()) for chunk in chunks]
        detail, lengths = (torch.cat(column) for column in zip(*made, strict=True))
        return cls(thumbnails, detail, lengths)

    def kept(self, guess: _Guess) -> list[Tensor]:
        """Aligned pairs that correlate enough, as columns of `Pairs`; of a magnified pair the best fit."""
        n = len(self.thumbnails)
        found, detail = self._align(guess)
        going = (detail >= WORTH).nonzero().flatten()
        found, detail = found[going], detail[going]
        guess = found
        for first, second in ((n, 0), (0, n)):
            other = _Guess(guess.first + first, guess.second + second, guess.top, guess.left, guess.mirrored)
            magnified, likeness = self._align(other)
            better = likeness > detail
            detail = torch.where(better, likeness, detail)
            found = found.where(better, magnified)
        going = (detail >= DETAIL).nonzero().flatten()
        found, detail = found[going], detail[going]
        alike = self._alike(found)
        keep = (alike >= ALIKE).nonzero().flatten()
        found, detail, alike = found[keep], detail[keep], alike[keep]
        shrunk = (found.first >= n).float()
        scale = MAGNIFIED ** ((found.second >= n).float() - shrunk)
        left = torch.where(found.mirrored, REACH - found.left, found.left - REACH) / MAGNIFIED**shrunk
        top = (found.top - REACH) / MAGNIFIED**shrunk
        return [found.first % n, found.second % n, alike, detail, found.mirrored, scale, left, top]

    def _align(self, guess: _Guess) -> tuple[_Guess, Tensor]:
        """The best alignment near each guess, and its correlation of detail; drops hopeless guesses early."""
        found, detail = self._look(guess)
        for _ in range(LOOKS - 1):
            going = (detail >= WORTH).nonzero().flatten()
            nearer, detail[going] = self._look(found[going])
            for column, new in zip(found.columns, nearer.columns, strict=True):
                column[going] = new
        return found, detail

    def _look(self, guess: _Guess) -> tuple[_Guess, Tensor]:
        """The best alignment within a pixel of each guess, and its correlation of detail."""
        top, left = (place.clamp(1, 2 * REACH - 1) - 1 for place in (guess.top, guess.left))
        moving = _windows(self.detail, guess.first, top, left, guess.mirrored, WINDOW + 2).float()
        target = self.detail[guess.second, REACH : SIDE - REACH, REACH : SIDE - REACH].float()
        target = target - target.mean(dim=(1, 2), keepdim=True)
        best = torch.full((len(top),), -torch.inf)
        best_top, best_left = top, left
        for y, x in product(range(3), repeat=2):
            at_top, at_left = top + y, left + torch.where(guess.mirrored, 2 - x, x)
            products = (moving[:, y : y + WINDOW, x : x + WINDOW] * target).flatten(1).sum(dim=1)
            likeness = products / self.lengths[guess.first, at_top, at_left]
            better = likeness > best
            best = torch.where(better, likeness, best)
            best_top, best_left = torch.where(better, at_top, best_top), torch.where(better, at_left, best_left)
        found = _Guess(guess.first, guess.second, best_top, best_left, guess.mirrored)
        return found, best / self.lengths[guess.second, REACH, REACH]

    def _alike(self, found: _Guess) -> Tensor:
        """Correlation of the pixels of aligned pairs."""
        line = torch.arange(len(found.first))
        moving = _windows(self._pictures(found.first), line, found.top, found.left, found.mirrored, WINDOW)
        target = self._pictures(found.second)[:, REACH : SIDE - REACH, REACH : SIDE - REACH]
        return (_standard(moving) * _standard(target)).sum(dim=1)

    def _pictures(self, numbers: Tensor) -> Tensor:
        """Images float[m, 32, 32, 3] of these numbers, magnified from n on."""
        n = len(self.thumbnails)
        pictures = torch.from_numpy(self.thumbnails[(numbers % n).numpy()]).float()
        magnified = torch.einsum("yv,xw,nvwc->nyxc", _magnifier(), _magnifier(), pictures)
        return torch.where((numbers >= n)[:, None, None, None], magnified, pictures)


def _magnifier() -> Tensor:
    """Matrix float[32, 32] that magnifies a line of pixels about its center by linear interpolation."""
    places = (torch.arange(SIDE) + 0.5 - SIDE / 2) / MAGNIFIED + SIDE / 2 - 0.5
    return (1 - (places[:, None] - torch.arange(SIDE)).abs()).clamp(min=0)


def _windows(images: Tensor, numbers: Tensor, top: Tensor, left: Tensor, mirrored: Tensor, side: int) -> Tensor:
    """Windows of [n, 32, 32, ...] images, each at its own position and mirrored where it is."""
    line = torch.arange(side)
    columns = left[:, None] + torch.where(mirrored[:, None], line.flip(0), line)
    rows = top[:, None] + line
    return images[numbers[:, None, None], rows[:, :, None], columns[:, None, :]]


def _detail(magnifier: Tensor | None, images: Tensor) -> tuple[Tensor, Tensor]:
    """The gray of uint8[n, 32, 32, 3] minus a blurred copy, and the norms of its windows without their means.

    What is the same along a whole row or column is taken off, too: else all horizons were one picture.
    """
    gray = images.float().mean(dim=3)
    gray = gray if magnifier is None else magnifier @ gray @ magnifier.T
    sharp, blurred = (matrix @ gray @ matrix.T for matrix in (_filter(SIDE, NOISE), _filter(SIDE, BLUR)))
    fine = sharp - blurred
    fine = fine - fine.mean(dim=1, keepdim=True)
    fine = fine - fine.mean(dim=2, keepdim=True)
    mean, square = (avg_pool2d(each[:, None], WINDOW, stride=1)[:, 0] for each in (fine, fine.square()))
    variance = (square - mean.square()).clamp(min=FAINT**2)
    return fine.half(), WINDOW * variance.sqrt()


def _standard(windows: Tensor) -> Tensor:
    """Standardize windows to mean 0 and norm 1, float[n, h * w * c]: products are correlations."""
    flat = windows.float().flatten(1)
    flat = flat - flat.mean(dim=1, keepdim=True)
    length: Tensor = flat.norm(dim=1, keepdim=True)
    return flat / length.clamp(min=1.0)
