"""Builds optimizers from their configuration."""

from collections.abc import Iterable

import torch
from torch import nn

from seedwise.optim.config import AdamW, Muon, OptimConfig
from seedwise.optim.groups import Group
from seedwise.optim.muon import MuonWithAdamW


def build_optimizer(config: OptimConfig, parameters: Iterable[nn.Parameter] | Iterable[Group]) -> torch.optim.Optimizer:
    """Build the optimizer over parameters or groups of them; `set_lr` sets its rate before each step."""
    algorithm = config.algorithm
    if isinstance(algorithm, Muon):
        return MuonWithAdamW(algorithm, parameters, lr=config.lr, weight_decay=config.weight_decay)
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
    """Set the learning rate of every parameter group: `lr` times the group's own `lr_scale` if it has one."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)
