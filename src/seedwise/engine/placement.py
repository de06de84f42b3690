"""Where tensors live and in which form they are computed: device, memory layout, precision."""

from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seedwise.recipe import ComputeConfig


@dataclass(frozen=True)
class Placement:
    """A resolved compute section as torch wants it."""

    device: torch.device
    bf16: bool
    channels_last: bool

    @classmethod
    def of(cls, compute: ComputeConfig) -> "Placement":
        """The placement of a resolved section (no `auto` left)."""
        return cls(torch.device(compute.device), compute.precision == "bf16", compute.channels_last is True)

    def autocast(self) -> AbstractContextManager[None]:
        """bf16 autocast, or nothing for fp32."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def module(self, module: nn.Module) -> nn.Module:
        """The module on the device, its weights in the memory layout."""
        return module.to(self.device, memory_format=torch.channels_last if self.channels_last else None)

    def images(self, images: Tensor) -> Tensor:
        """Images on the device in the memory layout."""
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        return images.contiguous(memory_format=layout)

    def tensor(self, array: NDArray[np.generic] | None) -> Tensor | None:
        """A NumPy array as a tensor on the device."""
        return None if array is None else torch.from_numpy(array).to(self.device, non_blocking=True)
