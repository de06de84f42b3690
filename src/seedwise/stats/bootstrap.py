"""Bootstrap interval of a mean, for many seeds only."""

import numpy as np
from numpy.typing import ArrayLike

from seedwise.stats.difference import numbers

LEAST = 20
"""Least number of seeds for a bootstrap: with few, resampling understates the spread by √((n - 1)/n) and more."""
RESAMPLES = 9999


def bootstrap(values: ArrayLike, level: float = 0.95, resamples: int = RESAMPLES) -> tuple[float, float] | None:
    """Bias-corrected and accelerated (BCa) bootstrap interval of the mean of float[n] values, n ≥ 20; None for fewer.

    Efron 1987, J. Amer. Statist. Assoc. 82, 171-185; Efron & Tibshirani 1993, section 14.3: the quantiles of the
    resampled means at Φ(z₀ + (z₀ + z)/(1 - a(z₀ + z))), with bias z₀ from their share below the mean and acceleration
    a from the leave-one-out means. The resamples are always the same (NumPy's default generator, seed 0).
    """
    given = numbers(values, "values")
    n, mean = given.size, float(given.mean())
    if n < LEAST:
        return None
    if np.ptp(given) == 0:
        return mean, mean
    from scipy import special

    means = given[np.random.default_rng(0).integers(0, n, (resamples, n))].mean(axis=1)
    below = (float((means < mean).mean()) + float((means <= mean).mean())) / 2
    bias = float(special.ndtri(below))
    left_out = (given.sum() - given) / (n - 1)
    pull = left_out.mean() - left_out
    acceleration = float((pull**3).sum() / (6 * (pull**2).sum() ** 1.5))
    z = bias + special.ndtri(np.array([0.5 - level / 2, 0.5 + level / 2]))
    low, high = np.quantile(means, special.ndtr(bias + z / (1 - acceleration * z)))
    return float(low), float(high)
