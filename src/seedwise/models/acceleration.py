"""Layers that train faster on a CPU, swapped into a network by class: parameters and names stay.

What is evaluated is a copy of the network with kernels of its own (`fast_copy`).
"""

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import torch
from torch import nn

from seedwise import native
from seedwise.files import cache_root
from seedwise.models import depthwise, norm_act, pointwise, squeeze, winograd
from seedwise.models.chain import use_chains
from seedwise.models.depthwise import Choices
from seedwise.models.frozen_prefix import use_fast_prefix
from seedwise.models.inverted_residual import use_joint_middles
from seedwise.models.squeeze_excite import use_fused_squeeze_excite

Kernels = Literal["auto", "stock", "composed", "native"]
"""As in a recipe's compute section; `auto` is resolved before a network is built."""


def available() -> bool:
    """Whether the native kernels are compiled, or can be: the first call on a machine takes up to a minute."""
    parts = (depthwise, norm_act, squeeze, winograd)
    with ThreadPoolExecutor(len(parts)) as pool:  # compilers side by side
        return all(pool.map(lambda part: part.available(), parts))


def version() -> str | None:
    """What the native kernels' bits depend on besides the processor: compiler and text; None without them."""
    if not available():
        return None
    texts = (part.library_name() for part in (depthwise, norm_act, pointwise, squeeze, winograd))
    return ", ".join(map(str, (native.compiler_version(), *texts)))


def machine_choices(given: Mapping[str, str]) -> Choices:
    """Choices that begin with a run's recorded ones and keep new ones for this machine.

    The file's name tells torch and whatever `version` tells apart: what is new is tried.
    """
    text = version()
    if text is None:
        return Choices(given)
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    return Choices(given, cache_root() / "kernels" / f"choices-{name}-torch{torch.__version__}.json")


def accelerate(model: nn.Module, kernels: Kernels, known: Mapping[str, str]) -> None:
    """Swap in the layers that `kernels` names.

    `stock`: none. `composed`: depthwise convolutions whose gradients are put together from PyTorch's faster operations.
    `native`: C++ kernels for depthwise, 3x3 and 1x1 convolutions, each chosen by a short probe at its first use unless
    it is `known` from the run's record, and for BatchNorm with its activation, where it is faster in one with a
    depthwise convolution; squeeze-and-excitation as one kernel; blocks as one step of autograd.
    """
    if kernels == "stock":
        return
    choices = machine_choices(known) if kernels == "native" else Choices(known)
    depthwise.use_fast_depthwise(model, native=kernels == "native", choices=choices)
    if kernels == "native":
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
        if isinstance(choices := getattr(module, "choices", None), depthwise.Choices):
            return choices.as_dict()
    return {}
