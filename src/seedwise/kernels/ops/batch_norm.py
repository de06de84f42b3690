"""`batch_norm.cpp` as functions of tensors. They check nothing: `modules` decides what may reach them."""

import ctypes
import functools
from ctypes import c_double, c_int, c_int64, c_void_p
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seedwise.kernels import launch
from seedwise.kernels.build import CSRC

ACTIVATIONS: dict[type[nn.Module], int] = {nn.Identity: 0, nn.ReLU: 1, nn.ReLU6: 2, nn.SiLU: 3, nn.Hardswish: 4}
"""The activations that the kernels know, by the number they have there."""

DTYPES = (torch.float32, torch.bfloat16)
"""Types of the activations; parameters and statistics are float32."""


@launch.OnceATarget
def library() -> ctypes.CDLL | None:
    """The compiled kernels; None without a compiler."""
    loaded = launch.library(CSRC / "batch_norm.cpp")
    if loaded is not None:
        loaded.norm_act_forward.argtypes = [
            *(c_void_p, c_void_p, c_void_p, c_int64, c_int64, c_void_p, c_void_p, c_void_p, c_void_p, c_void_p),
            *(c_double, c_double, c_void_p, c_int, c_int, c_int),
        ]
        loaded.norm_act_backward.argtypes = [
            *(c_void_p, c_void_p, c_void_p, c_int64, c_int64, c_void_p, c_void_p, c_void_p, c_void_p),
            *(c_int, c_int, c_int),
        ]
        loaded.norm_act_finish.argtypes = [c_void_p, c_void_p, c_int64, c_int64, c_void_p, c_void_p, c_int, c_int]
        loaded.norm_act_apply.argtypes = [c_void_p, c_void_p, c_int64, c_int64, c_void_p, c_int, c_int, c_int]
    return loaded


def library_name() -> str | None:
    """Names the library's text, its compiler and this processor; None without a library."""
    return launch.name_of(library())


def available() -> bool:
    """Whether the kernels could be compiled here; the first call compiles them, which takes some ten seconds."""
    return library() is not None


class NormStep(NamedTuple):
    """One training step of a BatchNorm and its activation.

    `weight`, `bias`: float32[c]; `running`: mean and variance, float32[c] each, which take `momentum` of the batch's
    (None: not kept); `act`: a number of `ACTIVATIONS`; `batches`: int64[], to which 1 is added (None: not counted).
    """

    weight: Tensor
    bias: Tensor
    running: tuple[Tensor, Tensor] | None
    momentum: float
    eps: float
    act: int
    batches: Tensor | None = None

    def addresses(self) -> tuple[int | None, ...]:
        """Of weight, bias, running mean and variance, and the counter, for the kernels; None for what there is not."""
        mean, variance = self.running or (None, None)
        tensors = self.weight, self.bias, mean, variance, self.batches
        return tuple(None if tensor is None else tensor.data_ptr() for tensor in tensors)


def forward(x: Tensor, step: NormStep, plus: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The normalized and activated batch, and what `backward` needs: float32[4, c].

    `x`: float32 or bfloat16 [n, c, h, w] in channels_last; `plus`, which is added to the result, like it.
    """
    y = torch.empty_like(x)
    return y, _forward(x, plus, y, step)


def statistics(x: Tensor, step: NormStep) -> Tensor:
    """What `forward` keeps for `backward`, without the batch: mean, 1 / deviation, scale, shift."""
    return _forward(x, None, None, step)


def apply(x: Tensor, saved: Tensor, act: int) -> Tensor:
    """The normalized and activated batch, whose statistics are known."""
    y = torch.empty_like(x)
    _apply(x, saved, act, y)
    return y


def activate(maps: Tensor, act: nn.Module) -> Tensor:
    """The maps behind one of `ACTIVATIONS`, in place."""
    _apply(maps, _no_norm(maps.shape[1]), ACTIVATIONS[type(act)], maps)
    return maps


@functools.cache
def _no_norm(channels: int) -> Tensor:
    """Statistics that change nothing, in `forward`'s order."""
    with torch.inference_mode(False):
        return torch.tensor([[0.0], [1.0], [1.0], [0.0]]).repeat(1, channels)


def _apply(x: Tensor, saved: Tensor, act: int, y: Tensor) -> None:
    is_bf16 = x.dtype == torch.bfloat16
    launch.call(
        *(_loaded().norm_act_apply, _require, (x, y, saved)),
        *(x.data_ptr(), y.data_ptr(), *_rows(x), saved.data_ptr(), act, is_bf16, torch.get_num_threads()),
    )


def _forward(x: Tensor, plus: Tensor | None, y: Tensor | None, step: NormStep) -> Tensor:
    saved = torch.empty(4, x.shape[1])
    launch.call(
        *(_loaded().norm_act_forward, _require, (x, plus, y, step, saved)),
        *(x.data_ptr(), *(None if one is None else one.data_ptr() for one in (plus, y)), *_rows(x)),
        *(*step.addresses(), step.momentum, step.eps, saved.data_ptr()),
        *(step.act, x.dtype == torch.bfloat16, torch.get_num_threads()),
    )
    return saved


def backward(grad: Tensor, x: Tensor, saved: Tensor, act: int, wants_x: bool) -> tuple[Tensor | None, Tensor, Tensor]:
    """The gradients of `x` (None unless wanted), weight and bias, from the output's, laid out and typed as `x`."""
    grad_x = torch.empty_like(x) if wants_x else None
    return grad_x, *_backward(grad, x, grad_x, saved, None, act)


def backward_in_place(grad: Tensor, x: Tensor, saved: Tensor, act: int) -> tuple[Tensor, Tensor, Tensor]:
    """The same; `x`'s gradient is written over the output's, which spares memory a pass over it."""
    return grad, *_backward(grad, x, grad, saved, None, act)


def gradient_sums(grad: Tensor, x: Tensor, saved: Tensor, act: int) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of weight and bias, and slope and offset, float32[2, c], of what `x`'s then is.

    That is `scale * g + slope * (x - mean) + offset`, with g the gradient of the normalized batch before `act`.
    """
    affine = torch.empty(2, x.shape[1])
    return *_backward(grad, x, None, saved, affine, act), affine


def _backward(
    grad: Tensor, x: Tensor, grad_x: Tensor | None, saved: Tensor, affine: Tensor | None, act: int
) -> tuple[Tensor, Tensor]:
    grad_weight, grad_bias = torch.empty(2, x.shape[1]).unbind()
    pointers = (None if tensor is None else tensor.data_ptr() for tensor in (grad_weight, grad_bias, affine))
    launch.call(
        *(_loaded().norm_act_backward, _require, (grad, x, grad_x, saved, grad_weight, grad_bias, affine)),
        *(grad.data_ptr(), x.data_ptr(), None if grad_x is None else grad_x.data_ptr()),
        *(*_rows(x), saved.data_ptr(), *pointers),
        *(act, x.dtype == torch.bfloat16, torch.get_num_threads()),
    )
    return grad_weight, grad_bias


def finish(grad: Tensor, x: Tensor, saved: Tensor, affine: Tensor) -> None:
    """The gradient of `x`, in place of that of the normalized batch; `affine`: see `gradient_sums`."""
    launch.call(
        *(_loaded().norm_act_finish, _require, (grad, x, saved, affine)),
        *(grad.data_ptr(), x.data_ptr(), *_rows(x), saved.data_ptr(), affine.data_ptr()),
        *(x.dtype == torch.bfloat16, torch.get_num_threads()),
    )


def _rows(x: Tensor) -> tuple[int, int]:
    return x.numel() // x.shape[1], x.shape[1]


def _loaded() -> ctypes.CDLL:
    loaded = library()
    if loaded is None:
        raise RuntimeError("the kernels of BatchNorm aren't compiled on this machine")
    return loaded


def _require(failed: int) -> None:
    if failed:
        raise MemoryError("no memory for the sums of a BatchNorm")
