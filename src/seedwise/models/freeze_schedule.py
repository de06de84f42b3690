"""Freezes and unfreezes a network's first stages while it trains."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from seedwise.kernels.swap import Kernels, accelerate, chosen, restore
from seedwise.models.config import ModelConfig
from seedwise.models.freezing import freeze, freeze_effects, frozen_stages, thaw


class FreezeSchedule:
    """Sets how many stages of a network are frozen, and counts the steps that it has trained with how many.

    The optimizer holds all that is ever trained, and steps over what has no gradient; what is frozen loses its state
    there. So what is unfrozen starts with a fresh one, and groups stay as they are.
    """

    def __init__(
        self,
        config: ModelConfig,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        head: Sequence[str],
        image_size: int,
        kernels: Kernels,
    ) -> None:
        """`model`: with its kernels, the recipe's, and with the schedule's least number of frozen stages; `optimizer`:
        of all that trains then; `head`, `image_size`: as in `freeze`."""
        self._config, self._model, self._optimizer = config, model, optimizer
        self._head, self._image_size = head, image_size
        self._kernels: Kernels = kernels
        self._parts: list[list[int]] = []
        self._at_first: dict[str, dict[str, float]] = {}

    def starts(self, total: int) -> list[int]:
        """The optimizer steps, from 0, at which each change comes, of `total` steps."""
        return [math.floor(change.after * total + 0.5) for change in self._config.freeze_schedule]

    def at(self, step: int, total: int) -> int:
        """How many stages are frozen in step `step`, from 0, of `total`."""
        count = self._config.freeze
        for start, change in zip(self.starts(total), self._config.freeze_schedule, strict=True):
            if start <= step:
                count = change.freeze
        return count

    def last_unfreezing(self, steps: int, total: int) -> int:
        """The last step before `steps` of `total` at which a stage was unfrozen; 0 without one."""
        starts = [start for start in self.starts(total) if 0 < start < steps]
        return max((start for start in starts if self.at(start, total) < self.at(start - 1, total)), default=0)

    def set(self, count: int) -> bool:
        """Freeze the first `count` stages and no others, with the weights that they have; whether that is a change.

        Kernels are chosen anew, those that a run's record knows as they were.
        """
        if frozen_stages(self._model) == count:
            return False
        known = chosen(self._model)
        thaw(self._model)
        restore(self._model)
        freeze(self._model, count, self._head, self._image_size)
        accelerate(self._model, self._kernels, known)
        _match(self._optimizer)
        return True

    def count(self) -> None:
        """Count a step with the stages that are frozen now."""
        count = frozen_stages(self._model)
        if not self._parts:
            self._at_first = freeze_effects(self._model)
        if not self._parts or self._parts[-1][0] != count:
            self._parts.append([count, 0])
        self._parts[-1][1] += 1

    def effects(self) -> dict[str, dict[str, float]]:
        """The number of changes so far, and of steps with each number of frozen stages; beside it what was frozen in
        the first step, as `freeze_effects`."""
        steps: dict[str, float] = {}
        for count, made in self._parts:
            steps[f"steps_frozen_{count}"] = steps.get(f"steps_frozen_{count}", 0) + made
        return {**self._at_first, "freeze_schedule": {"changes": max(0, len(self._parts) - 1), **steps}}

    def state(self) -> dict[str, Any]:
        """The counts, for a checkpoint."""
        return {"parts": self._parts, "at_first": self._at_first}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on counting from a checkpoint."""
        self._parts = [[int(count), int(made)] for count, made in state["parts"]]
        self._at_first = {
            str(name): {str(key): float(value) for key, value in values.items()}
            for name, values in state["at_first"].items()
        }


def _match(optimizer: torch.optim.Optimizer) -> None:
    """Drop gradients, and the state of what is frozen."""
    optimizer.zero_grad(set_to_none=True)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for parameter in parameters:
        if not parameter.requires_grad:
            optimizer.state.pop(parameter, None)
    if isinstance(optimizer, torch.optim.SGD) and any(optimizer.state.get(parameter) for parameter in parameters):
        # torch's fused SGD takes momentum for all or for none; from zeros it gives what it begins with
        for parameter in parameters:
            if parameter.requires_grad and not optimizer.state.get(parameter) and optimizer.defaults["momentum"]:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
