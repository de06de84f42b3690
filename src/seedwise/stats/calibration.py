"""Calibration of a network's confidences, before and after temperature scaling."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

BINS = 15
LOWEST, HIGHEST = 0.02, 50.0
"""Range of temperatures."""


@dataclass(frozen=True)
class Calibration:
    """Calibration error of confidences in equal-width bins over (0, 1]."""

    ece: float
    """Expected calibration error: |accuracy - confidence| of the bins, weighted by their images."""
    nll: float
    """Mean negative log-likelihood of the targets, in nats."""
    confidence: Floats
    """float64[bins]: mean highest probability of a bin's images; NaN where the bin is empty."""
    accuracy: Floats
    """float64[bins]: share of a bin's images that are right; NaN where the bin is empty."""
    count: NDArray[np.int64]
    """int64[bins]: images in each bin."""


def log_softmax(logits: ArrayLike, temperature: float = 1.0) -> Floats:
    """Log probabilities float64[n, k] of logits float[n, k] divided by a temperature > 0."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    shifted = scaled - scaled.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def fit_temperature(logits: ArrayLike, targets: ArrayLike) -> float:
    """Find the temperature in [0.02, 50] that minimizes the NLL of logits float[n, k] and targets int[n] of validation.

    Guo et al. 2017, arXiv 1706.04599. NLL is convex in 1/T, so a search over log T finds the only minimum; where every
    image is right by far it lies at the lower end.
    """
    from scipy.optimize import minimize_scalar

    given, rows = np.asarray(logits, dtype=np.float64), np.asarray(targets)

    def nll(log_temperature: float) -> float:
        return _nll(log_softmax(given, float(np.exp(log_temperature))), rows)

    found = minimize_scalar(nll, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def calibration(
    logits: ArrayLike, targets: ArrayLike, right: ArrayLike, *, temperature: float = 1.0, bins: int = BINS
) -> Calibration:
    """Calibration of n ≥ 1 images from logits float[n, k], targets int[n] and right bool[n].

    The confidence is the highest probability. Bins as in Guo et al. 2017: equal widths, each with its upper end.
    """
    log_probabilities, rows = log_softmax(logits, temperature), np.asarray(targets)
    confidence = np.exp(log_probabilities.max(axis=1))
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean_confidence = np.bincount(place, confidence, bins) / count
        accuracy = np.bincount(place, np.asarray(right), bins) / count
    gaps = np.abs(np.nan_to_num(accuracy) - np.nan_to_num(mean_confidence))
    ece = float((gaps * count).sum() / len(rows))
    return Calibration(ece, _nll(log_probabilities, rows), mean_confidence, accuracy, count)


def _nll(log_probabilities: Floats, targets: NDArray[np.int64]) -> float:
    return float(-log_probabilities[np.arange(len(targets)), targets].mean())
