"""Votes of members: combines the logits of each into class probabilities."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seedwise.records.ensemble import Vote

Floats = NDArray[np.float64]

GAP = 1e-6
"""Largest distance, in nats, of the weights' validation loss from the least possible."""
MOST_STEPS = 20_000


def log_probabilities(logits: ArrayLike) -> Floats:
    """Log softmax over the last axis of logits [..., k], in float64."""
    values = np.asarray(logits, dtype=np.float64)
    values = values - values.max(axis=-1, keepdims=True)
    return np.asarray(values - np.log(np.exp(values).sum(axis=-1, keepdims=True)))


def combine(members: Floats, weights: ArrayLike, vote: Vote) -> Floats:
    """Log probabilities float64[n, k] of the vote, from members' ones float64[m, n, k] and weights float[m] ≥ 0.

    soft and weighted: the mean of the members' probabilities, by weight (Lakshminarayanan et al. 2017, 1612.01474).
    hard: each member has `weight` votes, all for its most probable class, and the mean probability is one vote more,
    split among the classes. It breaks ties and nothing else (it is below 1), and keeps every probability above 0, so
    that a loss can be computed.
    """
    shares = np.asarray(weights, dtype=np.float64)
    kept = shares > 0
    members, shares = members[kept], shares[kept]
    mean = np.logaddexp.reduce(members + np.log(shares / shares.sum())[:, None, None], axis=0)
    if vote != "hard":
        return np.asarray(mean)
    votes = (shares[:, None, None] * (predicted_classes(members)[..., None] == np.arange(members.shape[2]))).sum(axis=0)
    with np.errstate(divide="ignore"):
        return np.asarray(np.logaddexp(np.log(votes), mean) - np.log(shares.sum() + 1))


def predicted_classes(members: Floats) -> NDArray[np.int64]:
    """int64[m, n]: each member's most probable class, the first in a tie, from log probabilities [m, n, k]."""
    return np.asarray(members.argmax(axis=2))


def fit_weights(members: Floats, targets: ArrayLike) -> Floats:
    """Weights float64[m] ≥ 0 with sum 1 whose mean probability has the least loss on these (validation) images.

    members: log probabilities float64[m, n, k]; targets: int[n]. Stacking of densities: Smyth & Wolpert 1999, Machine
    Learning 36, 59-83, by the EM algorithm for mixing weights. The loss is convex in the weights, and max over members
    of mean(p_member/p_mixture) - 1 bounds how far it is from the least (Lindsay 1983, Ann. Stat. 11, 86-94), so this
    stops when it is there.
    """
    rows = np.arange(members.shape[1])
    likelihood = members[:, rows, np.asarray(targets)]
    likelihood = np.exp(likelihood - likelihood.max(axis=0))  # a factor an image cancels out
    weights = np.full(len(members), 1 / len(members))
    for _ in range(MOST_STEPS):
        gains = (likelihood / (weights @ likelihood)).mean(axis=1)
        if gains.max() - 1 <= GAP:
            break
        weights = weights * gains
    return np.asarray(weights / weights.sum())
