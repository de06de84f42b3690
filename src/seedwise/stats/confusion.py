"""Confusion matrix, and recall, precision and F1 by class."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ClassScores:
    """Scores float64[k] by class; NaN where a class has no images (recall) or is never predicted (precision)."""

    images: Counts
    """int64[k]: images of the class."""
    recall: Floats
    """Accuracy on the images of the class."""
    precision: Floats
    """Share of the images predicted as the class that are of it."""
    f1: Floats
    """2TP / (2TP + FP + FN); NaN for a class that has no images and is never predicted."""
    macro_f1: float
    """Mean F1 over the classes that have images or are predicted."""


def confusion(targets: ArrayLike, predicted: ArrayLike, classes: int) -> Counts:
    """Confusion matrix int64[k, k] of int[n] targets and predictions: rows are true classes, columns predicted ones."""
    rows, columns = np.asarray(targets, dtype=np.int64), np.asarray(predicted, dtype=np.int64)
    return np.bincount(rows * classes + columns, minlength=classes * classes).reshape(classes, classes)


def merged(matrix: Counts, group_of: ArrayLike, groups: int) -> Counts:
    """Sum a confusion matrix int64[k, k] over groups of classes, such as superclasses, to int64[g, g]. group_of:
    int[k], the group of each class."""
    member = np.eye(groups, dtype=np.int64)[np.asarray(group_of, dtype=np.int64)]
    return np.asarray(member.T @ matrix @ member)


def most_confused(matrix: Counts, count: int) -> list[tuple[int, int, int]]:
    """The `count` largest (true class, predicted class, images) off the diagonal of int64[k, k]; ties by class."""
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:count]
    pairs = [(int(i), int(j)) for i, j in zip(*np.unravel_index(order, wrong.shape))]
    return [(i, j, int(wrong[i, j])) for i, j in pairs if wrong[i, j]]


def class_scores(matrix: Counts) -> ClassScores:
    """Recall, precision and F1 by class, from a confusion matrix int64[k, k]."""
    right, there, said = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
    with np.errstate(invalid="ignore"):
        recall, precision, f1 = right / there, right / said, 2 * right / (there + said)
    used = there + said > 0
    return ClassScores(there, recall, precision, f1, float(f1[used].mean()) if used.any() else 0.0)
