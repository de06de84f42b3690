"""Layers that train faster on a CPU, swapped into a network by class: parameters, names and evaluation stay."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from torch import nn

from seedwise import native
from seedwise.models import depthwise, norm_act
from seedwise.models.frozen_prefix import use_fast_prefix
from seedwise.models.inverted_residual import use_joint_middles
from seedwise.models.pointwise import use_matrix_products
from seedwise.models.squeeze_excite import use_fused_squeeze_excite

Kernels = Literal["auto", "stock", "composed", "native"]
"""As in a recipe's compute section; `auto` is resolved before a network is built."""


def available() -> bool:
    """Whether the native kernels are compiled, or can be: the first call on a machine takes some ten seconds."""
    with ThreadPoolExecutor(2) as pool:  # two compilers at once
        return all(pool.map(lambda part: part.available(), (depthwise, norm_act)))


def version() -> str | None:
    """What the native kernels' bits depend on besides the processor: compiler and text; None without them."""
    text = depthwise.library_name()
    return f"{native.compiler_version()}, {text}, {norm_act.library_name()}" if available() else None


def accelerate(model: nn.Module, kernels: Kernels, known: Mapping[str, str]) -> None:
    """Swap in the layers that `kernels` names.

    `stock`: none. `composed`: depthwise convolutions whose gradients are put together from PyTorch's faster operations.
    `native`: C++ kernels for depthwise convolutions, each chosen by a short probe at its first use unless it is
    `known` from the run's record, and for BatchNorm with its activation, where it is faster in one with the
    convolution; squeeze-and-excitation in fewer passes.
    """
    if kernels == "stock":
        return
    choices = depthwise.machine_choices(dict(known))
    depthwise.use_fast_depthwise(model, native=kernels == "native", choices=choices)
    if kernels == "native":
        norm_act.use_fused_norm_act(model)
        use_fused_squeeze_excite(model)
        use_matrix_products(model, choices)
        use_fast_prefix(model, choices)
        use_joint_middles(model, choices)


def chosen(model: nn.Module) -> dict[str, str]:
    """Which implementation was chosen for each shape so far, for the run's record."""
    for module in model.modules():
        if isinstance(choices := getattr(module, "choices", None), depthwise.Choices):
            return choices.as_dict()
    return {}
