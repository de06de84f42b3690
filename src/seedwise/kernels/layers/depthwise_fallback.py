"""Depthwise convolution for CPUs: oneDNN forward, and a backward that avoids the two slow paths of stock PyTorch.

1. The bf16 backward of a depthwise convolution is many times slower than the fp32 one (70 ms against 3 ms for a
   stride-2 3x3 at 32x32x96, batch 64), so gradients are computed in fp32 and cast back.
2. Where the map is smaller than its kernel (the last stages of a net at low resolution), the weight gradient drops to a
   reference loop (87 ms for a 5x5 at 2x2x1152, batch 128). One multiply-and-sum for each tap, over just the pixels
   that the tap touches, takes 1.4 ms.

CPU only: on CUDA and MPS the stock convolution stays.
"""

from typing import Any

import torch
import torch.nn.functional as F
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.padding import pad_same
from torch import Tensor, nn
from torch.autograd import Function

from seedwise.kernels.layers.eligibility import ANY, Reason, takes, why_not_train
from seedwise.kernels.ops.taps import weight_gradient_by_taps


class _DepthwiseConv(Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(images, weight, None, stride, padding, groups=weight.shape[0])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        images, weight = ctx.saved_tensors
        wants_images, wants_weight = ctx.needs_input_grad[:2]
        wide = torch.float32 if weight.dtype == torch.bfloat16 else weight.dtype
        grad, images_wide = grads[0].to(wide), images.to(wide)
        kernel = (weight.shape[2], weight.shape[3])
        by_taps = wants_weight and min(images.shape[2:]) < min(kernel)
        grad_images, grad_weight, _ = torch.ops.aten.convolution_backward(
            grad, images_wide, weight.to(wide), None, ctx.stride, ctx.padding, (1, 1), False, (0, 0), weight.shape[0],
            (wants_images, wants_weight and not by_taps, False),
        )  # fmt: skip
        if by_taps:
            grad_weight = weight_gradient_by_taps(images_wide, grad, kernel, ctx.stride, ctx.padding)
        return (
            None if grad_images is None else grad_images.to(images.dtype),
            None if grad_weight is None else grad_weight.to(weight.dtype),
            None,
            None,
        )


def depthwise_conv2d(images: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
    """A depthwise convolution without bias or dilation: [n, c, h, w] with weight [c, 1, kh, kw], as `F.conv2d` has it.

    Under autocast both inputs are cast to the autocast type first, as `F.conv2d` does (which leaves float64 alone).
    """
    if torch.is_autocast_enabled("cpu") and images.dtype != torch.float64:
        dtype = torch.get_autocast_dtype("cpu")
        images, weight = images.to(dtype), weight.to(dtype)
    result: Tensor = _DepthwiseConv.apply(images, weight, stride, padding)
    return result


def pair(values: Any) -> tuple[int, int]:
    """Two numbers, of height and width."""
    height, width = values
    return height, width


def _takes(conv: nn.Conv2d, images: Tensor) -> bool:
    biased = "it has a bias" if conv.bias is not None else None  # a folded BatchNorm's
    return takes(conv, "fallback gradients", biased or why_not_train(images, (conv.weight,), ANY))


class FallbackDepthwise(nn.Conv2d):
    """A depthwise convolution with the backward above."""

    def forward(self, input: Tensor) -> Tensor:
        """float[n, c, h, w] -> float[n, c, oh, ow]."""
        if not _takes(self, input):
            return super().forward(input)
        return depthwise_conv2d(input, self.weight, pair(self.stride), pair(self.padding))


class FallbackDepthwiseSame(Conv2dSame):
    """TensorFlow's SAME padding, which depends on the input's size, so the input is padded first (as timm does)."""

    def forward(self, x: Tensor) -> Tensor:
        """float[n, c, h, w] -> float[n, c, oh, ow]."""
        if not _takes(self, x):
            stock: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
            return stock
        kernel, stride = pair(self.kernel_size), pair(self.stride)
        return depthwise_conv2d(pad_same(x, list(kernel), list(stride)), self.weight, stride, (0, 0))


_FAST: dict[type[nn.Module], type[nn.Module]] = {nn.Conv2d: FallbackDepthwise, Conv2dSame: FallbackDepthwiseSame}


def use_fallback(model: nn.Module) -> int:
    """Give every depthwise convolution of a model the fast CPU backward, in place; returns how many there were.

    Parameters, their names and the forward result stay as they are. Convolutions with bias, dilation, more than one
    output per channel or a padding mode other than zeros are left alone.
    """
    count = 0
    for module in model.modules():
        fast = _FAST.get(type(module))
        if fast is not None and unfit(module) is None:
            module.__class__ = fast
            count += 1
    return count


def unfit(conv: Any) -> Reason:
    """Why the backward above is not for a convolution."""
    return "it has a bias" if conv.bias is not None else why_no_depthwise(conv)


def why_no_depthwise(conv: Any) -> Reason:
    """Why a convolution is none of one output per channel, zeros in a padding given in numbers, and no dilation."""
    if not conv.groups == conv.in_channels == conv.out_channels > 1:
        return "it is no depthwise convolution"
    plain = conv.padding_mode == "zeros" and not isinstance(conv.padding, str) and tuple(conv.dilation) == (1, 1)
    return None if plain else "depthwise convolutions with dilation or an unusual padding have no kernel"
