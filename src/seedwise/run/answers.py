"""What a run or an ensemble answered, image by image: which file, which label, what it said, and how sure it was."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seedwise.records.finished import Finished
from seedwise.records.predictions import Files
from seedwise.stats.calibration import log_softmax
from seedwise.stats.confusion import confusion, most_confused


@dataclass(frozen=True)
class Answers:
    """Stored answers on a split, row by row; an image is right as it counts in top-1 (see Predictions.correct)."""

    classes: list[str]
    files: Files | None
    """str[m]: relative to the data's folder, or rows of a table; None in runs of versions that did not keep them."""
    targets: NDArray[np.int64]
    predicted: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    """float64[m, k]."""

    @property
    def right(self) -> NDArray[np.bool_]:
        """bool[m]."""
        return np.asarray(self.predicted == self.targets)

    def table(self) -> list[dict[str, Any]]:
        """A row an image: file (None where it is not known), label, predicted, probability of that, correct."""
        rows = np.arange(len(self.targets))
        columns = zip(self._files(rows), self.targets, self.predicted, self._of(self.predicted), self.right)
        return [
            {
                "file": file,
                "label": self.classes[label],
                "predicted": self.classes[said],
                "probability": float(probability),
                "correct": bool(right),
            }
            for file, label, said, probability, right in columns
        ]

    def errors(self) -> list[dict[str, Any]]:
        """A row a wrong answer, the most confident first: file, given, predicted, and the probability of both."""
        sure, given = self._of(self.predicted), self._of(self.targets)
        wrong = np.flatnonzero(~self.right)
        wrong = wrong[np.argsort(-sure[wrong], kind="stable")]
        return [
            {
                "file": file,
                "given": self.classes[self.targets[row]],
                "predicted": self.classes[self.predicted[row]],
                "probability": float(sure[row]),
                "probability_given": float(given[row]),
            }
            for file, row in zip(self._files(wrong), wrong.tolist())
        ]

    def most_confused(self, count: int) -> list[tuple[str, str, int]]:
        """The most frequent (given class, predicted class, images)."""
        matrix = confusion(self.targets, self.predicted, len(self.classes))
        return [(self.classes[one], self.classes[other], n) for one, other, n in most_confused(matrix, count)]

    def _of(self, classes: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.asarray(self.probabilities[np.arange(len(classes)), classes])

    def _files(self, rows: NDArray[np.int64]) -> list[str | None]:
        return [None] * len(rows) if self.files is None else self.files[rows].tolist()


def read_answers(stored: Finished, split: str) -> Answers:
    """A split's answers: val or test, of the average as val_ema, with test-time augmentation as val_tta.

    A UserError where it has none.
    """
    predictions = stored.predictions(split)
    return Answers(
        classes=stored.data.classes,
        files=predictions.files,
        targets=predictions.targets,
        predicted=predictions.predicted,
        probabilities=np.exp(log_softmax(predictions.logits)),
    )
