"""Sequential paired t-tests: seeds are added one by one, and the error is kept whenever one stops.

Level a is spent over the seeds: after seed n of N planned, a·h(n) at most (Lan & DeMets 1983, Biometrika 70, 659-663).
The boundary q_n(a) is how small the p of Student's t-test at n must be, computed for the t-statistics of one growing
sample (Jennison & Turnbull 1991, Biometrika 78, 133-141): what was already stopped earlier is no longer in its
distribution. Beyond N the reserve is spent, ever less a seed, so that seeds can always be added.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from seedwise.stats.difference import Floats

SCORES = np.linspace(0.0, 7.0, 351)
"""Normal scores at which the density of the statistic's size is kept: for any n they are quantiles of Student's t."""
EDGES = (SCORES[1:] + SCORES[:-1]) / 2
LEVELS = np.geomspace(2e-5, 0.6, 36)
"""Levels a for which boundaries are kept; between them they are interpolated, log by log."""


@dataclass(frozen=True)
class Spending:
    """How a level is spent over the seeds of a study."""

    planned: int
    """Seeds planned before the first trial, N >= `first`; a ValueError for fewer."""
    first: int = 3
    """Seeds at which a decision is possible at all, from 3 on."""
    reserve: float = 0.2
    """Share of the level, in [0, 1), that is kept for seeds beyond the planned ones; with 0 none of these decides."""

    def __post_init__(self) -> None:
        if not (self.planned >= self.first >= 3 and 0 <= self.reserve < 1):
            raise ValueError(f"plan 3 seeds or more and a reserve in [0, 1), not {self}")

    def share(self, n: int) -> float:
        """Share of the level that is spent once n seeds are there: 0.8 (n/N)² up to N, then towards 1."""
        if n < self.first:
            return 0.0
        if n <= self.planned:
            return (1 - self.reserve) * (n / self.planned) ** 2
        return 1 - self.reserve * math.exp2(-(n - self.planned) / self.planned)

    def boundary(self, level: float, n: int) -> float:
        """q_n(level): the two-sided p of Student's t-test at n seeds below which a difference is found. 0 before
        `first`."""
        if n < self.first:
            return 0.0
        return float(_boundaries(self, n, (level,))[n][0])

    def p(self, ps: Sequence[float | None]) -> list[float | None]:
        """Sequential p at each n of two-sided p values of t-tests over the first 1, 2, … seeds: the smallest level at
        which a difference would have been found by then; None before `first`, and where there was no p at all."""
        found: list[float | None] = []
        least: float | None = None
        known = _boundaries(self, max(len(ps), self.first), tuple(LEVELS.tolist()))
        for n, p in enumerate(ps, 1):
            if n >= self.first and p is not None:
                level = _level(p, known[n])
                least = level if least is None else min(least, level)
            found.append(least)
        return found


def _level(p: float, boundaries: Floats) -> float:
    """The level whose boundary is p: interpolated between the levels kept, in proportion below them, 1 above."""
    if p > boundaries[-1] or not boundaries[0]:
        return 1.0
    if p <= boundaries[0]:
        return float(LEVELS[0] * p / boundaries[0])
    return float(np.exp(np.interp(math.log(p), np.log(boundaries), np.log(LEVELS))))


@lru_cache(maxsize=256)
def _boundaries(spending: Spending, upto: int, levels: tuple[float, ...]) -> dict[int, Floats]:
    """q_n float64[levels] of each n from `first` to `upto`.

    The density of |u|, u = sum of differences / root of their sum of squares, under no difference, on SCORES; one more
    value takes it to u' (`_step`), and from there the tail is cut whose mass is what is spent at n.
    """
    from scipy import special

    mass = np.tile(np.diff(2 * special.ndtr(EDGES) - 1, prepend=0.0, append=1.0), (len(levels), 1))
    found = {}
    for n in range(3, upto + 1):
        mass = mass @ _step(n)
        spent = np.array(levels) * (spending.share(n) - spending.share(n - 1))
        if n >= spending.first:
            found[n] = np.array([_cut(row, each) for row, each in zip(mass, spent, strict=True)])
    return found


def _cut(mass: Floats, spent: float) -> float:
    """Cut this much off the tail of a distribution over SCORES, in place; returns the p at the cut, 0 for nothing."""
    from scipy import special

    if spent <= 0:
        return 0.0
    upto = np.cumsum(mass[::-1])
    cells = int(np.searchsorted(upto, spent))
    inside = len(mass) - 1 - cells
    share = (spent - (upto[cells - 1] if cells else 0.0)) / mass[inside]
    low = EDGES[inside - 1]
    high = EDGES[inside] if cells else 2 * SCORES[-1] - low
    mass[inside + 1 :] = 0.0
    mass[inside] *= 1 - share
    return float(2 * special.ndtr(-(high - share * (high - low))))


@lru_cache(maxsize=64)  # 1 MB each
def _step(n: int) -> Floats:
    """float64[scores, scores]: chance to come from each u >= 0 of n - 1 values to each cell of |u'| of n values."""
    from scipy import special

    def of_scores(z: Floats, count: int) -> Floats:
        t = special.stdtrit(count - 1, special.ndtr(z))
        return np.asarray(t * math.sqrt(count) / np.sqrt(count - 1 + t * t))

    u, x = np.meshgrid(of_scores(SCORES, n - 1), of_scores(EDGES, n), indexing="ij")
    return np.diff(_below(x, u, n - 1) - _below(-x, u, n - 1), prepend=0.0, append=1.0, axis=1)


def _below(x: Floats, u: Floats, df: int) -> Floats:
    """P(u' <= x) for u' = (u + y) / √(1 + y²) with y = T/√df, T of Student's t, and u >= 0; all of one shape.

    u' reaches x where (1 - x²)y² + 2uy + u² - x² = 0: once for |x| < 1, between 1 and √(1 + u²) twice.
    """
    from scipy import special

    found = (x > -1).astype(np.float64)
    once, twice = np.abs(x) < 1, (x >= 1) & (x * x < 1 + u * u)
    for places in (once, twice):
        at, of = x[places], u[places]
        root, slope = np.sqrt(at * at * (1 + of * of - at * at)), 1 - at * at
        slope[slope == 0] = -1e-15
        low, high = (-of - root) / slope, (-of + root) / slope
        if places is once:
            found[places] = special.stdtr(df, np.where(at >= 0, high, low) * math.sqrt(df))
        else:
            found[places] = 1 + special.stdtr(df, high * math.sqrt(df)) - special.stdtr(df, low * math.sqrt(df))
    return found
