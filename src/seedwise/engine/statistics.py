"""Estimates BatchNorm's running statistics anew, for weights that never trained."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from seedwise.base import rng
from seedwise.engine.placement import Placement


def has_statistics(model: nn.Module) -> bool:
    """Whether training would move running statistics of the model; those of frozen stages stay."""
    model.train()
    found = bool(_norms(model))
    model.eval()
    return found


@torch.no_grad()
def estimate_statistics(
    model: nn.Module, batches: Iterable[Tensor], *, placement: Placement, seed: int, rank: int = 0
) -> None:
    """Set the running statistics of BatchNorm to their plain means over the batches, as torch's `update_bn`.

    `batches`: normalized images float32[n, 3, h, w] on the device. The model is in training mode meanwhile, with
    dropout drawn from (seed, "statistics", batch, rank), and in evaluation mode afterwards. Statistics of frozen stages
    stay.
    """
    model.train()
    norms = {norm: norm.momentum for norm in _norms(model)}
    for norm in norms:
        norm.reset_running_stats()
    try:
        for number, images in enumerate(batches, 1):
            for norm in norms:
                norm.momentum = 1 / number
            with rng.ambient, placement.autocast():
                torch.manual_seed(rng.stream_seed(seed, "statistics", number, rank))
                model(placement.images(images))
    finally:
        for norm, momentum in norms.items():
            norm.momentum = momentum
        model.eval()


def _norms(model: nn.Module) -> list[_BatchNorm]:
    """The layers that keep running statistics, of a model in training mode."""
    return [it for it in model.modules() if isinstance(it, _BatchNorm) and it.track_running_stats and it.training]
