"""Depthwise convolution modules that use the fastest implementation of this machine. CPU only.

In these modules the forward pass without gradients (export, compilation) stays PyTorch's own. What is evaluated is
a copy of the network that has kernels of its own where it may (`kernels/evaluation.py`).
"""

from typing import Any, cast

import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn
from torch.autograd import Function

from seedwise.kernels.dispatch import Choices
from seedwise.kernels.layers.depthwise_composed import (
    _Depthwise,
    _DepthwiseSame,
    _fits,
    _pair,
    is_depthwise,
    use_fast_backward,
)
from seedwise.kernels.ops import depthwise as depthwise_ops
from seedwise.kernels.ops import depthwise_candidates
from seedwise.kernels.ops.depthwise import Epilogue, Geometry


class _NativeConv(Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, geometry: Geometry, choices: Choices) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.geometry, ctx.choices = geometry, choices
        return depthwise_candidates.forward(images, weight, geometry, choices)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        images, weight = ctx.saved_tensors
        wants: tuple[bool, bool] = ctx.needs_input_grad[:2]
        if torch.is_grad_enabled():  # create_graph: the gradients will be differentiated
            return *depthwise_candidates.onednn_backward(images, grads[0], weight, ctx.geometry, wants), None, None
        grad = grads[0].contiguous(memory_format=torch.channels_last)
        return *depthwise_candidates.backward(images, grad, weight, ctx.geometry, wants, ctx.choices), None, None


class _NativeDepthwise(nn.Conv2d):
    choices: Choices

    def forward(self, input: Tensor) -> Tensor:
        if _is_stock(self, input):
            return super().forward(input)
        top, left = _pair(self.padding)
        geometry = Geometry(self.kernel_size[0], self.stride[0], top, left, top, left) if _is_square(self) else None
        result = _run(self, input, geometry, self.choices)
        return _Depthwise.forward(cast("_Depthwise", self), input) if result is None else result


class _NativeDepthwiseSame(Conv2dSame):
    """TensorFlow's SAME padding, which depends on the input's size; the kernels need no padded copy."""

    choices: Choices

    def forward(self, x: Tensor) -> Tensor:
        if _is_stock(self, x):
            stock: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
            return stock
        height, width = x.shape[-2:]
        geometry = depthwise_ops.same(self.kernel_size[0], self.stride[0], height, width) if _is_square(self) else None
        result = _run(self, x, geometry, self.choices)
        return _DepthwiseSame.forward(cast("_DepthwiseSame", self), x) if result is None else result


_NATIVE: dict[type[nn.Module], type[nn.Module]] = {nn.Conv2d: _NativeDepthwise, Conv2dSame: _NativeDepthwiseSame}


def available() -> bool:
    """Whether this machine has the kernels: a compiler builds them here, once, or the cache has them."""
    return depthwise_ops.available()


def use_fast_depthwise(model: nn.Module, *, native: bool, choices: Choices) -> int:
    """Give every depthwise convolution of a model the fastest CPU implementation, in place; returns how many.

    `native=False`, or no compiler: `use_fast_backward`. Otherwise `choices`, which the modules share, say which
    implementation computes a shape. Parameters, their names and evaluation stay as they are. Convolutions with bias,
    dilation, more than one output per channel or a padding mode other than zeros are left alone. Inputs that the
    kernels don't take (other layouts, float64, other devices) go the way of `use_fast_backward`.
    """
    if not (native and available()):
        return use_fast_backward(model)
    count = 0
    for module in model.modules():
        fast = _NATIVE.get(type(module))
        if fast is not None and _fits(module):
            module.__class__ = fast
            module.choices = choices  # type: ignore[assignment]
            count += 1
    return count


def forward_alone(conv: nn.Conv2d, images: Tensor, limits: tuple[float, float], choices: Choices) -> Tensor | None:
    """A depthwise convolution that nobody differentiates, by what is fastest; None if it isn't one of ours.

    The result is held between the two limits, which may be infinite, if the convolution has a bias, as folded ones do.
    """
    geometry = geometry_of(conv, images)
    if geometry is None or not depthwise_ops.fits(images, conv.weight, geometry):
        return None
    epilogue = None if conv.bias is None else Epilogue(conv.bias, *limits)
    return depthwise_candidates.forward(images, conv.weight, geometry, choices, epilogue)


def geometry_of(conv: nn.Conv2d, images: Tensor) -> Geometry | None:
    """What a depthwise convolution does to maps of the size of `images`; None if no kernel could be for it here."""
    if not is_depthwise(conv) or images.dim() != 4 or images.device.type != "cpu" or not _is_square(conv):
        return None
    if not depthwise_ops.available():
        return None
    kernel, stride = conv.kernel_size[0], conv.stride[0]
    if isinstance(conv, Conv2dSame):
        return depthwise_ops.same(kernel, stride, *images.shape[-2:])
    top, left = _pair(conv.padding)
    return Geometry(kernel, stride, top, left, top, left)


def is_native(conv: nn.Module) -> bool:
    """Whether `use_fast_depthwise` gave this layer the native kernels."""
    return isinstance(conv, _NativeDepthwise | _NativeDepthwiseSame)


def step_geometry(conv: nn.Conv2d, images: Tensor) -> Geometry | None:
    """A depthwise convolution's geometry in a training step on these images; None if no native kernel may compute it.

    The weight counts as being of the images' type, which has to be autocast's under autocast.
    """
    if not is_native(conv) or _is_stock(conv, images):
        return None
    if torch.is_autocast_enabled("cpu") and images.dtype != torch.get_autocast_dtype("cpu"):
        return None
    geometry = geometry_of(conv, images)
    return geometry if geometry and depthwise_ops.fits(images, conv.weight.to(images.dtype), geometry) else None


def _run(conv: nn.Conv2d, images: Tensor, geometry: Geometry | None, choices: Choices) -> Tensor | None:
    """The convolution with its fast backward, or None where there are no kernels for it."""
    weight: Tensor = conv.weight
    if torch.is_autocast_enabled("cpu") and images.dtype != torch.float64:
        dtype = torch.get_autocast_dtype("cpu")
        images, weight = images.to(dtype), weight.to(dtype)
    if geometry is None or not depthwise_ops.available() or not depthwise_ops.fits(images, weight, geometry):
        return None
    result: Tensor = _NativeConv.apply(images, weight, geometry, choices)
    return result


def _is_square(conv: nn.Conv2d) -> bool:
    return conv.kernel_size[0] == conv.kernel_size[1] and conv.stride[0] == conv.stride[1]


def _is_stock(conv: nn.Conv2d, images: Tensor) -> bool:
    """Whether PyTorch's own convolution is to be seen: no gradients, another device, or something looks on.

    Compilers and exporters trace the plain operation; vmap and the like transform it; tensor subclasses define it.
    """
    return (
        not torch.is_grad_enabled()
        or not (images.requires_grad or conv.weight.requires_grad)
        or images.device.type != "cpu"
        or images.dim() != 4
        or type(images) not in (Tensor, nn.Parameter)
        or torch.compiler.is_compiling()
        or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        or _is_watched()
    )


def _is_watched() -> bool:
    """Whether a torch.func transform or a dispatch mode is active; torch has no public question for either."""
    transforms = getattr(torch._C, "_are_functorch_transforms_active", None)
    modes = getattr(torch._C, "_len_torch_dispatch_stack", None)
    return bool((transforms is not None and transforms()) or (modes is not None and modes() > 0))
