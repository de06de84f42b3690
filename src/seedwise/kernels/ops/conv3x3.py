"""`conv3x3.cpp` as functions of tensors. They check nothing: `conv` decides what may reach them.

Tensors are float32, images and results channels_last, weights [out, in, 3, 3] of any strides. The bits depend on the
shapes alone, not on the number of threads. A NaN or an infinity reaches all results of the tiles (4x4 pixels) that it
is near, not only those beside it.
"""

import ctypes
from collections.abc import Sequence
from ctypes import c_int, c_int64, c_void_p

import torch
from torch import Tensor

from seedwise.kernels import launch
from seedwise.kernels.build import CSRC


@launch.OnceATarget
def library() -> ctypes.CDLL | None:
    """The compiled kernels; None without a compiler."""
    loaded = launch.library(CSRC / "conv3x3.cpp")
    if loaded is not None:
        loaded.winograd_forward.argtypes = [*[c_void_p] * 5, c_int, c_void_p, c_int]
        loaded.winograd_weight_gradient.argtypes = [*[c_void_p] * 5, c_int]
    return loaded


def library_name() -> str | None:
    """Names the library's text, its compiler and this processor; None without a library."""
    return launch.name_of(library())


def available() -> bool:
    """Whether the kernels could be compiled here; the first call compiles them, which takes some ten seconds."""
    return library() is not None


def forward(images: Tensor, weight: Tensor, bias: Tensor | None = None, silu: bool = False) -> Tensor:
    """The convolution of [n, in, h, w], with a zero around each map; behind a bias SiLU may come in the same pass."""
    return _convolve(images, weight, weight.data_ptr(), weight.shape[0], weight.stride(), bias, silu)


def images_gradient(grad: Tensor, weight: Tensor) -> Tensor:
    """The gradient of `forward`'s images from the result's: the convolution with the weight turned and transposed."""
    of_out, of_in, of_row, of_column = weight.stride()
    last_tap = weight.data_ptr() + 2 * (of_row + of_column) * weight.element_size()
    return _convolve(grad, weight, last_tap, weight.shape[1], (of_in, of_out, -of_row, -of_column))


def weight_gradient(images: Tensor, grad: Tensor, weight: Tensor) -> Tensor:
    """The gradient of `forward`'s weight from the result's, laid out as the weight."""
    n, channels, h, w = images.shape
    result = torch.empty_like(weight)
    strides, shape = _numbers(result.stride()), _numbers((n, h, w, channels, grad.shape[1]))
    launch.call(
        *(_loaded().winograd_weight_gradient, _require, (images, grad, result)),
        *(images.data_ptr(), grad.data_ptr(), strides, shape, result.data_ptr(), torch.get_num_threads()),
    )
    return result


def _convolve(
    images: Tensor,
    weight: Tensor,
    first_tap: int,
    outputs: int,
    strides: Sequence[int],
    bias: Tensor | None = None,
    silu: bool = False,
) -> Tensor:
    """`first_tap` is an address in `weight`."""
    n, channels, h, w = images.shape
    result = torch.empty((n, outputs, h, w), memory_format=torch.channels_last)
    shape = _numbers((n, h, w, channels, outputs))
    launch.call(
        *(_loaded().winograd_forward, _require, (images, weight, bias, result)),
        *(images.data_ptr(), first_tap, _numbers(strides), shape, None if bias is None else bias.data_ptr()),
        *(silu, result.data_ptr(), torch.get_num_threads()),
    )
    return result


def _numbers(values: Sequence[int]) -> "ctypes.Array[c_int64]":
    return (c_int64 * len(values))(*values)


def _loaded() -> ctypes.CDLL:
    loaded = library()
    if loaded is None:
        raise RuntimeError("the kernels of 3x3 convolutions aren't compiled on this machine")
    return loaded


def _require(failed: int) -> None:
    if failed:
        raise MemoryError("no memory for the tiles of a 3x3 convolution")
