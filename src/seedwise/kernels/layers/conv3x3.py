"""3x3 convolutions that train by Winograd's minimal filtering, where that beats oneDNN. CPU, fp32, channels_last.

oneDNN computes a dense 3x3 convolution directly, at the rate of a matrix product, so only fewer multiplications can be
faster. Which one computes what, `kernels/rule.py` says.
"""

from typing import Any

import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from seedwise.kernels.dispatch import Dispatcher
from seedwise.kernels.layers import dense
from seedwise.kernels.layers.dense import Run, dispatched
from seedwise.kernels.layers.eligibility import Reason, takes, why_not_train
from seedwise.kernels.ops import conv3x3 as conv3x3_ops

MIN_CHANNELS = 16
"""In and out. For 64 maps of 32x32, 8 to 8 channels take 1.2 ms where oneDNN takes 1.2 to 1.4; 16 to 16 take 2.5 where
it takes 3.9 to 5.0 (AMD Zen 3, one thread)."""


_FORWARDS: dict[str, Run] = {
    "onednn": dense.onednn_forward,
    "winograd": conv3x3_ops.forward,
}
_IMAGES_GRADIENTS: dict[str, Run] = {
    "onednn": dense.onednn_images_gradient,
    "winograd": lambda _images, grad, weight: conv3x3_ops.images_gradient(grad, weight),
}
_WEIGHT_GRADIENTS: dict[str, Run] = {
    "onednn": dense.onednn_weight_gradient,
    "winograd": conv3x3_ops.weight_gradient,
}


def forward(images: Tensor, weight: Tensor, dispatcher: Dispatcher) -> Tensor:
    """A 3x3 convolution with a zero around each map, by what is chosen: float32[n, in, h, w] in channels_last."""
    return dispatched("dense forward", images, weight, dispatcher, _FORWARDS, images, weight)


def backward(
    images: Tensor, grad: Tensor, weight: Tensor, wants: tuple[bool, bool], dispatcher: Dispatcher
) -> tuple[Tensor | None, Tensor | None]:
    """Its wanted gradients of images and weight, float32[out, in, 3, 3], by what is chosen for each.

    `grad`: float32[n, out, h, w] in channels_last.
    """
    of_images = of_weight = None
    if wants[0]:
        of_images = dispatched("dense images", images, weight, dispatcher, _IMAGES_GRADIENTS, images, grad, weight)
    if wants[1]:
        of_weight = dispatched("dense weight", images, weight, dispatcher, _WEIGHT_GRADIENTS, images, grad, weight)
    return of_images, of_weight


class _Winograd(Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, dispatcher: Dispatcher) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.dispatcher = dispatcher
        return forward(images, weight, dispatcher)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        images, weight = ctx.saved_tensors
        grad = grads[0].contiguous(memory_format=torch.channels_last)
        return *backward(images, grad, weight, ctx.needs_input_grad[:2], ctx.dispatcher), None


class WinogradConv(nn.Conv2d):
    """A 3x3 convolution that trains as above."""

    dispatcher: Dispatcher

    def forward(self, input: Tensor) -> Tensor:
        """float[n, in, h, w] -> float[n, out, h, w]."""
        return _convolve(self, input) if trains(self, input) else super().forward(input)


class WinogradConvSame(Conv2dSame):
    """TensorFlow's SAME padding, which is one zero on each side at this kernel size and stride."""

    dispatcher: Dispatcher

    def forward(self, x: Tensor) -> Tensor:
        """float[n, in, h, w] -> float[n, out, h, w]."""
        if trains(self, x):
            return _convolve(self, x)
        stock: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return stock


_FAST: dict[type[nn.Module], type[nn.Module]] = {nn.Conv2d: WinogradConv, Conv2dSame: WinogradConvSame}


def use_winograd(model: nn.Module, dispatcher: Dispatcher) -> int:
    """Let a model's dense 3x3 convolutions of stride 1 train by Winograd's minimal filtering where it is faster.

    In place; returns how many. Parameters, their names and evaluation stay. Strided, grouped, dilated and unpadded
    ones, those with a bias or few channels, and other layouts, types and devices than channels_last, fp32 and CPU, stay
    as they are, and without a compiler all do.
    """
    if not conv3x3_ops.available():
        return 0
    count = 0
    for module in model.modules():
        fast = _FAST.get(type(module))
        if fast is not None and module.bias is None and unfit(module) is None:
            module.__class__ = fast
            module.dispatcher = dispatcher
            count += 1
    return count


def unfit(conv: Any) -> Reason:
    """Why Winograd's filtering, with a bias after it, does not compute what a convolution does."""
    if tuple(conv.kernel_size) != (3, 3) or conv.groups > 1:
        return "it is no dense 3x3 convolution"
    padded = isinstance(conv, Conv2dSame) or conv.padding in ((1, 1), "same")
    if tuple(conv.stride) != (1, 1) or tuple(conv.dilation) != (1, 1) or not padded or conv.padding_mode != "zeros":
        return "Winograd's filtering is for stride 1, no dilation and one zero around the maps"
    few = min(conv.in_channels, conv.out_channels) < MIN_CHANNELS
    return f"Winograd's filtering is for {MIN_CHANNELS} channels or more, in and out" if few else None


def trains(conv: Any, images: Tensor) -> bool:
    """Whether a convolution of float[n, in, h, w] is computed by what is chosen: in a training step."""
    return takes(conv, "Winograd's filtering", why_not_train(images, (conv.weight,)))


def _convolve(conv: Any, images: Tensor) -> Tensor:
    result: Tensor = _Winograd.apply(images, conv.weight, conv.dispatcher)
    return result
