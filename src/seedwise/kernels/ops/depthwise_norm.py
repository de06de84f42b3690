"""Kernels that join a depthwise convolution with the BatchNorms around it, and with the 1x1 convolution in front."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seedwise.kernels import launch
from seedwise.kernels.ops import depthwise as depthwise_ops
from seedwise.kernels.ops.batch_norm import NormStep
from seedwise.kernels.ops.depthwise import Geometry, Norm


@dataclass(frozen=True)
class NormedGrads:
    """What `normed_backward` returns: the normalized images' and the weight's gradient, and those of the norm before.

    `affine`: what `norm_act.kernels.finish` needs for the images' own gradient.
    """

    normalized: Tensor
    weight: Tensor
    affine: Tensor
    norm_weight: Tensor
    norm_bias: Tensor


def normed_backward(
    images: Tensor,
    grad: Tensor,
    weight: Tensor,
    geometry: Geometry,
    before: Norm,
    behind: tuple[Norm, Tensor, Tensor],
) -> NormedGrads:
    """Backwards through the norm behind a convolution, the convolution, and its norm before, in one pass.

    `grad`: the gradient of what the norm `behind` returned; beside that norm stand its slope and offset (`norm_act`'s
    `gradient_sums`), and the convolution's result.
    """
    norm, affine, result = behind
    c = images.shape[1]
    weight = weight.contiguous()
    numbers = depthwise_ops.numbers_of(images, geometry, (grad.shape[2], grad.shape[3]))
    wanted = NormedGrads(
        torch.empty_like(images, memory_format=torch.channels_last),
        torch.empty_like(weight),
        torch.empty(2, c),
        *torch.empty(2, c).unbind(),
    )
    given = (images, grad, weight, before.saved, norm.saved, affine, result)
    made = (wanted.normalized, wanted.weight, wanted.affine, wanted.norm_weight, wanted.norm_bias)
    limits = depthwise_ops.floats(before.low, before.high, norm.low, norm.high)
    threads = torch.get_num_threads()
    launch.call(
        *(depthwise_ops.library().normed_backward, depthwise_ops.check, (given, made)),
        *(
            depthwise_ops.is_bf16(images),
            depthwise_ops.pointers(given),
            depthwise_ops.pointers(made),
            limits,
            numbers,
            threads,
        ),
    )
    return wanted


@dataclass(frozen=True)
class Widening:
    """A 1x1 convolution of `x`, the BatchNorm behind it and an activation that clamps, which nobody writes down.

    `x`: float32[n, in, h, w] in channels_last; `weight`: float32[c, in, 1, 1]. `saved` and `moments` are what
    `widened_forward` learns: as Norm's; x's mean, float32[in], and covariance, float64[in, in].
    """

    x: Tensor
    weight: Tensor
    bias: Tensor
    limits: tuple[float, float]
    saved: Tensor
    moments: tuple[Tensor, Tensor]

    @staticmethod
    def of(x: Tensor, weight: Tensor, bias: Tensor, limits: tuple[float, float], *learnt: Tensor) -> "Widening":
        """With what was `learnt`, or with room for it."""
        c, inputs = weight.shape[:2]
        if not learnt:
            learnt = torch.empty(4, c), torch.empty(inputs), torch.empty(inputs, inputs, dtype=torch.float64)
        saved, *moments = learnt
        return Widening(x, weight.contiguous(), bias, limits, saved, (moments[0], moments[1]))

    @property
    def learnt(self) -> tuple[Tensor, ...]:
        """For `of`."""
        return self.saved, *self.moments

    @property
    def addresses(self) -> Any:
        """What the kernels read."""
        return depthwise_ops.pointers((self.x, self.weight, self.saved, self.bias, *self.moments))


MAX_WIDENED = 16384
"""Numbers in the weight of a 1x1 convolution above which computing its result anew isn't even tried."""


def widened_forward(
    widening: Widening, kernel: Tensor, geometry: Geometry, before: NormStep, behind: NormStep
) -> tuple[Tensor, Tensor]:
    """A depthwise convolution, float32[c, 1, k, k], of a widened map, and what the BatchNorm behind it keeps.

    `before`: the step of the norm in front, whose weight and bias are the widening's.
    """
    n, _, h, w = widening.x.shape
    c, size = len(widening.weight), geometry.out_size(h, w)
    out, saved = torch.empty(n, c, *size, memory_format=torch.channels_last), torch.empty(4, c)
    kernel = kernel.contiguous()
    steps = depthwise_ops.step_pointers(before, widening.saved), depthwise_ops.step_pointers(behind, saved)
    launch.call(
        *(depthwise_ops.library().widened_forward, depthwise_ops.check, (widening, kernel, before, behind, out, saved)),
        *(widening.addresses, widening.x.shape[1], depthwise_ops.floats(*widening.limits), kernel.data_ptr()),
        *(*steps, depthwise_ops.step_numbers(before, behind), out.data_ptr()),
        *(_wide_numbers(widening, geometry, size), torch.get_num_threads()),
    )
    return out, saved


@dataclass(frozen=True)
class WidenedGrads:
    """Of a widening's x and weight, of the depthwise weight, and of the parameters of the norm between them."""

    x: Tensor
    weight: Tensor
    kernel: Tensor
    norm_weight: Tensor
    norm_bias: Tensor


def widened_backward(
    widening: Widening, grad: Tensor, kernel: Tensor, geometry: Geometry, behind: tuple[Norm, Tensor, Tensor]
) -> WidenedGrads:
    """Backwards through what `widened_forward` did; `grad` and `behind` are those of `normed_backward`."""
    norm, affine, result = behind
    c = len(widening.weight)
    kernel = kernel.contiguous()
    grads = WidenedGrads(
        torch.empty_like(widening.x), torch.empty_like(widening.weight), torch.empty_like(kernel), *torch.empty(2, c)
    )
    wanted = (grads.x, grads.weight, grads.kernel, grads.norm_weight, grads.norm_bias, torch.empty(2, c))
    launch.call(
        *(depthwise_ops.library().widened_backward, depthwise_ops.check, (widening, grad, kernel, behind, wanted)),
        *(widening.addresses, widening.x.shape[1], depthwise_ops.floats(*widening.limits, norm.low, norm.high)),
        *(depthwise_ops.pointers((grad, kernel, norm.saved, affine, result)), depthwise_ops.pointers(wanted)),
        *(_wide_numbers(widening, geometry, (grad.shape[2], grad.shape[3])), torch.get_num_threads()),
    )
    return grads


def _wide_numbers(widening: Widening, geometry: Geometry, size: tuple[int, int]) -> Any:
    n, _, h, w = widening.x.shape
    return depthwise_ops.geometry_numbers((n, len(widening.weight), h, w), geometry, size)
