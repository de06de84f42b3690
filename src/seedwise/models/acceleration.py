"""Layers that train faster on a CPU, swapped into a network by class: parameters and names stay.

What is evaluated is a copy of the network with kernels of its own (`fast_copy`).
"""

from collections.abc import Mapping
from typing import Literal

from torch import nn

from seedwise import native
from seedwise.models import depthwise, norm_act, pointwise, squeeze, winograd
from seedwise.models.chain import use_chains
from seedwise.models.choices import Choices, Tuned
from seedwise.models.frozen_prefix import use_fast_prefix
from seedwise.models.inverted_residual import use_joint_middles
from seedwise.models.rule import NATIVE_KERNELS
from seedwise.models.squeeze_excite import use_fused_squeeze_excite

Kernels = Literal["auto", "stock", "composed", "native", "tuned"]
"""As in a recipe's compute section; `auto` is resolved before a network is built."""


def available() -> bool:
    """Whether the native kernels are compiled, or can be: unless they were installed, the first call takes a while."""
    native.prepare()
    return all(part.available() for part in (depthwise, norm_act, squeeze, winograd))


def version() -> str | None:
    """What the native kernels' bits depend on besides PyTorch: compilers and text; None without them."""
    if not available():
        return None
    parts = depthwise, norm_act, pointwise, squeeze, winograd
    compilers = {str(native.builder_of(part.kernels.library())) for part in parts}
    return ", ".join((*sorted(compilers), *(str(part.library_name()) for part in parts)))


def accelerate(model: nn.Module, kernels: Kernels, known: Mapping[str, str]) -> None:
    """Swap in the layers that `kernels` names.

    `stock`: none. `composed`: depthwise convolutions whose gradients are put together from PyTorch's faster operations.
    `native`: C++ kernels for depthwise, 3x3 and 1x1 convolutions where they are faster, by the rule unless it is
    `known` from the run's record, and for BatchNorm with its activation, where it is faster in one with a depthwise
    convolution; squeeze-and-excitation as one kernel; blocks as one step of autograd. `tuned`: the same, but each is
    timed at its first use.
    """
    if kernels == "stock":
        return
    is_native = kernels in NATIVE_KERNELS
    choices = Tuned(known) if kernels == "tuned" else Choices(known)
    depthwise.use_fast_depthwise(model, native=is_native, choices=choices)
    if is_native:
        norm_act.use_fused_norm_act(model)
        use_fused_squeeze_excite(model)
        pointwise.use_matrix_products(model, choices)
        winograd.use_winograd(model, choices)
        use_fast_prefix(model, choices)
        use_joint_middles(model, choices)
        use_chains(model)


def chosen(model: nn.Module) -> dict[str, str]:
    """Which implementation was chosen for each shape so far, for the run's record."""
    for module in model.modules():
        if isinstance(choices := getattr(module, "choices", None), Choices):
            return choices.as_dict()
    return {}
