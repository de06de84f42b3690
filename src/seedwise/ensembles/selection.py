"""Selects the members that vote: greedy forward selection on validation images."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seedwise.ensembles.votes import Floats, combine
from seedwise.records.ensemble import Vote

ROUNDS = 3
"""Picks tried for each member: later ones hardly change the weights, and the best prefix of them is kept."""


def select_greedy(members: Floats, targets: ArrayLike, vote: Vote) -> NDArray[np.int64]:
    """int64[m]: how often each member is picked, by greedy forward selection with replacement.

    members: log probabilities float64[m, n, k]; targets: int[n]. Caruana et al. 2004, Ensemble Selection from Libraries
    of Models (ICML): start with nothing, add again and again the member that makes the vote best on validation, and
    keep the best of all these ensembles (the smallest of equals). Best is the highest top-1, and of equals the lowest
    loss: accuracies of a few images tie all the time.
    """
    labels = np.asarray(targets)
    counts = np.zeros(len(members), np.int64)
    best, kept = (-1.0, -np.inf), counts.copy()
    for _ in range(ROUNDS * len(members)):
        tried = [_quality(combine(members, counts + one, vote), labels) for one in np.eye(len(members), dtype=np.int64)]
        winner = max(range(len(members)), key=lambda index: (tried[index], -index))
        counts[winner] += 1
        if tried[winner] > best:
            best, kept = tried[winner], counts.copy()
    return kept


def _quality(log_p: Floats, targets: NDArray[np.int64]) -> tuple[float, float]:
    of_target = log_p[np.arange(len(targets)), targets]
    top1 = float(((log_p >= of_target[:, None]).sum(axis=1) == 1).mean())
    return top1, float(of_target.mean())
