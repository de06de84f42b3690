"""The difference of two arms, whichever way it was estimated: what the family, the verdict and the power work on."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seedwise.stats.student import ANYWHERE, Interval, of_equal, t_both, t_interval, t_upper

Kind = Literal["paired", "welch", "single", "images"]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """Arm minus base. With one value a side (`single`) there is no spread, and all but the mean is None; of
    `images`, the pairs are images, right or wrong."""

    kind: Kind
    n: int
    """Pairs; for `welch`, seeds of the smaller arm."""
    mean: float
    sd: float | None
    """Standard deviation of the paired differences; for `welch`, root of the sum of both variances."""
    se: float | None
    """Standard error of the mean."""
    df: float | None
    """Degrees of freedom of Student's t."""
    effect_size: float | None
    """mean / SD of the differences for pairs (d_z: Lakens 2013, Front. Psychol. 4, 863); for `welch` over the root mean
    square of both SDs (Cohen 1988, Statistical Power Analysis); None without spread."""
    floor: float | None
    """The least p that an exact test of these seeds can reach."""
    p_exact: float | None = None
    """Exact p where the spread is zero: the floor for a constant difference, 1 for none."""
    bounds: Interval = ANYWHERE
    """Outside of them no difference can be."""

    @property
    def constant(self) -> bool:
        """Whether there are several seeds, and they show no spread at all."""
        return self.se == 0

    @property
    def p_t(self) -> float | None:
        """Two-sided p of Student's t-test of no difference. Without spread: 0, or 1 where the mean is 0 as well."""
        if self.se is None or self.df is None:
            return None
        if self.se == 0:
            return 0.0 if self.mean else 1.0
        return t_both(self.mean / self.se, self.df)

    @property
    def p_decision(self) -> float | None:
        """The p that enters the family: p_t, but `p_exact` where the spread is zero.

        A handful of equal differences come from outcomes that are multiples of 1/images, not from a technique without
        noise; t = ∞ would call two seeds with one more image right each a certainty.
        """
        return self.p_exact if self.constant else self.p_t

    def interval(self, level: float = 0.95) -> tuple[float, float] | None:
        """t-interval of the mean; None with one value a side. Without spread the mean twice; of images, `of_equal`."""
        if self.se is None or self.df is None:
            return None
        if self.se == 0:
            return of_equal(self.mean, self.n, level) if self.kind == "images" else (self.mean, self.mean)
        return t_interval(self.mean, self.se, self.df, level, self.bounds)

    def p_beyond(self, bound: float) -> float | None:
        """One-sided p of "the difference is at or beyond the bound", seen from 0 (a bound > 0: at it or above).

        Without spread half the floor (one of all sign flips), or 1 where the mean is beyond.
        """
        if self.se is None or self.df is None or self.floor is None:
            return None
        inside = (bound - self.mean) * math.copysign(1, bound)
        if self.se == 0:
            return self.floor / 2 if inside > 0 else 1.0
        return t_upper(inside / self.se, self.df)


def numbers(values: ArrayLike, name: str) -> Floats:
    """Values as a vector of floats; a ValueError if they aren't one, or not finite."""
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1 or vector.size == 0:
        raise ValueError(f"{name}: give at least one number a side")
    if not np.isfinite(vector).all():
        raise ValueError(f"{name}: not all numbers are finite")
    return vector


def rounding(*sides: Floats) -> float:
    """A span of differences that the rounding of their terms explains: 8 units in the last place of the largest."""
    return 8 * float(np.finfo(np.float64).eps) * max(float(np.abs(side).max()) for side in sides)
