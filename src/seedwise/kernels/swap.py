"""Layers that train faster on a CPU, swapped into a network by class: parameters and names stay.

What is evaluated is a copy of the network with kernels of its own (`evaluation_copy`).
"""

from collections.abc import Mapping
from typing import Literal

from torch import nn

from seedwise.kernels import launch
from seedwise.kernels.blocks.frozen import use_fast_frozen_stages
from seedwise.kernels.blocks.fused import use_fused_blocks
from seedwise.kernels.blocks.fused_depthwise import use_fused_depthwise_blocks
from seedwise.kernels.dispatch import Autotuner, Dispatcher
from seedwise.kernels.layers import batch_norm, conv3x3, depthwise, pointwise
from seedwise.kernels.layers.squeeze_excite import use_fused_squeeze_excite
from seedwise.kernels.ops import batch_norm as batch_norm_ops
from seedwise.kernels.ops import conv3x3 as conv3x3_ops
from seedwise.kernels.ops import depthwise as depthwise_ops
from seedwise.kernels.ops import pointwise as pointwise_ops
from seedwise.kernels.ops import squeeze_excite as squeeze_excite_ops
from seedwise.kernels.rule import NATIVE_KERNELS

LIBRARIES = *depthwise_ops.LIBRARIES, batch_norm_ops.KERNELS, squeeze_excite_ops.KERNELS, conv3x3_ops.KERNELS
Kernels = Literal["auto", "stock", "fallback", "native", "tuned"]
"""As in a recipe's compute section; `auto` is resolved before a network is built."""

_SETTING = "_seedwise_kernels"


def available() -> bool:
    """Whether the native kernels are compiled, or can be: unless they were installed, the first call takes a while."""
    launch.prepare()
    return all(library.available() for library in LIBRARIES)


def version() -> str | None:
    """What the native kernels' bits depend on besides PyTorch: compilers and text; None without them."""
    if not available():
        return None
    libraries = *LIBRARIES, pointwise_ops.KERNELS
    compilers = {str(library.compiler()) for library in libraries}
    return ", ".join((*sorted(compilers), *(str(library.name()) for library in libraries)))


def accelerate(model: nn.Module, kernels: Kernels, known: Mapping[str, str]) -> None:
    """Swap in the layers that `kernels` names.

    `stock`: none. `fallback`: depthwise convolutions whose gradients are put together from PyTorch's faster operations.
    `native`: C++ kernels for depthwise, 3x3 and 1x1 convolutions where they are faster, by the rule unless it is
    `known` from the run's record, and for BatchNorm with its activation, where it is faster in one with a depthwise
    convolution; squeeze-and-excitation as one kernel; blocks as one step of autograd. `tuned`: the same, but each is
    timed at its first use.
    """
    setattr(model, _SETTING, kernels)
    if kernels == "stock":
        return
    is_native = kernels in NATIVE_KERNELS
    dispatcher = Autotuner(known) if kernels == "tuned" else Dispatcher(known)
    depthwise.use_fast_depthwise(model, native=is_native, dispatcher=dispatcher)
    if is_native:
        batch_norm.use_fused_norm_act(model)
        use_fused_squeeze_excite(model)
        pointwise.use_matrix_products(model, dispatcher)
        conv3x3.use_winograd(model, dispatcher)
        use_fast_frozen_stages(model, dispatcher)
        use_fused_depthwise_blocks(model, dispatcher)
        use_fused_blocks(model)


def built_with(model: nn.Module) -> Kernels | None:
    """The `kernels` that a network was accelerated with; None if it never was."""
    return getattr(model, _SETTING, None)


def restore(model: nn.Module) -> None:
    """Undo `accelerate`: every layer has its own class again. Frozen stages have to be thawed before."""
    for module in model.modules():
        vars(module).pop("dispatcher", None)
        own = next(each for each in type(module).__mro__ if not each.__module__.startswith("seedwise.kernels."))
        if own is not type(module):
            module.__class__ = own


def chosen(model: nn.Module) -> dict[str, str]:
    """Which implementation was chosen for each shape so far, for the run's record."""
    for module in model.modules():
        if isinstance(dispatcher := getattr(module, "dispatcher", None), Dispatcher):
            return dispatcher.as_dict()
    return {}
