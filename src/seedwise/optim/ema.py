"""Exponential moving average of a model's weights; training never reads it."""

import copy
import math

import torch
from torch import Tensor, nn

from seedwise.base.errors import UserError, first_sentence
from seedwise.optim.config import EmaConfig


class Ema:
    """Holds the averaged copy of a model; its tensors are all its state, since the decay follows from the step."""

    at_end = False

    def __init__(self, config: EmaConfig, model: nn.Module) -> None:
        self._config = config
        self.module = averaged_copy(model, "optim.ema")

    def decay_at(self, step: int) -> float:
        """Decay d in (0, 1) at optimizer step `step`, counted from 1."""
        return min(self._config.decay, (1 + step) / (10 + step)) if self._config.warmup else self._config.decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Update the average from the model's weights after optimizer step `step`, counted from 1."""
        averages, values = [], []
        for average, value in zip(tensors(self.module), tensors(model), strict=True):
            if average.is_floating_point():
                averages.append(average)
                values.append(value)
            else:
                average.copy_(value)
        torch._foreach_lerp_(averages, values, weight=1.0 - self.decay_at(step))


def averaged_copy(model: nn.Module, option: str) -> nn.Module:
    """Copy a model to hold an average of its weights; a UserError that names the option for one that can't be."""
    try:
        return copy.deepcopy(model).eval().requires_grad_(False)
    except Exception as error:  # a user's own network may hold what can't be copied
        raise UserError(
            f"{option}: the network can't be copied ({first_sentence(error)}); set {option} to null"
        ) from error


@torch.no_grad()
def relative_distance(average: nn.Module, model: nn.Module) -> float:
    """L2 norm of (average - weights) over that of the weights, across all parameters."""
    pairs = list(zip(average.parameters(), model.parameters(), strict=True))
    apart = math.fsum(float((_exact(mine) - _exact(value)).square().sum()) for mine, value in pairs)
    size = math.fsum(float(_exact(value).square().sum()) for _, value in pairs)
    return math.sqrt(apart / size) if size > 0 else 0.0


def _exact(weights: Tensor) -> Tensor:
    """The weights in float64 on the CPU: MPS has none."""
    return weights.cpu().double()


def tensors(model: nn.Module) -> list[Tensor]:
    """List every parameter and buffer, each once even if layers share it."""
    return [*model.parameters(), *model.buffers()]
