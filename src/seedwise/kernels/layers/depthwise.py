"""Depthwise convolution modules that use the fastest implementation of this machine. CPU only.

In these modules the forward pass without gradients (export, compilation) stays PyTorch's own. What is evaluated is
a copy of the network that has kernels of its own where it may (`kernels/evaluation.py`).
"""

from typing import Any

import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn
from torch.autograd import Function

from seedwise.kernels.dispatch import Dispatcher
from seedwise.kernels.layers.depthwise_fallback import (
    FallbackDepthwise,
    FallbackDepthwiseSame,
    pair,
    unfit,
    use_fallback,
    why_no_depthwise,
)
from seedwise.kernels.layers.eligibility import MIXED, takes, why_not_train
from seedwise.kernels.ops import depthwise as depthwise_ops
from seedwise.kernels.ops import depthwise_candidates
from seedwise.kernels.ops.depthwise import Epilogue, Geometry


class _NativeConv(Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, geometry: Geometry, dispatcher: Dispatcher) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.geometry = geometry
        return depthwise_candidates.forward(images, weight, geometry, dispatcher)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        images, weight = ctx.saved_tensors
        wants: tuple[bool, bool] = ctx.needs_input_grad[:2]
        if torch.is_grad_enabled():  # create_graph: the gradients will be differentiated
            return *depthwise_candidates.onednn_backward(images, grads[0], weight, ctx.geometry, wants), None, None
        grad = grads[0].contiguous(memory_format=torch.channels_last)
        return *depthwise_ops.backward(images, grad, weight, ctx.geometry, wants), None, None


class NativeDepthwise(FallbackDepthwise):
    """A depthwise convolution that trains by what is chosen."""

    dispatcher: Dispatcher

    def forward(self, input: Tensor) -> Tensor:
        """float[n, c, h, w] -> float[n, c, oh, ow]."""
        result = _trained(self, input)
        return super().forward(input) if result is None else result


class NativeDepthwiseSame(FallbackDepthwiseSame):
    """TensorFlow's SAME padding, which depends on the input's size; the kernels need no padded copy."""

    dispatcher: Dispatcher

    def forward(self, x: Tensor) -> Tensor:
        """float[n, c, h, w] -> float[n, c, oh, ow]."""
        result = _trained(self, x)
        return super().forward(x) if result is None else result


PATH = "native kernels"
_NATIVE: dict[type[nn.Module], type[nn.Module]] = {nn.Conv2d: NativeDepthwise, Conv2dSame: NativeDepthwiseSame}


def available() -> bool:
    """Whether this machine has the kernels: a compiler builds them here, once, or the cache has them."""
    return depthwise_ops.available()


def use_fast_depthwise(model: nn.Module, *, native: bool, dispatcher: Dispatcher) -> int:
    """Give every depthwise convolution of a model the fastest CPU implementation, in place; returns how many.

    `native=False`, or no compiler: `use_fallback`. Otherwise `dispatcher`, which the modules share, says which
    implementation computes a shape. Parameters, their names and evaluation stay as they are. Convolutions with bias,
    dilation, more than one output per channel or a padding mode other than zeros are left alone. Inputs that the
    kernels don't take (other layouts, float64, other devices) go the way of `use_fallback`.
    """
    if not (native and available()):
        return use_fallback(model)
    count = 0
    for module in model.modules():
        fast = _NATIVE.get(type(module))
        if fast is not None and unfit(module) is None:
            module.__class__ = fast
            module.dispatcher = dispatcher  # type: ignore[assignment]
            count += 1
    return count


def forward_alone(
    conv: nn.Conv2d, images: Tensor, limits: tuple[float, float], dispatcher: Dispatcher
) -> Tensor | None:
    """A depthwise convolution that nobody differentiates, by what is fastest; None if it isn't one of ours.

    `images`: float[n, c, h, w]. The result is held between the two limits, which may be infinite, if the convolution
    has a bias, as folded ones do.
    """
    geometry = geometry_of(conv, images)
    if geometry is None or not depthwise_ops.fits(images, conv.weight, geometry):
        return None
    epilogue = None if conv.bias is None else Epilogue(conv.bias, *limits)
    return depthwise_candidates.forward(images, conv.weight, geometry, dispatcher, epilogue)


def geometry_of(conv: nn.Conv2d, images: Tensor) -> Geometry | None:
    """What a depthwise convolution does to images, [n, c, h, w]; None if no kernel could be for it here."""
    if why_no_depthwise(conv) or images.dim() != 4 or images.device.type != "cpu" or not _is_square(conv):
        return None
    if not depthwise_ops.available():
        return None
    kernel, stride = conv.kernel_size[0], conv.stride[0]
    if isinstance(conv, Conv2dSame):
        return depthwise_ops.same(kernel, stride, *images.shape[-2:])
    top, left = pair(conv.padding)
    return Geometry(kernel, stride, top, left, top, left)


def is_native(conv: nn.Module) -> bool:
    """Whether `use_fast_depthwise` gave this layer the native kernels."""
    return isinstance(conv, NativeDepthwise | NativeDepthwiseSame)


def step_geometry(conv: nn.Conv2d, images: Tensor) -> Geometry | str:
    """A depthwise convolution's geometry in a training step on these images; or why no native kernel may compute it.

    `images`: float[n, c, h, w]. The weight counts as being of their type, which has to be autocast's under autocast.
    """
    if not is_native(conv):
        return "its depthwise convolution has no native kernel"
    if torch.is_autocast_enabled("cpu") and images.dtype != torch.get_autocast_dtype("cpu"):
        return "autocast chooses another type"
    return _geometry(conv, images, conv.weight.to(images.dtype))


def _geometry(conv: nn.Conv2d, images: Tensor, weight: Tensor) -> Geometry | str:
    """The same, of images and weight as they are."""
    reason = why_not_train(images, (weight,), MIXED)
    geometry = None if reason else geometry_of(conv, images)
    if geometry is None:
        return reason or "there are kernels for square convolutions and strides alone"
    if not depthwise_ops.fits(images, weight, geometry):
        return f"there is no kernel for {geometry.kernel}x{geometry.kernel}/{geometry.stride} on such maps"
    return geometry


def _trained(conv: Any, images: Tensor) -> Tensor | None:
    """The convolution with its fast backward, or None where there are no kernels for it."""
    weight: Tensor = conv.weight
    if torch.is_autocast_enabled("cpu") and images.dtype != torch.float64:
        dtype = torch.get_autocast_dtype("cpu")
        images, weight = images.to(dtype), weight.to(dtype)
    geometry = _geometry(conv, images, weight)
    if not isinstance(geometry, Geometry):
        takes(conv, PATH, geometry)
        return None
    takes(conv, PATH, None)
    result: Tensor = _NativeConv.apply(images, weight, geometry, conv.dispatcher)
    return result


def _is_square(conv: nn.Conv2d) -> bool:
    return conv.kernel_size[0] == conv.kernel_size[1] and conv.stride[0] == conv.stride[1]
