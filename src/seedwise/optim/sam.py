"""Sharpness-aware minimization: the move to the worst weights nearby, and back."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from seedwise.base.running_sums import RunningSums
from seedwise.optim.config import SamConfig


class Sam:
    """Moves a model's weights along its gradient for a second pass, and counts how much the loss rises there."""

    def __init__(self, config: SamConfig) -> None:
        self._rho = config.rho
        self._images, self._rise = 0, RunningSums()

    @contextmanager
    def moved(self, model: nn.Module) -> Iterator[None]:
        """Weights moved by rho * g / ||g|| during the block, with fresh gradients; back at its end, with its gradients.

        BatchNorm's running statistics, all buffers, are put back too.
        """
        moving = [(weight, weight.grad) for weight in model.parameters() if weight.grad is not None]
        kept = [weight.detach().clone() for weight, _ in moving]
        buffers = [buffer.clone() for buffer in model.buffers()]
        with torch.no_grad():
            norm = nn.utils.get_total_norm([gradient for _, gradient in moving])
            factor = self._rho / norm.clamp(min=torch.finfo(norm.dtype).tiny)
            for weight, gradient in moving:
                weight.add_(gradient * factor.to(weight.device))
                weight.grad = None
        try:
            yield
        finally:
            with torch.no_grad():
                for (weight, _), value in zip(moving, kept, strict=True):
                    weight.copy_(value)
                for buffer, value in zip(model.buffers(), buffers, strict=True):
                    buffer.copy_(value)

    def count(self, images: int, rise: Tensor) -> None:
        """Add a step: its number of images, and by how much the summed loss rose, a scalar on the device."""
        self._images += images
        self._rise.add(rise.nan_to_num(0.0))  # an overflow in fp16, whose step is skipped

    def effects(self) -> dict[str, dict[str, float]]:
        """Images so far, and the mean rise of an image's loss between the weights and the moved ones."""
        return {"sam": {"images": float(self._images), "loss_rise": self._rise.read()[0] / max(self._images, 1)}}

    def state(self) -> dict[str, Any]:
        """The counts, for a checkpoint."""
        return {"images": self._images, "rise": self._rise.read()[0]}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on counting from a checkpoint."""
        self._images = int(state["images"])
        self._rise.load([float(state["rise"])])
