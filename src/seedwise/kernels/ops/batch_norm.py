"""`batch_norm.cpp` as functions of tensors, which check no shapes: the layers decide what may reach them.

Maps are float32 or bfloat16 [n, c, h, w] in channels_last, all of a call of one type; parameters and statistics are
float32[c]. `saved` is what `forward` keeps of a batch for `backward`: float32[4, c], mean, 1 / deviation, scale, shift.
"""

import functools
from typing import NamedTuple

import torch
from torch import Tensor, nn

from seedwise.kernels.library import KernelLibrary

ACTIVATIONS: dict[type[nn.Module], int] = {nn.Identity: 0, nn.ReLU: 1, nn.ReLU6: 2, nn.SiLU: 3, nn.Hardswish: 4}
"""The activations that the kernels know, by the number they have there."""

DTYPES = (torch.float32, torch.bfloat16)
"""Types of the activations; parameters and statistics are float32."""

STEP = "weight: f32, bias: f32, mean: f32?, variance: f32?, batches: i64?"
"""What kernels take of a `NormStep`'s tensors."""
KERNELS = KernelLibrary(
    "batch_norm.cpp",
    {
        "norm_act_forward": f"x: T maps, plus: T maps?, y: T maps, {STEP}, saved: f32; "
        "rows: int64, channels: int64, momentum: double, eps: double, act: int",
        "norm_act_apply": "x: T maps, y: T maps, saved: f32; rows: int64, channels: int64, act: int",
        "norm_act_backward": "grad: T maps, x: T maps, x_grad: T maps?, saved: f32, weight_grad: f32, bias_grad: f32, "
        "affine: f32?; rows: int64, channels: int64, act: int",
    },
)
available = KERNELS.available


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

    @property
    def tensors(self) -> tuple[Tensor | None, ...]:
        """In the order of `STEP`."""
        mean, variance = self.running or (None, None)
        return self.weight, self.bias, mean, variance, self.batches


def forward(x: Tensor, step: NormStep, plus: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The normalized and activated maps [n, c, h, w], plus `plus`, which is like them; and `saved`."""
    rows, c = _rows(x)
    y, saved = torch.empty_like(x), torch.empty(4, c)
    tensors = (x, plus, y, *step.tensors, saved)
    KERNELS.launch("norm_act_forward", tensors, rows, c, step.momentum, step.eps, step.act)
    return y, saved


def apply(x: Tensor, saved: Tensor, act: int) -> Tensor:
    """The normalized and activated maps [n, c, h, w] by statistics that are known, `saved`: float32[4, c]."""
    y = torch.empty_like(x)
    _apply(x, saved, act, y)
    return y


def activate(maps: Tensor, act: nn.Module) -> Tensor:
    """One of `ACTIVATIONS` of maps [n, c, h, w], in place."""
    _apply(maps, _no_norm(maps.shape[1]), ACTIVATIONS[type(act)], maps)
    return maps


@functools.cache
def _no_norm(channels: int) -> Tensor:
    """Statistics that change nothing, as `saved` has them."""
    with torch.inference_mode(False):
        return torch.tensor([[0.0], [1.0], [1.0], [0.0]]).repeat(1, channels)


def _apply(x: Tensor, saved: Tensor, act: int, y: Tensor) -> None:
    KERNELS.launch("norm_act_apply", (x, y, saved), *_rows(x), act)


def backward(grad: Tensor, x: Tensor, saved: Tensor, act: int, wants_x: bool) -> tuple[Tensor | None, Tensor, Tensor]:
    """The gradients of `x` [n, c, h, w] (None unless wanted), weight and bias, from the result's, which is like x.

    `saved`: float32[4, c].
    """
    x_grad = torch.empty_like(x) if wants_x else None
    return x_grad, *_backward(grad, x, x_grad, saved, None, act)


def backward_in_place(grad: Tensor, x: Tensor, saved: Tensor, act: int) -> tuple[Tensor, Tensor, Tensor]:
    """The same; `x`'s gradient is written over the result's [n, c, h, w], which spares memory a pass over it."""
    return grad, *_backward(grad, x, grad, saved, None, act)


def gradient_sums(grad: Tensor, x: Tensor, saved: Tensor, act: int) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of weight and bias, and slope and offset, float32[2, c], of what `x`'s then is.

    That is `scale * g + slope * (x - mean) + offset`, with g the gradient of the normalized maps before `act`.
    `grad`: the result's gradient [n, c, h, w].
    """
    affine = torch.empty(2, x.shape[1])
    return *_backward(grad, x, None, saved, affine, act), affine


def _backward(
    grad: Tensor, x: Tensor, x_grad: Tensor | None, saved: Tensor, affine: Tensor | None, act: int
) -> tuple[Tensor, Tensor]:
    rows, c = _rows(x)
    weight_grad, bias_grad = torch.empty(c), torch.empty(c)
    tensors = grad, x, x_grad, saved, weight_grad, bias_grad, affine
    KERNELS.launch("norm_act_backward", tensors, rows, c, act)
    return weight_grad, bias_grad


def _rows(x: Tensor) -> tuple[int, int]:
    n, c, h, w = x.shape
    return n * h * w, c
