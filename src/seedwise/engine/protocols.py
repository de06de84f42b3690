"""What the engine asks of data, augmentation and onlookers."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from seedwise.base.batch import Batch
from seedwise.records.run import EpochRow


class Images(Protocol):
    """A set of labeled images, for instance the training part of a split."""

    @property
    def ids(self) -> NDArray[np.int64]:
        """int64[m]: the images' numbers in the data set, stable under any split or limit."""

    @property
    def targets(self) -> NDArray[np.int64]:
        """int64[m]: class numbers."""

    def gather(self, positions: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64] | None]:
        """The images at these positions in 0..m-1: uint8[n, 3, h, w], and their sizes when they share a canvas."""


class Evaluated(Protocol):
    """From stored pixels, on the device, to the input of a model that is evaluated; `sizes` stay on the CPU."""

    def evaluate(self, images: Tensor, sizes: Tensor | None, *, size: int) -> Tensor:
        """Resized and normalized images, the same every time."""


class Augment(Evaluated, Protocol):
    """As Evaluated, and to the input of one that is trained; `ids` stay on the CPU too."""

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
        """Augmented, resized and normalized training images with their targets; `strengths` replace the recipe's."""

    def effects(self) -> dict[str, dict[str, float]]:
        """What each technique measurably did so far."""

    def state(self) -> dict[str, Any]:
        """The measured effects as JSON, for a checkpoint."""

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue measuring from a checkpoint."""


class Meter(Protocol):
    """Counts what something in the model did, and keeps the counts on the device until they are asked for."""

    def effects(self) -> dict[str, dict[str, float]]:
        """What each technique measurably did so far."""

    def state(self) -> dict[str, Any]:
        """The counts as JSON, for a checkpoint."""

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue counting from a checkpoint."""


class Average(Protocol):
    """A running average of the model's weights, which training never sees."""

    @property
    def module(self) -> nn.Module:
        """The model with the averaged weights, in evaluation mode."""

    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after an optimizer step, counted from 1."""


class Observer(Protocol):
    """Watches a run; changes nothing."""

    def on_data(self, lines: Sequence[str]) -> None:
        """The data are open: what will be trained on, what was passed over, and what is doubtful about it."""

    def on_start(self, epochs: int, steps_per_epoch: int, steps_done: int) -> None:
        """Training starts or resumes."""

    def on_step(self, epoch: int, step: int, loss: float, top1: float, images_per_second: float) -> None:
        """Some steps were made: mean loss and mixed top-1 of this epoch so far."""

    def on_epoch(self, row: EpochRow, rows: Sequence[EpochRow]) -> None:
        """An epoch ended."""

    def on_phase(self, name: str, done: int, total: int) -> None:
        """Something besides training moves on: decoding, evaluation."""


class Silent:
    """The observer that shows nothing."""

    def on_data(self, lines: Sequence[str]) -> None:
        """Show nothing."""

    def on_start(self, epochs: int, steps_per_epoch: int, steps_done: int) -> None:
        """Show nothing."""

    def on_step(self, epoch: int, step: int, loss: float, top1: float, images_per_second: float) -> None:
        """Show nothing."""

    def on_epoch(self, row: EpochRow, rows: Sequence[EpochRow]) -> None:
        """Show nothing."""

    def on_phase(self, name: str, done: int, total: int) -> None:
        """Show nothing."""
