"""Where tensors live and in which form they are computed: device, memory layout, precision."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seedwise import machine
from seedwise.recipe import ComputeConfig


@dataclass(frozen=True)
class Placement:
    """A resolved compute section as torch wants it."""

    device: torch.device
    bf16: bool
    channels_last: bool

    @classmethod
    def of(cls, compute: ComputeConfig) -> "Placement":
        """The placement of a resolved section (no `auto` left); under torchrun `cuda` is this process's own device."""
        device = torch.device(compute.device)
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", machine.local_rank())
        return cls(device, compute.precision == "bf16", compute.channels_last is True)

    def autocast(self) -> AbstractContextManager[None]:
        """bf16 autocast, or nothing for fp32."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def module(self, module: nn.Module) -> nn.Module:
        """The module on the device, its weights in the memory layout."""
        module = module.to(self.device)
        return module.to(memory_format=torch.channels_last) if self.channels_last else module

    def images(self, images: Tensor) -> Tensor:
        """Images on the device in the memory layout."""
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        return images.contiguous(memory_format=layout)

    def tensor(self, array: NDArray[np.generic]) -> Tensor:
        """A NumPy array as a tensor on the device."""
        return torch.from_numpy(array).to(self.device)


@contextmanager
def computing_threads(count: int) -> Iterator[None]:
    """Compute with this many CPU threads, and give the caller's number back."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
