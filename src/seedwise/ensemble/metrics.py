"""Calibration and diversity, from answers on the same images."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seedwise.ensemble.votes import Floats

BINS = 15


def calibration_error(log_p: Floats, right: ArrayLike, bins: int = BINS) -> float:
    """Expected calibration error of log p[n, k]: |accuracy - mean confidence| over bins of confidence, by images.

    Guo et al. 2017, On Calibration of Modern Neural Networks, 1706.04599: `bins` of equal width, (i/bins, (i + 1)/bins]
    each. `right`: bool[n], whether the answer counts as right.
    """
    confidence = np.minimum(np.exp(log_p.max(axis=1)), 1.0)
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    excess = np.bincount(place, weights=np.asarray(right, dtype=np.float64) - confidence, minlength=bins)
    return float(np.abs(excess).sum() / len(confidence))


def disagreement(answers: NDArray[np.int64]) -> float:
    """Share of images on which two members' answers (int64[m, n]) differ, averaged over all pairs of members."""
    count = len(answers)
    pairs = [float((answers[i] != answers[j]).mean()) for i in range(count) for j in range(i)]
    return float(np.mean(pairs)) if pairs else 0.0
