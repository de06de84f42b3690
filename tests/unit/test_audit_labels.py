"""Confident learning against a slow reading of the paper, and planted wrong labels."""

import numpy as np
import pytest

from seedwise.audits.labels import out_of_fold, suspects


def slow_joint(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Equation 1 of arXiv 1911.00068, image by image."""
    k = probabilities.shape[1]
    thresholds = [np.mean([p[j] for p, given in zip(probabilities, labels) if given == j]) for j in range(k)]
    joint = np.zeros((k, k), int)
    for p, given in zip(probabilities, labels):
        reached = [j for j in range(k) if p[j] >= thresholds[j]]
        if reached:
            joint[given, max(reached, key=lambda j: p[j])] += 1
    return joint


@pytest.mark.parametrize("seed", range(5))
def test_the_confident_joint_is_the_papers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(4), rng.integers(0, 4, 300)])
    probabilities = rng.dirichlet(np.ones(4), len(labels))
    found = suspects(probabilities, labels)
    np.testing.assert_array_equal(found.joint, slow_joint(probabilities, labels))
    assert len(found.images) == found.joint.sum() - np.trace(found.joint)
    assert (np.diff(found.margin) <= 0).all()


def test_wrong_labels_are_found_and_lead_the_list() -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(5), 100)
    features = (3 * np.eye(5)[truth] @ rng.normal(size=(5, 20)) + rng.normal(size=(500, 20))).astype(np.float32)
    labels = truth.copy()
    wrong = rng.choice(500, 20, replace=False)
    labels[wrong] = (labels[wrong] + 1) % 5
    found = suspects(out_of_fold(features, labels, 5), labels)
    assert set(wrong) <= set(found.images[:25])
    leading = found.images[:20]
    assert (found.suggested[:20] == truth[leading]).mean() > 0.9


def test_probabilities_are_of_heads_that_did_not_see_the_image() -> None:
    """Labels without any relation to the features can't be predicted better than by chance."""
    rng = np.random.default_rng(1)
    features, labels = rng.normal(size=(400, 200)).astype(np.float32), rng.integers(0, 4, 400)
    assert (out_of_fold(features, labels, 4).argmax(axis=1) == labels).mean() < 0.35
