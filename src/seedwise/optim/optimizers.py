"""Optimizers by configuration."""

from collections.abc import Iterable

import torch
from torch import nn

from seedwise.optim.config import AdamW, OptimConfig


def build_optimizer(config: OptimConfig, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer over these parameters at its peak rate; `set_lr` moves the rate before each step."""
    algorithm = config.algorithm
    if isinstance(algorithm, AdamW):
        return torch.optim.AdamW(
            parameters,
            lr=config.lr,
            betas=algorithm.betas,
            eps=algorithm.eps,
            weight_decay=config.weight_decay,
            fused=True,
        )
    return torch.optim.SGD(
        parameters,
        lr=config.lr,
        momentum=algorithm.momentum,
        nesterov=algorithm.nesterov,
        weight_decay=config.weight_decay,
        fused=True,
    )


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = lr
