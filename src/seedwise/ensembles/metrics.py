"""Diversity of members, from predictions on the same images."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seedwise.ensembles.votes import Floats, predicted_classes
from seedwise.records.ensemble import Vote
from seedwise.records.predictions import Predictions

STARTS = 8
"""Largest number of votes tried of each size."""


def disagreement(predictions: NDArray[np.int64]) -> float:
    """Share of images on which two members' predictions int64[m, n] differ, averaged over all pairs of members."""
    pairs = disagreements(predictions)[np.tril_indices(len(predictions), -1)]
    return float(np.mean(pairs)) if len(pairs) else 0.0


def disagreements(predictions: NDArray[np.int64]) -> Floats:
    """float64[m, m]: share of images on which the predictions int64[m, n] of each two members differ."""
    return np.array([[(one != other).mean() for other in predictions] for one in predictions], np.float64)


def by_size(log_p: Floats, votes: ArrayLike, vote: Vote, targets: NDArray[np.int64]) -> dict[int, list[float]]:
    """Top-1 of votes of 1, 2, … members, several of each size.

    log_p: float64[m, n, k]; votes: float[m], as `combine` takes them; targets: int64[n]. A size's members are those
    that follow one another, round and round, from up to eight places on, so that all take part about equally often.
    Above eight members not every size is tried.
    """
    counts = np.asarray(votes, np.float64)
    voting, found = np.flatnonzero(counts > 0), dict[int, list[float]]()
    sizes, p = len(voting), np.exp(log_p)
    marks = np.eye(log_p.shape[2])[predicted_classes(log_p)] if vote == "hard" else None
    for size in (k for k in range(1, sizes + 1) if sizes <= STARTS or k in (1, 2, 3, 5, 8, 13, 21, 34, sizes)):
        found[size] = []
        for start in range(0, sizes, -(-sizes // STARTS)) if size < sizes else [0]:
            chosen = np.zeros(len(counts))
            chosen[np.roll(voting, -start)[:size]] = counts[np.roll(voting, -start)[:size]]
            together = np.tensordot(chosen / chosen.sum(), p, 1)  # the order of `combine`, many times faster
            if marks is not None:
                together += np.tensordot(chosen, marks, 1)
            found[size].append(float(Predictions(targets, targets, together).correct().mean()))
    return found
