"""`squeeze.cpp` as functions of tensors. They check nothing: `squeeze_excite` decides what may reach them.

Maps are float32[n, c, h, w] in channels_last; parameters are those of the two 1x1 convolutions, float32[r, c, 1, 1],
[r], [c, r, 1, 1] and [c]. Between them is a SiLU, behind them a sigmoid. The bits depend on the shapes alone, not on
the number of threads.
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
    loaded = launch.library(CSRC / "squeeze_excite.cpp")
    if loaded is not None:
        loaded.squeeze_forward.argtypes = [*[c_void_p] * 5, c_int]
        loaded.squeeze_backward.argtypes = [*[c_void_p] * 6, c_int]
    return loaded


def library_name() -> str | None:
    """Names the library's text, its compiler and this processor; None without a library."""
    return launch.name_of(library())


def available() -> bool:
    """Whether the kernels could be compiled here; the first call compiles them, which takes seconds."""
    return library() is not None


def forward(maps: Tensor, parameters: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The maps, each channel of an image scaled by its gate, and what `backward` needs."""
    n, c = maps.shape[:2]
    kept, result = torch.empty(n * (2 * _padded(c) + _padded(parameters[1].numel()))), torch.empty_like(maps)
    launch.call(
        *(_loaded().squeeze_forward, _require, (maps, parameters, kept, result)),
        *(maps.data_ptr(), _addresses(parameters), _sizes(maps, parameters), kept.data_ptr(), result.data_ptr()),
        torch.get_num_threads(),
    )
    return result, kept


def backward(
    grad: Tensor, maps: Tensor, parameters: Sequence[Tensor], kept: Tensor, wants_maps: bool
) -> tuple[Tensor | None, ...]:
    """The gradients of the maps (None unless wanted) and of the parameters, from the result's."""
    made = (torch.empty_like(maps) if wants_maps else None, *map(torch.empty_like, parameters))
    launch.call(
        *(_loaded().squeeze_backward, _require, (grad, maps, parameters, kept, made)),
        *(grad.data_ptr(), maps.data_ptr(), _addresses(parameters), _sizes(maps, parameters), kept.data_ptr()),
        *(_addresses(made), torch.get_num_threads()),
    )
    return made


def _addresses(tensors: Sequence[Tensor | None]) -> "ctypes.Array[c_void_p]":
    return (c_void_p * len(tensors))(*(None if tensor is None else tensor.data_ptr() for tensor in tensors))


def _sizes(maps: Tensor, parameters: Sequence[Tensor]) -> "ctypes.Array[c_int64]":
    n, c, h, w = maps.shape
    return (c_int64 * 4)(n, h * w, c, parameters[1].numel())


def _padded(channels: int) -> int:
    return (channels + 15) // 16 * 16


def _loaded() -> ctypes.CDLL:
    loaded = library()
    if loaded is None:
        raise RuntimeError("the kernels of squeeze-and-excitation aren't compiled on this machine")
    return loaded


def _require(failed: int) -> None:
    if failed:
        raise MemoryError("no memory for squeeze-and-excitation")
