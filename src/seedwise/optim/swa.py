"""Stochastic weight averaging: the mean of the weights along the last part of a training, which never reads it."""

import torch
from torch import Tensor, nn

from seedwise.optim.config import SwaConfig
from seedwise.optim.ema import averaged_copy
from seedwise.optim.schedules import swa_start


class Swa:
    """Holds the mean of the weights so far; its tensors are all its state, since their number follows from the step."""

    at_end = True

    def __init__(self, config: SwaConfig, model: nn.Module, *, steps_per_epoch: int, total_steps: int) -> None:
        self.module = averaged_copy(model, "optim.swa")
        self._every = steps_per_epoch if config.every == "epoch" else config.every
        start = max(1, swa_start(config, total_steps))
        self._first = total_steps - (total_steps - start) // self._every * self._every

    def averaged(self, step: int) -> int:
        """Number of sets of weights in the mean after optimizer step `step`, counted from 1: the last step's is one."""
        return 0 if step < self._first else (step - self._first) // self._every + 1

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take the model's weights after step `step`, counted from 1, into the mean if they are due.

        Buffers are copied; BatchNorm's have to be estimated anew for the mean.
        """
        count = self.averaged(step)
        if count == self.averaged(step - 1):
            return
        means: list[Tensor] = list(self.module.parameters())
        weights: list[Tensor] = list(model.parameters())
        if count == 1:
            torch._foreach_copy_(means, weights)
        else:
            torch._foreach_lerp_(means, weights, weight=1 / count)
        for copied, value in zip(self.module.buffers(), model.buffers(), strict=True):
            copied.copy_(value)
