"""Paired comparison of two arms with the same seeds: Student's t and the exact sign-flip test."""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from seedwise.stats.difference import Difference, Floats, numbers, rounding
from seedwise.stats.student import DIFFERENCE, normal_both

EXACT_UP_TO = 36
"""Largest number of pairs for which all 2ⁿ sign flips are counted; beyond, p_signflip is the normal approximation."""
SAME = 1e-9
"""Sums of differences that differ by less than this share of the sum of sizes are ties: rounding, not data."""


def paired(arm: ArrayLike, base: ArrayLike) -> Difference:
    """Mean of the paired differences arm[i] - base[i], float[n] each, where i are the seeds that both have.

    t = mean / (SD/√n) with n - 1 degrees of freedom: Student 1908, Biometrika 6, 1-25; for runs of one benchmark in
    pairs, Bouthillier et al. 2021, arXiv:2103.03098. Limits: n = 1 has no spread, p or interval; n = 2 has them, with
    one degree of freedom (an interval 12.7 standard errors to each side); a spread that rounding explains counts as
    zero, and so does a mean beside it: then p_t is 0, or 1 without any difference, and the interval is the mean twice.
    """
    ours, theirs = numbers(arm, "arm"), numbers(base, "base")
    if ours.shape != theirs.shape:
        raise ValueError(f"pairs need as many outcomes on both sides, not {ours.size} and {theirs.size}")
    differences = ours - theirs
    n, mean = differences.size, float(differences.mean())
    if n == 1:
        return Difference("paired", 1, mean, None, None, None, None, None)
    noise, floor = rounding(ours, theirs), signflip_floor(n)
    sd = float(differences.std(ddof=1))
    if np.ptp(differences) <= noise or sd == 0:  # the squares of very small numbers are 0
        mean = 0.0 if abs(mean) <= noise else mean
        return Difference("paired", n, mean, 0.0, 0.0, n - 1, None, floor, floor if mean else 1.0)
    return Difference("paired", n, mean, sd, sd / math.sqrt(n), n - 1, mean / sd, floor)


def over_images(arm: ArrayLike, base: ArrayLike) -> Difference:
    """`paired` over images: arm and base are float[images], the share of networks that have each image right."""
    return replace(paired(arm, base), kind="images", bounds=DIFFERENCE)


def signflip_floor(n: int) -> float:
    """The smallest p that n pairs can reach: 2 of 2ⁿ sign patterns are as extreme as all-equal signs."""
    return 2.0 ** (1 - n)


def sign_flip(differences: ArrayLike) -> float:
    """Two-sided p of the sign-flip (randomization) test of float[n] paired differences.

    The share of the 2ⁿ sign patterns whose sum is as far from zero as the observed one, ties included. Fisher 1935, The
    Design of Experiments, section 21. Exact up to 36 pairs: the sums of the two halves' flips are sorted and matched
    (Horowitz & Sahni 1974, J. ACM 21), which takes 2^(n/2) steps instead of 2ⁿ. Beyond, the normal approximation
    sum/√(sum of squares).
    """
    values = numbers(differences, "differences")
    n, size = values.size, float(np.abs(values).sum())
    observed = abs(float(values.sum()))
    if observed <= SAME * size:
        return 1.0
    if n > EXACT_UP_TO:
        return normal_both(observed / math.sqrt(float((values**2).sum())))
    left, right = np.sort(_flipped_sums(values[: n // 2])), _flipped_sums(values[n // 2 :])
    beyond = left.size - np.searchsorted(left, observed - SAME * size - right)
    return min(1.0, 2 * float(beyond.sum()) / 2.0**n)


def _flipped_sums(values: Floats) -> Floats:
    """Sums float64[2ⁿ] of all sign patterns of n values; [0] for no values."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums
