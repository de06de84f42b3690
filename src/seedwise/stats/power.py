"""Power analysis: about how many seeds would decide a comparison, given the spread seen so far."""

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from seedwise.stats.difference import Floats
from seedwise.stats.student import t_quantile

POWER = 0.8
"""Power that a decision should have."""
MOST = 1000
"""Largest number of seeds that is considered."""
WORTH = 50
"""Largest number of seeds that is worth its time. With so many the standard error is a seventh of the spread that
single seeds show; what is still open then is small beside the luck of whoever trains once."""
NODES, WEIGHTS = np.polynomial.legendre.leggauss(64)
"""Nodes and weights of the integral over the sample SD's distribution, in its probability."""


def power_difference(n: int, mean: float, sd: float, alpha: float = 0.05) -> float:
    """Power of the two-sided t-test of n pairs for a true difference `mean` with a true SD `sd` > 0.

    The noncentral t (Cohen 1988, Statistical Power Analysis), computed as the mean over the sample SD's distribution of
    the normal chance of |mean estimate| > t·SD/√n.
    """
    shift = math.sqrt(n) * abs(mean) / sd
    reach = -t_quantile(alpha / 2, n - 1) * _sample_sd(n)
    return _mean(_normal(shift - reach) + _normal(-shift - reach))


def power_equivalence(n: int, mean: float, sd: float, margin: float, alpha: float = 0.05) -> float:
    """Power of the two one-sided t-tests of n pairs for a true `mean` inside ±margin, with a true SD `sd` > 0.

    Owen 1965, Biometrika 52, 437-446; Phillips 1990, J. Pharmacokin. Biopharm. 18, 137-144; computed as above.
    """
    root = math.sqrt(n) / sd
    reach = -t_quantile(alpha, n - 1) * _sample_sd(n)
    above, below = root * (margin - mean) - reach, -root * (margin + mean) + reach
    return _mean(np.maximum(0.0, _normal(above) - _normal(below)))


def seeds_to_decide(n: int, mean: float, sd: float, margin: float, alpha: float = 0.05) -> int | None:
    """The least number of seeds above n that finds a difference, or its absence within the margin, with 80% power.

    None without spread, or above 1000. The observed mean and SD stand in for the true ones, so it says "about" and not
    more. For a family give the level of its first step, alpha/m. Arms whose seeds don't match are counted as if new
    seeds were common to both.
    """
    if not sd > 0:
        return None
    found = [_least(n, lambda k: power_difference(k, mean, sd, alpha)) if mean else None]
    if abs(mean) < margin:
        found.append(_least(n, lambda k: power_equivalence(k, mean, sd, margin, alpha)))
    return min((k for k in found if k is not None), default=None)


def worth_deciding(seeds: int | None) -> bool:
    """Whether this number of seeds in all (None: beyond 1000) is worth the time to run."""
    return seeds is not None and seeds <= WORTH


def _least(n: int, power: Callable[[int], float]) -> int | None:
    """The least number of seeds with enough power, by bisection: power grows with the number of seeds."""
    low, high = max(n, 1), MOST
    if low >= high or power(high) < POWER:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(middle) >= POWER else (middle, high)
    return high


@lru_cache(maxsize=MOST)
def _sample_sd(n: int) -> Floats:
    """SDs of samples of n values, in units of the true SD, at the nodes of the integral over their distribution."""
    from scipy import special

    return np.asarray(np.sqrt(2 * special.gammaincinv((n - 1) / 2, (NODES + 1) / 2) / (n - 1)))


def _mean(values: Floats) -> float:
    """Mean over the sample SD's distribution of a function's values at the integral's nodes."""
    return float(values @ WEIGHTS) / 2


def _normal(z: Floats) -> Floats:
    from scipy import special

    return np.asarray(special.ndtr(z))
