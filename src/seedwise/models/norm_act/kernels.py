"""`norm_act.cpp` as functions of tensors. They check nothing: `modules` decides what may reach them."""

import ctypes
import functools
from ctypes import c_double, c_int, c_int64, c_void_p
from pathlib import Path

import torch
from torch import Tensor, nn

from seedwise import native

ACTIVATIONS: dict[type[nn.Module], int] = {nn.Identity: 0, nn.ReLU: 1, nn.ReLU6: 2, nn.SiLU: 3, nn.Hardswish: 4}
"""The activations that the kernels know, by the number they have there."""

DTYPES = (torch.float32, torch.bfloat16)
"""Types of the activations; parameters and statistics are float32."""


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels; None without a compiler."""
    loaded = native.library(Path(__file__).with_name("norm_act.cpp"))
    if loaded is not None:
        loaded.norm_act_forward.argtypes = [
            *(c_void_p, c_void_p, c_int64, c_int64, c_void_p, c_void_p, c_void_p, c_void_p),
            *(c_double, c_double, c_void_p, c_int, c_int, c_int),
        ]
        loaded.norm_act_backward.argtypes = [
            *(c_void_p, c_void_p, c_void_p, c_int64, c_int64, c_void_p, c_void_p, c_void_p, c_int, c_int, c_int)
        ]
    return loaded


def library_name() -> str | None:
    """Names the library's text, its compiler and this processor; None without a library."""
    found = library()
    return None if found is None else Path(found._name).stem


def available() -> bool:
    """Whether the kernels could be compiled here; the first call compiles them, which takes some ten seconds."""
    return library() is not None


def forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    running: tuple[Tensor, Tensor] | None,
    momentum: float,
    eps: float,
    act: int,
) -> tuple[Tensor, Tensor]:
    """The normalized and activated batch, and what `backward` needs: float32[4, c].

    `x`: float32 or bfloat16 [n, c, h, w] in channels_last; `weight`, `bias`: float32[c]; `running`: mean and variance,
    float32[c] each, which take `momentum` of the batch's; `act`: a number of `ACTIVATIONS`.
    """
    y, saved = torch.empty_like(x), torch.empty(4, x.shape[1])
    mean, variance = (None, None) if running is None else (tensor.data_ptr() for tensor in running)
    failed = _loaded().norm_act_forward(
        *(x.data_ptr(), y.data_ptr(), x.numel() // x.shape[1], x.shape[1], weight.data_ptr(), bias.data_ptr()),
        *(mean, variance, momentum, eps, saved.data_ptr()),
        *(act, x.dtype == torch.bfloat16, torch.get_num_threads()),
    )
    _require(failed)
    return y, saved


def backward(grad: Tensor, x: Tensor, saved: Tensor, act: int, wants_x: bool) -> tuple[Tensor | None, Tensor, Tensor]:
    """The gradients of `x` (None unless wanted), weight and bias, from the output's, laid out and typed as `x`."""
    grad_x = torch.empty_like(x) if wants_x else None
    grad_weight, grad_bias = torch.empty(2, x.shape[1]).unbind()
    failed = _loaded().norm_act_backward(
        *(grad.data_ptr(), x.data_ptr(), None if grad_x is None else grad_x.data_ptr()),
        *(x.numel() // x.shape[1], x.shape[1], saved.data_ptr(), grad_weight.data_ptr(), grad_bias.data_ptr()),
        *(act, x.dtype == torch.bfloat16, torch.get_num_threads()),
    )
    _require(failed)
    return grad_x, grad_weight, grad_bias


def _loaded() -> ctypes.CDLL:
    loaded = library()
    if loaded is None:
        raise RuntimeError("the kernels of BatchNorm aren't compiled on this machine")
    return loaded


def _require(failed: int) -> None:
    if failed:
        raise MemoryError("no memory for the sums of a BatchNorm")
