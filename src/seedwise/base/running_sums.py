"""Sums of what a device computes, for a run's record."""

import torch
from torch import Tensor


class RunningSums:
    """Adds numbers up in float64, in the order in which they came.

    What is on another device than the CPU stays there until somebody reads, so that no step waits for it; and it is
    added on the CPU, since MPS has no float64.
    """

    def __init__(self, count: int = 1) -> None:
        """`count`: how many sums are kept side by side."""
        self._sums = torch.zeros(count, dtype=torch.float64)
        self._waiting: list[Tensor] = []

    def add(self, values: Tensor) -> None:
        """Add float[count] (or a scalar) to the sums."""
        if values.device.type == "cpu":
            self._sums += values
        else:
            self._waiting.append(values.detach().reshape(-1))

    def read(self) -> list[float]:
        """The sums so far."""
        if self._waiting:
            for row in torch.stack(self._waiting).cpu():
                self._sums += row
            self._waiting.clear()
        found: list[float] = self._sums.tolist()
        return found

    def load(self, sums: list[float]) -> None:
        """Go on from sums that were read."""
        self._sums = torch.tensor(sums, dtype=torch.float64)
        self._waiting.clear()
