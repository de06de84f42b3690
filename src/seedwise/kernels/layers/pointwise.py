"""1x1 convolutions as matrix products, where these are faster than oneDNN's convolution. CPU, fp32, channels_last.

In channels_last a 1x1 convolution is one product of [pixels, in] and [in, out], without a copy. oneDNN's convolution
is as fast forward, but takes up to twice as long for the weight's gradient (AMD Zen 3: 2.7 against 1.3 ms for 512
pixels, 192 to 1152 channels), and 30 times as long for the maps of one pixel in squeeze-excite layers; it also returns
that gradient in a layout that is copied again. Which one computes what, `kernels/rule.py` says.
"""

import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from seedwise.kernels import launch
from seedwise.kernels.dispatch import Dispatcher
from seedwise.kernels.layers import dense
from seedwise.kernels.layers.dense import Run, dispatched
from seedwise.kernels.layers.eligibility import Reason, takes, why_not_train
from seedwise.kernels.ops import pointwise as pointwise_ops


def forward(images: Tensor, weight: Tensor, bias: Tensor | None, dispatcher: Dispatcher) -> Tensor:
    """A 1x1 convolution by what is chosen: float32[n, in, h, w] in channels_last -> [n, out, h, w]."""
    if bias is not None:
        return dispatched("pointwise forward with bias", images, weight, dispatcher, _BIASED, images, weight, bias)
    return dispatched("pointwise forward", images, weight, dispatcher, _forwards(), images, weight)


def backward(
    images: Tensor, grad: Tensor, weight: Tensor, wants: tuple[bool, bool], dispatcher: Dispatcher
) -> tuple[Tensor | None, Tensor | None]:
    """Its wanted gradients of images and weight, float32[out, in, 1, 1], by what is chosen for each.

    `grad`: float32[n, out, h, w] in channels_last.
    """
    of_images = of_weight = None
    if wants[0]:
        of_images = dispatched(
            "pointwise images", images, weight, dispatcher, _images_gradients(), images, grad, weight
        )
    if wants[1]:
        of_weight = dispatched(
            "pointwise weight", images, weight, dispatcher, _weight_gradients(), images, grad, weight
        )
    return of_images, of_weight


class _Pointwise(Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None, dispatcher: Dispatcher) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.dispatcher = dispatcher
        return forward(images, weight, bias, dispatcher)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        images, weight = ctx.saved_tensors
        grad = grads[0].contiguous(memory_format=torch.channels_last)
        found = backward(images, grad, weight, ctx.needs_input_grad[:2], ctx.dispatcher)
        return *found, _rows(grad).sum(0) if ctx.needs_input_grad[2] else None, None


class PointwiseConv(nn.Conv2d):
    """A 1x1 convolution that trains as above."""

    dispatcher: Dispatcher

    def forward(self, input: Tensor) -> Tensor:
        """float[n, in, h, w] -> float[n, out, h, w]."""
        if not takes(self, "matrix products", why_not_train(input, (self.weight,))):
            return super().forward(input)
        result: Tensor = _Pointwise.apply(input, self.weight, self.bias, self.dispatcher)
        return result


def use_matrix_products(model: nn.Module, dispatcher: Dispatcher) -> int:
    """Let a model's 1x1 convolutions train by matrix products where these are faster, in place; returns how many.

    Parameters, their names and evaluation stay. Strided, grouped and padded ones, and other layouts, types and devices
    than channels_last, fp32 and CPU, stay as they are.
    """
    count = 0
    for module in model.modules():
        if type(module) is nn.Conv2d and unfit(module) is None:
            module.__class__ = PointwiseConv
            module.dispatcher = dispatcher  # type: ignore[assignment]
            count += 1
    return count


def unfit(conv: nn.Conv2d) -> Reason:
    """Why a convolution is no single matrix product."""
    if conv.groups > 1 or tuple(conv.kernel_size) != (1, 1):
        return "it is no dense 1x1 convolution"
    plain = tuple(conv.stride) == (1, 1) and conv.padding in ((0, 0), 0)
    return None if plain else "1x1 convolutions with a stride or a padding have no kernel"


@functools.cache
def _forwards() -> dict[str, Run]:
    return {
        "onednn": dense.onednn_forward,
        "product": product,
        **({"split": pointwise_ops.forward} if pointwise_ops.available() else {}),
    }


@functools.cache
def _images_gradients() -> dict[str, Run]:
    split = {"split": pointwise_ops.images_gradient} if pointwise_ops.available() else {}
    return {"onednn": dense.onednn_images_gradient, "product": _images_product, **split}


@functools.cache
def _weight_gradients() -> dict[str, Run]:
    split = {"split": pointwise_ops.weight_gradient} if pointwise_ops.available() else {}
    return {"onednn": dense.onednn_weight_gradient, "product": _weight_product, **split}


def product(images: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A 1x1 convolution, as `forward`, as one product of matrices by torch; `bias`: float32[out]."""
    launch.synchronize()
    rows, matrix = _rows(images), weight.reshape(weight.shape[:2])
    maps = pointwise_ops.empty_maps(images, len(matrix))
    if bias is None:
        torch.mm(rows, matrix.t(), out=_rows(maps))
    else:
        torch.addmm(bias, rows, matrix.t(), out=_rows(maps))
    return maps


_BIASED: dict[str, Run] = {"onednn": dense.onednn_forward, "product": product}


def _images_product(images: Tensor, grad: Tensor, weight: Tensor) -> Tensor:
    launch.synchronize()
    maps = pointwise_ops.empty_maps(images, images.shape[1])
    torch.mm(_rows(grad), weight.reshape(weight.shape[:2]), out=_rows(maps))
    return maps


def _weight_product(images: Tensor, grad: Tensor, weight: Tensor) -> Tensor:
    launch.synchronize()
    return (_rows(grad).t() @ _rows(images)).view(weight.shape)


def _rows(maps: Tensor) -> Tensor:
    """channels_last [n, c, h, w] as [n * h * w, c], without a copy."""
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])
