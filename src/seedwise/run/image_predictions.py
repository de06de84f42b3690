"""Stored predictions image by image, with files and probabilities: which are wrong, and how confident."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seedwise.records.finished import Finished
from seedwise.records.predictions import Files
from seedwise.stats.calibration import log_softmax
from seedwise.stats.confusion import confusion, most_confused


@dataclass(frozen=True)
class ImagePredictions:
    """Stored predictions on the m images of a split; right is what `Predictions.correct` says."""

    classes: list[str]
    files: Files | None
    """str[m]: relative to the data's folder, or rows of a table; None in runs of versions that did not store them."""
    targets: NDArray[np.int64]
    """int64[m]: given classes."""
    predicted: NDArray[np.int64]
    """int64[m]: predicted classes."""
    probabilities: NDArray[np.float64]
    """float64[m, k]: class probabilities."""

    @property
    def right(self) -> NDArray[np.bool_]:
        """bool[m]: whether each prediction is right."""
        return np.asarray(self.predicted == self.targets)

    def table(self) -> list[dict[str, Any]]:
        """A row for each image: file (None where unknown), label, predicted class and its probability, correct."""
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
        """A row for each error, the most confident first: file, given and predicted class, and both probabilities."""
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
        """The most frequent errors as (given class, predicted class, images)."""
        matrix = confusion(self.targets, self.predicted, len(self.classes))
        return [(self.classes[one], self.classes[other], n) for one, other, n in most_confused(matrix, count)]

    def _of(self, classes: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.asarray(self.probabilities[np.arange(len(classes)), classes])

    def _files(self, rows: NDArray[np.int64]) -> list[str | None]:
        return [None] * len(rows) if self.files is None else self.files[rows].tolist()


def read_image_predictions(stored: Finished, split: str) -> ImagePredictions:
    """Read the predictions on a split: val or test, with the suffix _ema of averaged weights, _tta with augmentation.

    A UserError where none are stored.
    """
    predictions = stored.predictions(split)
    return ImagePredictions(
        classes=stored.data.classes,
        files=predictions.files,
        targets=predictions.targets,
        predicted=predictions.predicted,
        probabilities=np.exp(log_softmax(predictions.logits)),
    )
