"""The difference of two arms, paired or not: what Holm's family, the verdict and the power analysis use."""

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
    """Mean difference arm minus base and its standard error; None where one value a side (`single`) shows no spread."""

    kind: Kind
    """How it was estimated; in `images`, each pair is an image and not a seed."""
    n: int
    """Pairs; for `welch`, seeds of the smaller arm."""
    mean: float
    """In the outcome's unit, as are `sd` and `se`."""
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
    """The smallest p that an exact test of so many seeds can reach."""
    p_exact: float | None = None
    """Exact p where the spread is zero: the floor for a constant difference, 1 for none."""
    bounds: Interval = ANYWHERE
    """Range of a possible difference; intervals end there."""
    grain: float = 0.0
    """Step between two possible outcomes, such as 1/images of a top-1; 0: none."""

    @property
    def constant(self) -> bool:
        """Whether several seeds all show the same difference."""
        return self.se == 0

    @property
    def least_se(self) -> float:
        """Standard error of n outcomes that waver by half a step of `grain` each: fewer steps than one don't show that
        there is no noise."""
        return self.grain / 2 / math.sqrt(self.n)

    @property
    def p_t(self) -> float | None:
        """Two-sided p of Student's t-test against 0; without spread 0, or 1 where the mean is 0 as well."""
        if self.se is None or self.df is None:
            return None
        if self.se == 0:
            return 0.0 if self.mean else 1.0
        return t_both(self.mean / self.se, self.df)

    @property
    def p_decision(self) -> float | None:
        """The p that enters Holm's family: p_t, but `p_exact` where the spread is zero.

        A handful of equal differences come from outcomes that are multiples of 1/images, not from a technique without
        noise; t = ∞ would call two seeds with one more image right each a certainty.
        """
        return self.p_exact if self.constant else self.p_t

    def interval(self, level: float = 0.95) -> tuple[float, float] | None:
        """t-interval of the mean; None with one value a side; without spread and `grain` the mean twice (`images`:
        `of_equal`)."""
        if self.se is None or self.df is None:
            return None
        se = max(self.se, self.least_se)
        if se == 0:
            return of_equal(self.mean, self.n, level) if self.kind == "images" else (self.mean, self.mean)
        return t_interval(self.mean, se, self.df, level, self.bounds)

    def p_beyond(self, bound: float) -> float | None:
        """One-sided p of the null hypothesis that the true difference is at or beyond `bound`, seen from 0.

        The squares of `se` and `least_se` are added: small spreads are what absence of a difference is claimed from.
        Without either half the floor (one of all sign flips), or 1 where the mean is beyond.
        """
        if self.se is None or self.df is None or self.floor is None:
            return None
        inside, se = (bound - self.mean) * math.copysign(1, bound), math.hypot(self.se, self.least_se)
        if se == 0:
            return self.floor / 2 if inside > 0 else 1.0
        return t_upper(inside / se, self.df)


def numbers(values: ArrayLike, name: str) -> Floats:
    """Convert values to float64[n]; a ValueError with `name` unless they are a finite vector."""
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1 or vector.size == 0:
        raise ValueError(f"{name}: give at least one number a side")
    if not np.isfinite(vector).all():
        raise ValueError(f"{name}: not all numbers are finite")
    return vector


def rounding(*sides: Floats) -> float:
    """The largest difference that rounding explains: 8 units in the last place of the largest value."""
    return 8 * float(np.finfo(np.float64).eps) * max(float(np.abs(side).max()) for side in sides)
