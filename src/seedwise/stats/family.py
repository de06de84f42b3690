"""Holm's correction of several comparisons with one base, and intervals that agree with its decisions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from seedwise.stats.student import Interval


class TestedDifference(Protocol):
    """A difference with a p and an interval; both are None where there is no spread."""

    @property
    def mean(self) -> float:
        """Arm minus base."""

    @property
    def p_decision(self) -> float | None:
        """Two-sided p of no difference."""

    def interval(self, level: float) -> Interval | None:
        """Interval of the mean at a level."""


@dataclass(frozen=True)
class Decision:
    """Holm's decision on one comparison of a family; None or False where it has no p."""

    p_holm: float | None
    significant: bool
    """Whether p_holm < alpha; equivalent: whether the interval leaves out 0."""
    interval: Interval | None
    """Simultaneous interval of the mean, in the outcome's unit."""


def holm(ps: Sequence[float | None] | NDArray[np.float64]) -> list[float | None]:
    """Holm's adjusted p of float[m], in the order given.

    The i-th smallest of m becomes the running maximum of (m - i + 1)·p, at most 1. Holm 1979, Scand. J. Statist. 6,
    65-70; Wright 1992, Biometrics 48, 1005-1013, for the adjusted p. The chance of one false claim or more in the
    family is at most α, however the comparisons depend on each other (they share a base). A None counts as 1 and stays
    None: a comparison that was planned belongs to the family. A ValueError for a p outside of [0, 1].
    """
    values = np.array([1.0 if p is None else p for p in ps], dtype=np.float64)
    if values.size and not (values.min() >= 0 and values.max() <= 1):
        raise ValueError("every p must be in [0, 1]")
    order = np.argsort(values, kind="stable")
    factors = np.arange(values.size, 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(factors * values[order]))
    return [None if p is None else float(value) for p, value in zip(ps, adjusted, strict=True)]


def decide(estimates: Sequence[TestedDifference], alpha: float = 0.05, size: int | None = None) -> list[Decision]:
    """Compute Holm's p and the simultaneous interval of each member of a family of `size` (default: as many as given).

    The interval is Bonferroni's, at level 1 - alpha/m (Dunn 1961, J. Amer. Statist. Assoc. 56, 52-64). Holm's test
    finds more than Bonferroni's; where it does, the interval is cut at 0, open there: its end is the float next to 0.
    So an interval leaves out 0 if and only if p_holm < alpha.

    Two promises for the whole family, each with a chance of 1 - alpha at least: (1) no interval leaves out a 0 that is
    true; (2) every effect other than 0 lies in its Bonferroni interval. The region that belongs to Holm's test exactly
    (Strassburger & Bretz 2008, Stat. Med. 27, 4914-4927; Guilbaud 2008, Biom. J. 50, 678-692, for one side) has these
    two parts: Bonferroni's box where no effect is 0, and where some are, no bound at all on the significant ones.
    "Above 0, without an upper end" tells a reader nothing, so the box's ends are kept there too. The price: with s of m
    effects other than 0, (1) and (2) hold together with 1 - alpha(1 + s/m), not 1 - alpha. That intervals which agree
    with Holm's test in full must be uninformative: Brannath, Kluge & Scharpenberg 2024, arXiv:2402.13719.
    """
    count = len(estimates) if size is None else size
    if count < len(estimates):
        raise ValueError(f"a family of {count} can't have {len(estimates)} members")
    unseen: list[float | None] = [None] * (count - len(estimates))
    adjusted = holm([*(each.p_decision for each in estimates), *unseen])
    return [_decision(each, p, alpha, count) for each, p in zip(estimates, adjusted, strict=False)]


def _decision(estimate: TestedDifference, p_holm: float | None, alpha: float, count: int) -> Decision:
    interval = estimate.interval(1 - alpha / count)
    if p_holm is None or interval is None:
        return Decision(None, False, None)
    return Decision(p_holm, p_holm < alpha, agreeing(interval, estimate.mean, p_holm < alpha))


def agreeing(interval: Interval, mean: float, significant: bool) -> Interval:
    """The interval of a mean, cut at 0 or reaching to it: it leaves out 0 if and only if the mean is significant."""
    low, high = interval
    if significant and low <= 0 <= high:
        return (math.nextafter(0, 1), high) if mean > 0 else (low, math.nextafter(0, -1))
    if not significant:  # a rounding error apart, or without spread
        return min(low, 0.0), max(high, 0.0)
    return interval
