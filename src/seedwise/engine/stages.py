"""Applies stages of progressive learning: the classifier's dropout, and the counts of each stage in an epoch."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from seedwise.base.errors import UserError
from seedwise.models.dropout_meter import dropout_places
from seedwise.recipe.progressive import PlannedStage


class Dropout:
    """The classifier's dropout of a network, wherever it is: timm's `drop_rate`, or Dropout layers.

    Found by its value: the places with exactly the rate that the network was built with. Stochastic depth and layers
    with a rate of their own stay as they are.
    """

    def __init__(self, model: nn.Module, rate: float) -> None:
        """`rate`, in (0, 1): what the network was built with; a UserError if it is nowhere in it."""
        self._layers, self._attributes = dropout_places(model, rate)
        if not self._layers and not self._attributes:
            raise UserError(
                f"progressive: stages set a dropout, and the network has none of model.dropout ({rate:g}) to change; "
                "give stages without dropout"
            )

    def set(self, rate: float) -> None:
        """Set the probability, in [0, 1), with which features are dropped from now on."""
        for layer in self._layers:
            layer.p = rate
        for module in self._attributes:
            module.drop_rate = rate  # type: ignore[assignment]


def dropout_of(model: nn.Module, built_with: float, stages: Sequence[PlannedStage]) -> Dropout | None:
    """The network's dropout if some stage changes it."""
    return Dropout(model, built_with) if any(s.dropout not in (None, built_with) for s in stages) else None


def note_batch(parts: list[dict[str, Any]], stage: PlannedStage, image_size: int, images: int) -> None:
    """Add a step's images, with the side in pixels that they were trained at, to an epoch's parts (as StagePart)."""
    if not parts or (parts[-1]["stage"], parts[-1]["image_size"]) != (stage.number, image_size):
        parts.append({"stage": stage.number, "image_size": image_size, "images": 0, "seconds": 0.0})
    parts[-1]["images"] += images
