"""Placement of tensors: device, memory layout, precision, and CPU threads."""

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seedwise.base import devices, machine
from seedwise.recipe.schema import ComputeConfig

HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""The types of half precision, by `compute.precision`."""
POLL_SECONDS = 0.2
"""Seconds between two checks, while waiting for a turn, of whether to go on waiting."""

log = logging.getLogger("seedwise")


@dataclass(frozen=True)
class Placement:
    """Device, precision and memory layout of a run, as torch takes them."""

    device: torch.device
    precision: str
    """As `compute.precision`, without `auto`."""
    channels_last: bool

    @classmethod
    def of(cls, compute: ComputeConfig) -> "Placement":
        """The placement of a resolved section (no `auto` left); under torchrun `cuda` is this process's own device."""
        device = torch.device(compute.device)
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", machine.local_rank())
        return cls(device, compute.precision, compute.channels_last is True)

    def autocast(self) -> AbstractContextManager[None]:
        """A context of autocast to bf16 or fp16, or one without effect for float32."""
        half = HALVES.get(self.precision)
        return torch.autocast(self.device.type, half or torch.bfloat16, enabled=half is not None)

    def module(self, module: nn.Module) -> nn.Module:
        """Move a module to the device, its weights in the memory layout."""
        module = module.to(self.device)
        return module.to(memory_format=torch.channels_last) if self.channels_last else module

    def images(self, images: Tensor) -> Tensor:
        """Move images [n, c, h, w] to the device, in the memory layout."""
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        return images.contiguous(memory_format=layout)

    def tensor(self, array: NDArray[np.generic]) -> Tensor:
        """Copy a NumPy array of any shape to a tensor on the device, which nothing waits for."""
        return devices.to_device(torch.from_numpy(array), self.device)

    def tensors(self, *arrays: NDArray[np.generic]) -> list[Tensor]:
        """Copy NumPy arrays as `tensor` does, to CUDA all in one copy."""
        return devices.to_device_together([torch.from_numpy(array) for array in arrays], self.device)


class _Turn:
    """A lock on computing in this process, and what holds it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.of = ""


_turn = _Turn()
if hasattr(os, "register_at_fork"):  # the other threads don't exist there; Windows has no fork
    os.register_at_fork(after_in_child=_turn.__init__)  # type: ignore[misc]


@contextmanager
def computing(
    compute: ComputeConfig, what: str = "another computation", waiting: Callable[[str, int, int], None] | None = None
) -> Iterator[None]:
    """Compute with a resolved section's CPU threads and arithmetic during the block, alone in this process, and restore
    the caller's.

    These settings are the process's, not a Python thread's, and decide the last bits; kernels and train.log are the
    process's too. So trainings and evaluations in several Python threads take turns, and each has the bits that
    it has alone. Waiting rather than refusing: a pool of threads over seeds then does what was meant by it, and loses
    nothing, since a training uses all cores anyway. `what`: for those who wait; `waiting`: a phase's progress, which
    may raise to give up. The same Python thread may compute within a computation, as an observer does.
    """
    told = False
    while not _turn.lock.acquire(timeout=POLL_SECONDS):
        if not told:
            log.warning("%s waits for %s in another thread of this process", what, _turn.of)
        told = True
        if waiting is not None:
            waiting(f"waiting for {_turn.of}; turns", 0, 1)
    outer, _turn.of = _turn.of, what
    before = torch.get_num_threads()
    torch.set_num_threads(int(compute.threads))
    tf32, deterministic = compute.precision == "tf32", compute.deterministic
    try:
        with devices.arithmetic(compute.device, tf32=tf32, deterministic=deterministic):
            yield
    finally:
        torch.set_num_threads(before)
        _turn.of = outer
        _turn.lock.release()
