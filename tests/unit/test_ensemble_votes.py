"""Votes, selection, calibration and diversity against scikit-learn, scipy and slow loops."""

import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import optimize, special
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import VotingClassifier

from seedwise.ensembles.metrics import by_size, disagreement
from seedwise.ensembles.selection import ROUNDS, select_greedy
from seedwise.ensembles.votes import combine, fit_weights, log_probabilities, predicted_classes

Floats = NDArray[np.float64]


class Known(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Answers a table of probabilities for the numbers of its rows."""

    def __init__(self, table: Any = None) -> None:
        self.table = table

    def fit(self, rows: Any, labels: Any) -> "Known":
        self.classes_ = np.unique(labels)
        return self

    def predict_proba(self, rows: Any) -> Any:
        return self.table[np.asarray(rows)[:, 0]]

    def predict(self, rows: Any) -> Any:
        return self.predict_proba(rows).argmax(axis=1)


def some(seed: int, members: int = 5, images: int = 200, classes: int = 6, skill: float = 1.5) -> tuple[Floats, Any]:
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, classes, images)
    logits = rng.normal(size=(members, images, classes)) * 1.5
    logits[:, np.arange(images), targets] += np.linspace(0.3, skill, members)[:, None]
    return log_probabilities(logits), targets


def voting(log_p: Floats, how: str, weights: Any) -> VotingClassifier:
    rows = np.arange(log_p.shape[1])[:, None]
    named = [(f"m{i}", Known(np.exp(one))) for i, one in enumerate(log_p)]
    return VotingClassifier(named, voting=how, weights=weights).fit(rows, rows[:, 0] % log_p.shape[2])


@pytest.mark.parametrize("weights", [[1, 1, 1, 1, 1], [0.1, 0.2, 0.3, 0.4, 0.0], [3, 0, 1, 2, 0]])
def test_a_soft_vote_is_scikit_learns(weights: list[float]) -> None:
    log_p, _ = some(0)
    rows = np.arange(200)[:, None]
    expected = voting(log_p, "soft", weights).predict_proba(rows)
    for vote in ("soft", "weighted"):
        assert np.exp(combine(log_p, weights, vote)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("weights", [[1, 1, 1, 1, 1], [3, 0, 1, 2, 1]])
def test_a_hard_vote_is_scikit_learns_where_there_is_a_majority_and_the_mean_breaks_ties(weights: list[int]) -> None:
    log_p, _ = some(1)
    voted = combine(log_p, weights, "hard")
    assert np.exp(voted).sum(axis=1) == pytest.approx(1)
    theirs = voting(log_p, "hard", weights).predict(np.arange(200)[:, None])
    ties = 0
    for image in range(200):
        votes: Counter[int] = Counter()
        mean = np.zeros(6)
        for member, weight in zip(log_p, weights, strict=True):
            votes[int(member[image].argmax())] += weight
            mean += weight * np.exp(member[image])
        most = max(votes.values())
        tied = [label for label, count in votes.items() if count == most]
        ties += len(tied) > 1
        assert voted[image].argmax() == max(tied, key=lambda label: mean[label])
        assert len(tied) > 1 or voted[image].argmax() == theirs[image]
    assert 10 < ties < 190


def test_fitted_weights_have_the_least_loss_that_scipy_finds() -> None:
    for seed in range(5):
        log_p, targets = some(seed, members=4)
        likelihood = np.exp(log_p[:, np.arange(200), targets])

        def loss(weights: Floats, likelihood: Floats = likelihood) -> float:
            return -float(np.log(weights @ likelihood).mean())

        found = optimize.minimize(  # type: ignore[call-overload]
            loss,
            np.full(4, 0.25),
            bounds=[(0, 1)] * 4,
            constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1},
            options={"ftol": 1e-12},
        )
        ours = fit_weights(log_p, targets)
        assert ours.min() >= 0 and ours.sum() == pytest.approx(1)
        assert loss(ours) <= found.fun + 2e-6


def test_a_useless_member_gets_no_weight_and_a_perfect_one_all_of_it() -> None:
    targets = np.arange(60) % 3
    perfect = np.where(targets[:, None] == np.arange(3), 9.0, -9.0)
    log_p = log_probabilities(np.stack([-perfect, perfect, np.zeros((60, 3))]))
    assert fit_weights(log_p, targets) == pytest.approx([0, 1, 0], abs=1e-3)
    assert select_greedy(log_p, targets, "soft").tolist() == [0, 1, 0]


def slow_greedy(log_p: Floats, targets: Any, vote: Any) -> list[int]:
    bag: list[int] = []
    history = []
    for _ in range(ROUNDS * len(log_p)):
        ranked = []
        for candidate in range(len(log_p)):
            tried = Counter([*bag, candidate])
            p = np.exp(combine(log_p, [tried[i] for i in range(len(log_p))], vote))
            top1 = np.mean([(row >= row[label]).sum() == 1 for row, label in zip(p, targets, strict=True)])
            loss = -np.mean([np.log(row[label]) for row, label in zip(p, targets, strict=True)])
            ranked.append((top1, -round(loss, 12), -candidate))
        best = max(ranked)
        bag.append(-best[2])
        history.append((best[0], best[1], -len(bag)))
    bag = bag[: -max(history)[2]]
    return [bag.count(i) for i in range(len(log_p))]


@pytest.mark.parametrize("vote", ["soft", "hard"])
def test_greedy_selection_is_caruanas_loop(vote: Any) -> None:
    for seed in range(3):
        log_p, targets = some(seed, members=4, images=60)
        picks = select_greedy(log_p, targets, vote)
        assert picks.tolist() == slow_greedy(log_p, targets, vote)
        alone = max(float((one.argmax(axis=1) == targets).mean()) for one in log_p)
        assert (combine(log_p, picks, vote).argmax(axis=1) == targets).mean() >= alone


def test_disagreement_is_the_mean_over_pairs() -> None:
    log_p, _ = some(3)
    said = predicted_classes(log_p)
    pairs = [np.mean([a != b for a, b in zip(said[i], said[j], strict=True)]) for i in range(5) for j in range(i)]
    assert disagreement(said) == pytest.approx(np.mean(pairs))
    assert disagreement(np.stack([said[0], said[0]])) == 0


def test_log_probabilities_are_scipys_even_for_huge_logits() -> None:
    logits = np.array([[1e30, 0.0, -1e30], [1000.0, 999.0, 0.0]])
    assert log_probabilities(logits) == pytest.approx(special.log_softmax(logits, axis=-1))


@pytest.mark.parametrize("vote", ["soft", "hard"])
def test_votes_by_size_are_votes_of_that_many_of_the_members_who_vote(vote: Any) -> None:
    rng = np.random.default_rng(3)
    targets = np.arange(60) % 5
    log_p = log_probabilities(rng.normal(size=(5, 60, 5)) + (targets[:, None] == np.arange(5)))
    votes = np.array([1, 2, 0, 1, 3])  # the third has none
    found = by_size(log_p, votes, vote, targets)
    assert {size: len(tried) for size, tried in found.items()} == {1: 4, 2: 4, 3: 4, 4: 1}
    for size, tried in found.items():
        subsets = [list(each) for each in itertools.combinations((0, 1, 3, 4), size)]
        possible = {(combine(log_p[s], votes[s], vote).argmax(1) == targets).mean() for s in subsets}
        assert all(any(top1 == pytest.approx(it) for it in possible) for top1 in tried)
    assert found[1] == pytest.approx([(log_p[k].argmax(1) == targets).mean() for k in (0, 1, 3, 4)])
    assert list(by_size(np.repeat(log_p[:1], 20, axis=0), np.ones(20), vote, targets)) == [1, 2, 3, 5, 8, 13, 20]
