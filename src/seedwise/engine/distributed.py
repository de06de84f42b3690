"""Several processes that train one model together, started by torchrun: their ranks and collective operations."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from seedwise.base import devices, machine


@dataclass(frozen=True)
class World:
    """One process of `size`; with a single process every method is the identity."""

    rank: int = 0
    """Number of this process, in [0, size)."""
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is process 0, which writes the files and prints."""
        return self.rank == 0

    def shard(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """This process's part of a step's images, int64[n] positions; parts differ by at most one image."""
        return np.array_split(positions, self.size)[self.rank]

    def any(self, *flags: bool) -> list[bool]:
        """Whether each of the flags is set in any process."""
        if self.size == 1:
            return list(flags)
        votes = torch.tensor([float(flag) for flag in flags])
        dist.all_reduce(votes, dist.ReduceOp.MAX)
        return [vote > 0 for vote in votes.tolist()]

    def sum(self, values: Tensor) -> Tensor:
        """Sum a tensor of any shape over all processes (all-reduce)."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def all_gather(self, parts: dict[int, Tensor]) -> dict[int, Tensor]:
        """Gather tensors of any shape from all processes, by key, in each of them."""
        if self.size == 1:
            return parts
        gathered: list[dict[int, Tensor]] = [{} for _ in range(self.size)]
        dist.all_gather_object(gathered, parts)
        return {key: part for parts in gathered for key, part in parts.items()}

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite tensors of any shape with those of process 0."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def wait(self) -> None:
        """Wait for all processes (barrier)."""
        if self.size > 1:
            dist.barrier()

    def ddp(self, model: nn.Module) -> nn.Module:
        """Wrap the model in DistributedDataParallel, which averages gradients over the processes."""
        if self.size == 1:
            return model
        return DistributedDataParallel(model, gradient_as_bucket_view=True)

    def no_sync(self, model: nn.Module, enabled: bool) -> AbstractContextManager[None]:
        """Don't average gradients of a `ddp` model during the block, if `alone`."""
        return model.no_sync() if enabled and isinstance(model, DistributedDataParallel) else nullcontext()


SINGLE_PROCESS = World()
"""The single process of a run without torchrun."""


@contextmanager
def joined() -> Iterator[World]:
    """Join the process group that torchrun's environment describes for the block; a single process without it."""
    if machine.processes() == 1:
        yield SINGLE_PROCESS
        return
    backend = "cpu:gloo,cuda:nccl" if devices.gpus() else "gloo"
    dist.init_process_group(backend)
    try:
        yield World(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
