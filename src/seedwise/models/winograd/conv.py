"""3x3 convolutions that train by Winograd's minimal filtering, where that beats oneDNN. CPU, fp32, channels_last.

oneDNN computes a dense 3x3 convolution directly, at the rate of a matrix product, so only fewer multiplications can be
faster. What is faster is tried for each shape (see depthwise/choices.py).
"""

from typing import Any

import torch
import torch.nn.functional as F
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from seedwise.models.dense import Run, onednn_gradient, pick, trains_plainly
from seedwise.models.depthwise.choices import Choices
from seedwise.models.winograd import kernels

MIN_CHANNELS = 16
"""In and out. For 64 maps of 32x32, 8 to 8 channels take 1.2 ms where oneDNN takes 1.2 to 1.4; 16 to 16 take 2.5 where
it takes 3.9 to 5.0 (AMD Zen 3, one thread)."""


class _Winograd(Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, choices: Choices) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.choices = choices
        runs: dict[str, Run] = {
            "onednn": lambda: F.conv2d(images, weight, None, 1, 1),
            "winograd": lambda: kernels.forward(images, weight),
        }
        return pick("dense forward", images, weight, choices, runs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        images, weight = ctx.saved_tensors
        grad = grads[0].contiguous(memory_format=torch.channels_last)
        of_images = of_weight = None
        if ctx.needs_input_grad[0]:
            runs: dict[str, Run] = {
                "onednn": lambda: onednn_gradient(images, grad, weight, 0),
                "winograd": lambda: kernels.images_gradient(grad, weight),
            }
            of_images = pick("dense images", images, weight, ctx.choices, runs)
        if ctx.needs_input_grad[1]:
            runs = {
                "onednn": lambda: onednn_gradient(images, grad, weight, 1),
                "winograd": lambda: kernels.weight_gradient(images, grad, weight),
            }
            of_weight = pick("dense weight", images, weight, ctx.choices, runs)
        return of_images, of_weight, None


class _WinogradConv(nn.Conv2d):
    choices: Choices

    def forward(self, input: Tensor) -> Tensor:
        """float[n, in, h, w] -> float[n, out, h, w]."""
        return _convolve(self, input) if trains_plainly(self, input) else super().forward(input)


class _WinogradConvSame(Conv2dSame):
    """TensorFlow's SAME padding, which is one zero on each side at this kernel size and stride."""

    choices: Choices

    def forward(self, x: Tensor) -> Tensor:
        """float[n, in, h, w] -> float[n, out, h, w]."""
        if trains_plainly(self, x):
            return _convolve(self, x)
        stock: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return stock


_FAST: dict[type[nn.Module], type[nn.Module]] = {nn.Conv2d: _WinogradConv, Conv2dSame: _WinogradConvSame}


def use_winograd(model: nn.Module, choices: Choices) -> int:
    """Let a model's dense 3x3 convolutions of stride 1 train by Winograd's minimal filtering where it is faster.

    In place; returns how many. Parameters, their names and evaluation stay. Strided, grouped, dilated and unpadded
    ones, those with a bias or few channels, and other layouts, types and devices than channels_last, fp32 and CPU, stay
    as they are, and without a compiler all do.
    """
    if not kernels.available():
        return 0
    count = 0
    for module in model.modules():
        fast = _FAST.get(type(module))
        if fast is not None and _fits(module):
            module.__class__ = fast
            module.choices = choices  # type: ignore[assignment]
            count += 1
    return count


def _fits(conv: Any) -> bool:
    padded = isinstance(conv, Conv2dSame) or conv.padding in ((1, 1), "same")
    return bool(
        padded
        and tuple(conv.kernel_size) == (3, 3)
        and tuple(conv.stride) == tuple(conv.dilation) == (1, 1)
        and conv.groups == 1
        and conv.bias is None
        and conv.padding_mode == "zeros"
        and min(conv.in_channels, conv.out_channels) >= MIN_CHANNELS
    )


def _convolve(conv: Any, images: Tensor) -> Tensor:
    result: Tensor = _Winograd.apply(images, conv.weight, conv.choices)
    return result
