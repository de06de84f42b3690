"""Mean, standard deviation and interval of one outcome over seeds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seedwise.stats.student import ANYWHERE, Interval, t_interval


@dataclass(frozen=True)
class Summary:
    """Mean and spread of an outcome over n seeds; `sd` and `ci95` are None for n = 1."""

    n: int
    mean: float
    sd: float | None
    """Sample standard deviation (n - 1 in the denominator)."""
    ci95: tuple[float, float] | None
    """95% interval of the mean from Student's t with n - 1 degrees of freedom."""

    def __str__(self) -> str:
        if self.sd is None or self.ci95 is None:
            return f"{self.mean:.4f} (n=1, no spread)"
        low, high = self.ci95
        return f"{self.mean:.4f} ± {self.sd:.4f} (n={self.n}), 95% CI [{low:.4f}, {high:.4f}]"


def summarize(values: Sequence[float], bounds: Interval = ANYWHERE) -> Summary:
    """Mean, standard deviation and t-interval of n ≥ 1 values; the interval is cut to `bounds`, the outcome's range."""
    if len(values) == 0:
        raise ValueError("no values to summarize")
    numbers = np.asarray(values, dtype=np.float64)
    n, mean = len(numbers), float(numbers.mean())
    if n == 1:
        return Summary(1, mean, None, None)
    sd = float(numbers.std(ddof=1))
    return Summary(n, mean, sd, t_interval(mean, sd / math.sqrt(n), n - 1, bounds=bounds))
