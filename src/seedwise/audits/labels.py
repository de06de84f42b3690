"""Confident learning: finds labels that contradict predictions (Northcutt, Jiang, Chuang 2021, arXiv 1911.00068)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from seedwise.data.splits import folds

FOLDS = 5
RIDGE = 1e-2
"""Penalty of the linear head, relative to the mean variance of a feature."""


@dataclass(frozen=True)
class Suspects:
    """m images whose label is in doubt, the most doubtful first.

    `images`: int64[m], indices. `suggested`: int64[m], the class in whose favor. `margin`: float64[m], the probability
    of the suggested class minus that of the label. `joint`: int64[k, k], the confident joint: rows given, columns
    suggested.
    """

    images: NDArray[np.int64]
    suggested: NDArray[np.int64]
    margin: NDArray[np.float64]
    joint: NDArray[np.int64]


def suspects(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> Suspects:
    """Find suspects off the diagonal of the confident joint: out-of-fold probabilities float64[n, k], labels int64[n].

    A class's threshold is the mean probability that images labeled with it have for it. An image counts for the most
    probable of the classes whose threshold it reaches, if any.
    """
    n, k = probabilities.shape
    own = probabilities[np.arange(n), labels]
    counts = np.bincount(labels, minlength=k)
    thresholds = np.bincount(labels, own, minlength=k) / np.maximum(counts, 1)
    reached = (probabilities >= thresholds) & (counts > 0)
    suggested = np.where(reached, probabilities, -1.0).argmax(axis=1)
    counted = reached.any(axis=1)
    joint = np.zeros((k, k), np.int64)
    np.add.at(joint, (labels[counted], suggested[counted]), 1)
    doubtful = np.flatnonzero(counted & (suggested != labels))
    margin = probabilities[doubtful, suggested[doubtful]] - own[doubtful]
    order = np.argsort(-margin, kind="stable")
    return Suspects(doubtful[order], suggested[doubtful][order], margin[order], joint)


def out_of_fold(features: NDArray[np.float32], labels: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """Class probabilities float64[n, k] by linear heads fitted without each image's fifth of the data.

    `features`: float32[n, d]; `labels`: int64[n] in [0, k). The head is a ridge regression onto the classes, which has
    a closed form: the folds share their sums of products. Its scores become probabilities by one temperature, fitted on
    the out-of-fold scores as a whole.
    """
    n, d = features.shape
    inputs = np.column_stack([features - features.mean(axis=0), np.ones(n, np.float32)]).astype(np.float32)
    targets = np.eye(classes, dtype=np.float32)[labels]
    fold = folds(labels, FOLDS)
    members = [np.flatnonzero(fold == number) for number in range(FOLDS)]
    grams = [inputs[rows].T @ inputs[rows] for rows in members]
    moments = [inputs[rows].T @ targets[rows] for rows in members]
    gram, moment = sum(grams[1:], grams[0]).astype(np.float64), sum(moments[1:], moments[0]).astype(np.float64)
    penalty = np.full(d + 1, RIDGE * np.trace(gram[:d, :d]) / d)
    penalty[d] = 1e-6
    scores = np.empty((n, classes))
    for rows, own_gram, own_moment in zip(members, grams, moments, strict=True):
        factor = cho_factor(gram - own_gram + np.diag(penalty))
        scores[rows] = inputs[rows] @ cho_solve(factor, moment - own_moment)
    scale = _temperature(scores, labels)
    probabilities: NDArray[np.float64] = softmax(scores * scale, axis=1)
    return probabilities


def _temperature(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    rows = np.arange(len(labels))

    def loss(log_scale: float) -> float:
        return -float(log_softmax(scores * np.exp(log_scale), axis=1)[rows, labels].mean())

    return float(np.exp(minimize_scalar(loss, bounds=(-2.0, 6.0), method="bounded", options={"xatol": 1e-2}).x))
