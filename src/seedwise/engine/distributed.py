"""Several processes that train one model together, as torchrun starts them: who am I, and what do the others say?"""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from seedwise.base import machine


@dataclass(frozen=True)
class World:
    """One process of `size`; alone, every method below is the identity."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files and talks to the user."""
        return self.rank == 0

    def shard(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """This process's part of a step's images; parts differ by one image at most."""
        return np.array_split(positions, self.size)[self.rank]

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        if self.size == 1:
            return flag
        votes = torch.tensor([float(flag)])
        dist.all_reduce(votes, dist.ReduceOp.MAX)
        return bool(votes.item())

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, the same tensor in each."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def all_gather(self, parts: dict[int, Tensor]) -> dict[int, Tensor]:
        """The parts of all processes, the same in each."""
        if self.size == 1:
            return parts
        gathered: list[dict[int, Tensor]] = [{} for _ in range(self.size)]
        dist.all_gather_object(gathered, parts)
        return {key: part for parts in gathered for key, part in parts.items()}

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Give every process the first one's values."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            dist.barrier()

    def ddp(self, model: nn.Module) -> nn.Module:
        """The model whose backward averages gradients over the processes."""
        if self.size == 1:
            return model
        return DistributedDataParallel(model, gradient_as_bucket_view=True)

    def no_sync(self, model: nn.Module, alone: bool) -> AbstractContextManager[None]:
        """While the block lasts, gradients of a `shared` model stay in this process if `alone`."""
        return model.no_sync() if alone and isinstance(model, DistributedDataParallel) else nullcontext()


ALONE = World()
"""The world of a run without torchrun."""


@contextmanager
def joined() -> Iterator[World]:
    """The world that torchrun's environment names, joined while the block lasts; alone without it."""
    if machine.processes() == 1:
        yield ALONE
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend)
    try:
        yield World(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
