"""Welch's test of two arms whose seeds don't match."""

import math

import numpy as np
from numpy.typing import ArrayLike

from seedwise.stats.difference import Difference, numbers, rounding


def welch(arm: ArrayLike, base: ArrayLike) -> Difference:
    """Difference of two independent means with unequal variances, of float[m] and float[n]; no spread below two a side.

    Degrees of freedom (a + b)² / (a²/(m - 1) + b²/(n - 1)) with a and b the squared standard errors of the two means:
    Welch 1947, Biometrika 34, 28-35; Satterthwaite 1946. Where neither side has spread, the exact p is that of the
    permutation test: of C(m + n, m) ways to deal the outcomes, two at most are as extreme.
    """
    ours, theirs = numbers(arm, "arm"), numbers(base, "base")
    mean, n = float(ours.mean() - theirs.mean()), min(ours.size, theirs.size)
    if n == 1:
        return Difference("single", 1, mean, None, None, None, None, None)
    noise = rounding(ours, theirs)
    variances = [0.0 if np.ptp(side) <= noise else float(side.var(ddof=1)) for side in (ours, theirs)]
    floor = 2 / math.comb(ours.size + theirs.size, ours.size)
    if not any(variances):
        mean = 0.0 if abs(mean) <= noise else mean
        df = float(ours.size + theirs.size - 2)
        return Difference("welch", n, mean, 0.0, 0.0, df, None, floor, floor if mean else 1.0)
    a, b = variances[0] / ours.size, variances[1] / theirs.size
    share = a / (a + b)
    df = 1 / (share**2 / (ours.size - 1) + (1 - share) ** 2 / (theirs.size - 1))
    sd = math.sqrt(sum(variances))
    return Difference("welch", n, mean, sd, math.sqrt(a + b), df, mean / (sd / math.sqrt(2)), floor)
