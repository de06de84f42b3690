"""McNemar's exact test of two single runs on the same images."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from seedwise.stats.student import t_quantile


@dataclass(frozen=True)
class McNemar:
    """McNemar's test of two trained networks. It says nothing of the technique: another seed is another network."""

    images: int
    only_arm: int
    """Images that only the arm has right."""
    only_base: int
    """Images that only the base has right."""
    mean: float
    """Accuracy of the arm minus that of the base, a fraction in [-1, 1]."""
    ci95: tuple[float, float]
    p: float
    """Two-sided, exact."""


def mcnemar(arm: ArrayLike, base: ArrayLike) -> McNemar:
    """Compare two runs by bool[n] vectors that say which of the same n images each has right.

    p: of the images that one run alone has right, as many fall to either under no difference: a two-sided binomial test
    with probability 1/2, doubled and at most 1 (McNemar 1947, Psychometrika 12, 153-157; Dietterich 1998, Neural
    Computation 10, for classifiers). Interval: Bonett & Price 2012, J. Educ. Behav. Stat. 37, 479-488 (Wald with one
    image added to each of the two counts). A ValueError where the vectors differ in length.
    """
    from scipy import special

    ours, theirs = np.asarray(arm, dtype=bool), np.asarray(base, dtype=bool)
    if ours.shape != theirs.shape or ours.ndim != 1 or ours.size == 0:
        raise ValueError("McNemar's test needs the same images on both sides")
    n, b, c = ours.size, int((ours & ~theirs).sum()), int((~ours & theirs).sum())
    p = min(1.0, 2 * float(special.bdtr(min(b, c), b + c, 0.5))) if b + c else 1.0
    first, second = (b + 1) / (n + 2), (c + 1) / (n + 2)
    middle = first - second
    half = t_quantile(0.975, math.inf) * math.sqrt((first + second - middle**2) / (n + 2))
    return McNemar(n, b, c, (b - c) / n, (max(-1.0, middle - half), min(1.0, middle + half)), p)
