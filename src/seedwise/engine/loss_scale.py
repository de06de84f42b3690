"""Scales the loss in half precision, so that small gradients don't vanish, and skips the steps that overflow."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp import GradScaler

from seedwise.base.running_sums import RunningSums


class LossScale:
    """torch's GradScaler, with what it did for the record and for a checkpoint.

    The loss is multiplied by a scale, and the gradients are divided by it before they are clipped and used. Where one
    is not finite, the optimizer makes no step and the scale is halved; after 2,000 good steps it is doubled. Nothing
    waits for the device with PyTorch's fused optimizers; others (Muon) ask it once a step. Source: Micikevicius et al.
    2018 (arXiv 1710.03740), section 3.2.
    """

    def __init__(self, device: torch.device) -> None:
        self._scaler = GradScaler(device.type)
        self._one = torch.ones((), device=device)
        self._skipped = RunningSums()

    def scaled(self, loss: Tensor) -> Tensor:
        """The loss, a scalar, times the scale."""
        scaled: Tensor = self._scaler.scale(loss)
        return scaled

    def step(self, optimizer: torch.optim.Optimizer, clipped: Sequence[nn.Parameter], clip_norm: float | None) -> None:
        """Divide the gradients by the scale, clip their norm if one is given, make the step unless they overflowed."""
        if clip_norm is not None:
            self._scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(clipped, clip_norm)
        self._scaler.step(optimizer)
        before = self._scaler.scale(self._one)
        self._scaler.update()
        self._skipped.add((self._scaler.scale(self._one) < before).float())  # it shrinks by no other cause

    def effects(self) -> dict[str, dict[str, float]]:
        """The scale now, and the optimizer steps that were skipped."""
        return {"loss_scale": {"scale": self._scaler.get_scale(), "skipped_steps": self._skipped.read()[0]}}

    def state(self) -> dict[str, Any]:
        """Scale and counts, for a checkpoint."""
        return {"scaler": self._scaler.state_dict(), "skipped": self._skipped.read()[0]}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._scaler.load_state_dict(state["scaler"])
        self._skipped.load([float(state["skipped"])])
