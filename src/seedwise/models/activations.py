"""Activations that work in place, where that spares nothing."""

import torch
from torch import Tensor, nn

ACTIVATIONS = (nn.modules.activation.__name__, "timm.layers.activations", "timm.layers.activations_me")
"""Modules of Python whose layers are activations: functions of each number, without draws."""


def spare_clones(module: nn.Module) -> None:
    """Take activations out of place where autograd would clone their input, such as SiLU's; ReLU needs its output only.

    In place these cost a copy of their maps in every step of training, and spare no memory. Values and gradients are
    the same bits.
    """
    for layer in module.modules():
        if type(layer).__module__ in ACTIVATIONS and getattr(layer, "inplace", False) and _clones(layer):
            vars(layer)["inplace"] = False


def _clones(activation: nn.Module) -> bool:
    """Whether autograd keeps something else than the result."""
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = activation(torch.ones(1, requires_grad=True).clone())
    return any(tensor.data_ptr() != result.data_ptr() for tensor in kept)
