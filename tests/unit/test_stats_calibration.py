"""Calibration against a slow loop, scikit-learn and a search over a grid; confusion against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, f1_score, log_loss, precision_score

from seedwise.stats.calibration import calibration, fit_temperature, log_softmax
from seedwise.stats.confusion import class_scores, confusion, merged, most_confused


def sample(seed: int, scale: float = 1.0, images: int = 400, classes: int = 7) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, classes, images)
    logits = rng.normal(size=(images, classes))
    logits[np.arange(images), targets] += 1.5
    return scale * logits, targets


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("bins", [1, 15])
def test_the_error_is_that_of_a_loop_over_bins(seed: int, bins: int) -> None:
    logits, targets = sample(seed, 2.0)
    found = calibration(logits, targets, logits.argmax(axis=1) == targets, bins=bins)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = 0.0
    for index in range(bins):
        inside = [i for i in range(len(targets)) if index / bins < shares[i].max() <= (index + 1) / bins]
        assert found.count[index] == len(inside)
        if inside:
            confidence = sum(shares[i].max() for i in inside) / len(inside)
            accuracy = sum(shares[i].argmax() == targets[i] for i in inside) / len(inside)
            assert found.confidence[index] == pytest.approx(confidence)
            assert found.accuracy[index] == pytest.approx(accuracy)
            expected += len(inside) / len(targets) * abs(accuracy - confidence)
    assert found.ece == pytest.approx(expected)
    assert found.nll == pytest.approx(log_loss(targets, shares, labels=range(7)))


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_the_temperature_is_the_best_of_a_fine_grid(scale: float) -> None:
    logits, targets = sample(3, scale)
    grid = np.geomspace(0.05, 20, 2001)
    losses = [calibration(logits, targets, targets == 0, temperature=float(t)).nll for t in grid]
    found = fit_temperature(logits, targets)
    assert found == pytest.approx(grid[int(np.argmin(losses))], rel=4e-3)
    assert calibration(logits, targets, targets == 0, temperature=found).nll <= min(losses) + 1e-9


def test_scaled_logits_have_a_scaled_temperature() -> None:
    logits, targets = sample(4)
    assert fit_temperature(5 * logits, targets) == pytest.approx(5 * fit_temperature(logits, targets), rel=1e-4)


def test_large_logits_and_perfect_answers_are_no_trouble() -> None:
    logits = np.eye(4) * 1e4
    assert calibration(logits, np.arange(4), [True] * 4).ece == 0
    assert calibration(logits, np.arange(4), [False] * 4).ece == 1
    assert 0 < fit_temperature(logits, np.arange(4)) <= 50
    assert np.isfinite(log_softmax(logits)).all()


def test_confusion_and_scores_are_those_of_scikit_learn() -> None:
    logits, targets = sample(5, classes=9)
    targets[targets == 4] = 3  # a class without images
    predicted = logits.argmax(axis=1)
    predicted[predicted == 6] = 0  # and one that is never predicted
    matrix = confusion(targets, predicted, 9)
    np.testing.assert_array_equal(matrix, confusion_matrix(targets, predicted, labels=range(9)))
    scores = class_scores(matrix)
    assert scores.macro_f1 == pytest.approx(f1_score(targets, predicted, average="macro"))
    precision = precision_score(targets, predicted, labels=range(9), average=None, zero_division=np.nan)
    np.testing.assert_allclose(scores.precision, precision)
    assert np.isnan(scores.recall[4]) and np.isnan(scores.precision[6])


def test_groups_and_pairs_are_counted_as_by_hand() -> None:
    matrix = np.array([[5, 1, 0, 2], [0, 4, 3, 0], [3, 0, 7, 0], [0, 0, 1, 9]])
    np.testing.assert_array_equal(merged(matrix, [0, 0, 1, 1], 2), [[10, 5], [3, 17]])
    assert most_confused(matrix, 3) == [(1, 2, 3), (2, 0, 3), (0, 3, 2)]
    assert most_confused(np.diag([3, 4]), 5) == []
