"""Parameter groups: learning rate and weight decay of each parameter."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from typing import Any

import torch
from torch import nn

from seedwise.base.errors import UserError
from seedwise.optim.config import Muon, OptimConfig
from seedwise.optim.muon import matrices, muon_effects

Group = dict[str, Any]
"""A parameter group as torch's optimizers take it; `lr_scale`, if it has one, is for `set_lr`, `matrices` for Muon."""


def parameter_groups(config: OptimConfig, model: nn.Module, head: Sequence[str]) -> list[Group]:
    """Group the trainable parameters by learning rate and weight decay; one group when the recipe asks for none.

    `head`: names of the submodules that `head_lr` is for. The order is that in which the model names the first
    parameter of each group, so that the same recipe finds its checkpoint's state again. A UserError when the model
    doesn't say what its layers or its head are.
    """
    counts = matrices(model, head) if isinstance(config.algorithm, Muon) else {}
    if not counts and config.head_lr is None and config.layer_decay == 1 and config.decay_norms_and_biases:
        return [{"params": [parameter for _, parameter in _trainable(model)]}]
    if config.head_lr is not None and not head:
        raise UserError(
            "optim.head_lr: the network doesn't name its classifier layer; "
            "give it timm's pretrained_cfg with 'classifier', or set optim.head_lr to null"
        )
    exempt = set() if config.decay_norms_and_biases else _without_decay(model)
    groups: dict[tuple[float, bool, int], Group] = {}
    scales = _layer_scales(config, model)
    for name, parameter in _trainable(model):
        scale = config.head_lr / config.lr if config.head_lr is not None and _is_in(name, head) else scales[name]
        decays, count = name not in exempt, counts.get(name, 0)
        scale *= _matrix_scale(config, count)
        fresh = {"params": [], "lr_scale": scale, "weight_decay": config.weight_decay if decays else 0.0}
        fresh |= {"matrices": count} if counts else {}
        groups.setdefault((scale, decays, count), fresh)["params"].append(parameter)
    return list(groups.values())


def group_effects(
    config: OptimConfig, model: nn.Module, head: Sequence[str], optimizer: torch.optim.Optimizer
) -> dict[str, dict[str, float]]:
    """Measure the optimizer's real groups, by the option that asked for them; nothing for options at their default."""
    group_of = {id(parameter): group for group in optimizer.param_groups for parameter in group["params"]}
    named = [(name, p.numel(), group_of[id(p)]) for name, p in _trainable(model)]
    effects: dict[str, dict[str, float]] = {}
    if config.head_lr is not None:
        inside = [(count, group) for name, count, group in named if _is_in(name, head)]
        effects["head_lr"] = {"parameters": sum(n for n, _ in inside), "scale": inside[0][1]["lr_scale"]}
    if config.layer_decay != 1:
        others = config.head_lr is not None
        scales = {
            group["lr_scale"] / _matrix_scale(config, group.get("matrices", 0))
            for name, _, group in named
            if not (others and _is_in(name, head))
        }
        effects["layer_decay"] = {"layers": len(scales), "least_scale": min(scales, default=1.0)}
    if not config.decay_norms_and_biases:
        decays = config.weight_decay > 0  # else there is nothing to leave them out of
        free = [count for _, count, group in named if decays and group["weight_decay"] == 0]
        effects["decay_norms_and_biases"] = {"tensors_excluded": len(free), "parameters_excluded": sum(free)}
    if isinstance(config.algorithm, Muon):
        effects["muon"] = muon_effects(optimizer)
    return effects


def _matrix_scale(config: OptimConfig, count: int) -> float:
    """Rate of a parameter of `count` matrices for Muon, none for all others, relative to what it is under AdamW."""
    own = config.algorithm.matrix_lr if isinstance(config.algorithm, Muon) and count else None
    return 1.0 if own is None else own / config.lr


def _trainable(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]


def _is_in(name: str, modules: Iterable[str]) -> bool:
    return name.startswith(tuple(f"{module}." for module in modules))


def _without_decay(model: nn.Module) -> set[str]:
    """Parameters that timm excludes from decay: of one dimension, biases, and those that the model itself names."""
    own = getattr(model, "no_weight_decay", None)
    patterns: Iterable[str] = own() if callable(own) else ()
    return {
        name
        for name, parameter in model.named_parameters()
        if parameter.ndim <= 1 or name.endswith(".bias") or any(fnmatch(name, pattern) for pattern in patterns)
    }


def _layer_scales(config: OptimConfig, model: nn.Module) -> dict[str, float]:
    """layer_decay^(distance from the last layer) for each parameter, layers counted as timm does."""
    names = [name for name, _ in model.named_parameters()]
    if config.layer_decay == 1:
        return dict.fromkeys(names, 1.0)
    matcher = getattr(model, "group_matcher", None)
    if not callable(matcher):
        raise UserError(
            "optim.layer_decay: the network doesn't say what its layers are (it has no group_matcher, as timm's "
            "models have); give it one, or set optim.layer_decay to 1"
        )
    from timm.models import group_parameters

    layer_of: dict[str, int] = group_parameters(model, matcher(coarse=False), reverse=True)
    last = max(layer_of.values())
    return {name: config.layer_decay ** (last - layer_of.get(name, last)) for name in names}
