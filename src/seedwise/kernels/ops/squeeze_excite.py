"""`squeeze_excite.cpp` as functions of tensors, which check no shapes: the layers decide what may reach them.

Maps are float32[n, c, h, w] in channels_last; parameters are those of the two 1x1 convolutions, float32[r, c, 1, 1],
[r], [c, r, 1, 1] and [c], with SiLU after the first and a sigmoid after the second. The bits depend on the shapes
alone, not on the number of threads.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from seedwise.kernels.library import KernelLibrary, int64s

_PARAMETERS = "reduce: f32, reduce_bias: f32, expand: f32, expand_bias: f32"
KERNELS = KernelLibrary(
    "squeeze_excite.cpp",
    {
        "squeeze_forward": f"maps: f32 maps, {_PARAMETERS}, kept: f32, out: f32 maps; sizes: int64[]",
        "squeeze_backward": f"grad: f32 maps, maps: f32 maps, {_PARAMETERS}, kept: f32, maps_grad: f32 maps?, "
        "reduce_grad: f32, reduce_bias_grad: f32, expand_grad: f32, expand_bias_grad: f32; sizes: int64[]",
    },
)
available = KERNELS.available


def forward(maps: Tensor, parameters: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The maps [n, c, h, w], each channel of an image scaled by its gate, and what `backward` needs."""
    n, c = maps.shape[:2]
    kept, result = torch.empty(n * (2 * _padded(c) + _padded(parameters[1].numel()))), torch.empty_like(maps)
    KERNELS.launch("squeeze_forward", (maps, *parameters, kept, result), _sizes(maps, parameters))
    return result, kept


def backward(
    grad: Tensor, maps: Tensor, parameters: Sequence[Tensor], kept: Tensor, wants_maps: bool
) -> tuple[Tensor | None, ...]:
    """The gradients of the maps (None unless wanted) and of the parameters, from the result's [n, c, h, w]."""
    grads = (torch.empty_like(maps) if wants_maps else None, *map(torch.empty_like, parameters))
    KERNELS.launch("squeeze_backward", (grad, maps, *parameters, kept, *grads), _sizes(maps, parameters))
    return grads


def _sizes(maps: Tensor, parameters: Sequence[Tensor]) -> object:
    n, c, h, w = maps.shape
    return int64s(n, h * w, c, parameters[1].numel())


def _padded(channels: int) -> int:
    return (channels + 15) // 16 * 16
