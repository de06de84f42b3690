"""Which classes are taken for which, and what follows for each of them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ClassScores:
    """float64[k] by class; NaN where a class has no images (recall) or is never predicted (precision)."""

    images: Counts
    recall: Floats
    """Accuracy on the images of the class."""
    precision: Floats
    f1: Floats
    """2TP / (2TP + FP + FN); NaN for a class that neither is there nor is predicted."""
    macro_f1: float
    """Mean over the classes that are there or are predicted."""


def confusion(targets: ArrayLike, predicted: ArrayLike, classes: int) -> Counts:
    """int64[k, k]: how many images of the row's class were taken for the column's."""
    rows, columns = np.asarray(targets, dtype=np.int64), np.asarray(predicted, dtype=np.int64)
    return np.bincount(rows * classes + columns, minlength=classes * classes).reshape(classes, classes)


def merged(matrix: Counts, group_of: ArrayLike, groups: int) -> Counts:
    """A confusion matrix over groups of classes, such as superclasses: int64[g, g]."""
    member = np.eye(groups, dtype=np.int64)[np.asarray(group_of, dtype=np.int64)]
    return np.asarray(member.T @ matrix @ member)


def most_confused(matrix: Counts, count: int) -> list[tuple[int, int, int]]:
    """The `count` largest (true class, predicted class, images) off the diagonal; equal ones in the classes' order."""
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:count]
    pairs = [(int(i), int(j)) for i, j in zip(*np.unravel_index(order, wrong.shape))]
    return [(i, j, int(wrong[i, j])) for i, j in pairs if wrong[i, j]]


def class_scores(matrix: Counts) -> ClassScores:
    """Recall, precision and F1 by class, from a confusion matrix."""
    right, there, said = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
    with np.errstate(invalid="ignore"):
        recall, precision, f1 = right / there, right / said, 2 * right / (there + said)
    used = there + said > 0
    return ClassScores(there, recall, precision, f1, float(f1[used].mean()) if used.any() else 0.0)
