"""Ratio of two arms' times, or of other positive outcomes."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from seedwise.stats.difference import numbers
from seedwise.stats.paired import paired
from seedwise.stats.welch import welch


@dataclass(frozen=True)
class Ratio:
    """Geometric mean of arm / base; interval and p are None for one value a side."""

    n: int
    """Pairs; unpaired, the smaller number of values."""
    ratio: float
    ci95: tuple[float, float] | None
    p_t: float | None


def ratio(arm: ArrayLike, base: ArrayLike, *, pairs: bool = True) -> Ratio:
    """Geometric mean of the ratios arm[i]/base[i], float[n] > 0, with the t-interval of its logarithm.

    pairs: paired t-test, else Welch's. A time's noise multiplies (a busy machine slows all by a share), so that its
    logarithm is what is nearly normal: the geometric mean of ratios is Fleming & Wallace 1986, Comm. ACM 29, 218-221.
    A ValueError for values that aren't positive.
    """
    ours, theirs = numbers(arm, "arm"), numbers(base, "base")
    if min(ours.min(), theirs.min()) <= 0:
        raise ValueError("a ratio needs numbers above 0")
    difference = (paired if pairs else welch)(np.log(ours), np.log(theirs))
    interval = difference.interval()
    ends = None if interval is None else (math.exp(interval[0]), math.exp(interval[1]))
    return Ratio(difference.n, math.exp(difference.mean), ends, difference.p_t)
