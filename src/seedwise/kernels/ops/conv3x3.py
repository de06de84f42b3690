"""`conv3x3.cpp` as functions of tensors, which check no shapes: the layers decide what may reach them.

Tensors are float32, images and results in channels_last, weights [out, in, 3, 3] of any strides. The bits depend on the
shapes alone, not on the number of threads. A NaN or an infinity reaches all results of the tiles (4x4 pixels) that it
is near, not only those beside it.
"""

import torch
from torch import Tensor

from seedwise.kernels.library import KernelLibrary, int64s

KERNELS = KernelLibrary(
    "conv3x3.cpp",
    {
        "winograd_forward": "x: f32 maps, weight: f32 strided, bias: f32?, out: f32 maps; "
        "first: int64, strides: int64[], shape: int64[], silu: int",
        "winograd_weight_gradient": "x: f32 maps, grad: f32 maps, out: f32 strided; strides: int64[], shape: int64[]",
    },
)
available = KERNELS.available


def forward(images: Tensor, weight: Tensor, bias: Tensor | None = None, silu: bool = False) -> Tensor:
    """The convolution [n, out, h, w] of images [n, in, h, w], with a zero around each map.

    `bias`: [out]; after a bias SiLU may be applied in the same pass.
    """
    return _convolve(images, weight, weight.shape[0], 0, weight.stride(), bias, silu)


def images_gradient(grad: Tensor, weight: Tensor) -> Tensor:
    """The gradient [n, in, h, w] of `forward`'s images, from the result's: a convolution with the transposed weight."""
    out, into, row, column = weight.stride()
    return _convolve(grad, weight, weight.shape[1], 2 * (row + column), (into, out, -row, -column))


def weight_gradient(images: Tensor, grad: Tensor, weight: Tensor) -> Tensor:
    """The gradient of `forward`'s weight, laid out as the weight, from the result's [n, out, h, w]."""
    n, channels, h, w = images.shape
    result = torch.empty_like(weight)
    strides, shape = int64s(*result.stride()), int64s(n, h, w, channels, grad.shape[1])
    KERNELS.launch("winograd_weight_gradient", (images, grad, result), strides, shape)
    return result


def _convolve(
    images: Tensor,
    weight: Tensor,
    outputs: int,
    first: int,
    strides: tuple[int, ...],
    bias: Tensor | None = None,
    silu: bool = False,
) -> Tensor:
    """`first` and `strides`: where the weight's numbers are, from its first one on."""
    n, channels, h, w = images.shape
    result = torch.empty((n, outputs, h, w), memory_format=torch.channels_last)
    shape = int64s(n, h, w, channels, outputs)
    KERNELS.launch("winograd_forward", (images, weight, bias, result), first, int64s(*strides), shape, silu)
    return result
