"""Difference of two arms with seeds and test images both random: would it hold on other images of the kind?"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from seedwise.stats.paired import signflip_floor
from seedwise.stats.student import DIFFERENCE, of_equal, t_both, t_interval, t_quantile, within

FEW_SEEDS = 5
"""Number of seeds below which the interval adds the squared half-widths of both parts instead of Satterthwaite's df."""


@dataclass(frozen=True)
class ImageDifference:
    """Accuracy of the arm minus the base's, with the noise of the seeds and of the finite sample of test images."""

    seeds: int
    images: int
    mean: float
    """A fraction in [-1, 1]."""
    se_seeds: float
    """Standard error from the seeds alone: SD/√n of the paired differences."""
    se_images: float
    """Standard error that the images add, in squares: se² = se_seeds² + se_images²."""
    df: float
    """Satterthwaite's degrees of freedom."""
    se_each: float
    """Standard error of the mean if only the images were random: SD/√N of their means over seeds."""

    @property
    def se(self) -> float:
        """Standard error under both noises."""
        return math.hypot(self.se_seeds, self.se_images)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Interval of the mean within [-1, 1]: Satterthwaite's from 5 seeds, below the wider one of `image_difference`.

        Without any spread that of `of_equal`: the images are judged as if by one network, since a spread of zero on a
        few of them is no certainty.
        """
        if self.se == 0 and self.se_each == 0:
            return of_equal(self.mean, self.images, level)
        if self.se == 0:
            return t_interval(self.mean, self.se_each, self.images - 1, level, DIFFERENCE)
        if self.seeds >= FEW_SEEDS:
            return t_interval(self.mean, self.se, self.df, level, DIFFERENCE)
        half = self._half(0.5 - level / 2)
        return within((self.mean - half, self.mean + half), DIFFERENCE)

    @property
    def p_decision(self) -> float:
        """Two-sided p against 0: 1 minus the level of the interval that ends at 0; 2/2ⁿ or 1 if se is 0."""
        if self.se == 0:
            return signflip_floor(self.seeds) if self.mean else 1.0
        if self.seeds >= FEW_SEEDS:
            return t_both(self.mean / self.se, self.df)
        low, high = 1e-300, 0.5
        for _ in range(60):  # bisection of log p: the half-width falls as the tail grows
            middle = math.sqrt(low * high)
            low, high = (low, middle) if self._half(middle) < abs(self.mean) else (middle, high)
        return min(1.0, 2 * high)

    def _half(self, tail: float) -> float:
        few, many = t_quantile(tail, self.seeds - 1), t_quantile(tail, self.images - 1)
        return math.hypot(few * self.se_seeds, many * self.se_images)


def image_difference(correct: ArrayLike) -> ImageDifference | None:
    """Estimate the mean of D[seed, image] = right in arm - right in base, int[seeds, images] in {-1, 0, 1}.

    None with fewer than 2 seeds or images; a ValueError for other shapes.
    Model: D = μ + seed + image + rest, all random (two-way crossed; Searle, Casella & McCulloch 1992, Variance
    Components, chapter 4). With mean squares A of seeds, B of images and E of the rest, n seeds and N images,
    Var(mean) = (A + B - E)/(nN); A/(nN) is the seeds' part, and (B - E)/(nN), at least 0, the images'. Degrees of
    freedom (A + B - E)²/(A²/(n-1) + B²/(N-1) + E²/((n-1)(N-1))): Satterthwaite 1946, Biometrics Bull. 2, 110-114;
    never below n - 1, and n - 1 where the images add nothing.

    Below 5 seeds Satterthwaite's interval covers too little (87 to 95% of the time for 2 seeds, 92 to 95 for 3: a small
    A makes the standard error small and the df large at once). There the squared half-widths of both parts are added,
    each with its own t: Howe 1974, J. Amer. Statist. Assoc. 69, 789-794; Zou & Donner 2008, Stat. Med. 27, 1693-1702
    (MOVER). It covers 95 to 99%.
    """
    matrix = np.asarray(correct, dtype=np.int64)
    if matrix.ndim != 2:
        raise ValueError("D must have a row a seed and a column an image")
    n, count = matrix.shape
    if n < 2 or count < 2:
        return None
    # In whole numbers, times nN: a spread of zero, where each seed has as many images more, must come out as zero.
    total, squares = int(matrix.sum()), matrix.size * int((matrix**2).sum())
    seeds = n * int((matrix.sum(axis=1) ** 2).sum()) - total**2
    images = count * int((matrix.sum(axis=0) ** 2).sum()) - total**2
    rest = squares - total**2 - seeds - images
    scaled = (seeds / (n - 1), images / (count - 1), rest / ((n - 1) * (count - 1)))
    a, b, e = (each / matrix.size for each in scaled)
    extra = max(0, images * (n - 1) - rest) / ((n - 1) * (count - 1) * matrix.size)
    df = n - 1.0
    if extra:
        df = max(df, (a + extra) ** 2 / (a**2 / (n - 1) + b**2 / (count - 1) + e**2 / ((n - 1) * (count - 1))))
    mean = total / matrix.size
    return ImageDifference(
        n, count, mean, math.sqrt(a / matrix.size), math.sqrt(extra / matrix.size), df, math.sqrt(b / matrix.size)
    )
