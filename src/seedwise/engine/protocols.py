"""Protocols that the engine requires of data, augmentation, meters and observers."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from seedwise.base.batch import Batch
from seedwise.records.run import EpochRow


class Images(Protocol):
    """A set of m labeled images, for instance the training part of a split."""

    @property
    def ids(self) -> NDArray[np.int64]:
        """int64[m]: indices of the images in the data set, stable under any split or limit."""

    @property
    def targets(self) -> NDArray[np.int64]:
        """int64[m]: classes, in [0, k)."""

    @property
    def decoded(self) -> bool:
        """Whether the pixels of all images are there, so that reading them all takes no decoding."""

    def gather(self, positions: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64] | None]:
        """Read positions int64[n] in [0, m): uint8[n, 3, h, w], and (height, width) int64[n, 2] on a shared canvas."""

    def expect(self, positions: NDArray[np.int64]) -> None:
        """Hear that positions int64[n] will be gathered in this order, in place of what was heard before; images that
        aren't decoded yet are begun with."""


class Evaluated(Protocol):
    """Preprocessing for evaluation: stored pixels on the device to a model's input; `sizes` stay on the CPU."""

    def evaluate(self, images: Tensor, sizes: Tensor | None, *, size: int) -> Tensor:
        """Resize and normalize uint8[n, 3, h, w] to float32[n, 3, size, size], the same every time. `sizes`: int64[n,
        2] (height, width) of images on a shared canvas, else None."""


class Meter(Protocol):
    """Counts what techniques do, on the device until the counts are asked for."""

    def effects(self) -> dict[str, dict[str, float]]:
        """Measured effect of each technique so far."""

    def state(self) -> dict[str, Any]:
        """The counts as JSON data, for a checkpoint."""

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue counting from a checkpoint."""


class Augment(Evaluated, Meter, Protocol):
    """Preprocessing for evaluation and for training; `ids` stay on the CPU too."""

    def train(
        self,
        images: Tensor,
        sizes: Tensor | None,
        targets: Tensor,
        ids: NDArray[np.int64],
        *,
        epoch: int,
        size: int,
        strengths: Mapping[str, float] | None = None,
    ) -> Batch:
        """Augment, resize and normalize training images uint8[n, 3, h, w], with targets float32[n, k] and ids int64[n].
        `sizes` as in `evaluate`; `strengths` replace the recipe's."""


class Teacher(Meter, Protocol):
    """Trained networks that say what a batch shows."""

    def __call__(self, images: Tensor, targets: Tensor) -> Tensor:
        """Class probabilities float32[n, k] at the temperature, of normalized images float32[n, 3, h, w]; `targets`
        float32[n, k] are compared for the record."""


class Average(Protocol):
    """A running average of the model's weights, which training never reads."""

    @property
    def at_end(self) -> bool:
        """Whether it is a network only after the last step, once BatchNorm's statistics are estimated for it."""

    @property
    def module(self) -> nn.Module:
        """The model with the averaged weights, in evaluation mode."""

    def update(self, model: nn.Module, step: int) -> None:
        """Update the average from the weights after an optimizer step, counted from 1."""


class Observer:
    """Observes a run without changing it; this one does nothing, and others override what they look at."""

    def on_data(self, lines: Sequence[str]) -> None:
        """The data are open; `lines` describe them, what was passed over, and doubts."""

    def on_start(self, epochs: int, steps_per_epoch: int, steps_done: int) -> None:
        """Training starts or resumes."""

    def on_step(self, epoch: int, step: int, loss: float, top1: float, images_per_second: float) -> None:
        """Steps were made: mean loss and mixed top-1, in [0, 1], of this epoch so far."""

    def on_epoch(self, row: EpochRow, rows: Sequence[EpochRow]) -> None:
        """An epoch ended."""

    def on_phase(self, name: str, done: int, total: int) -> None:
        """Progress of a phase besides training: decoding, evaluation."""
