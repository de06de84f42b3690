"""Kernels that join a depthwise convolution with the BatchNorms around it, and with the 1x1 convolution before it.

Maps are float32[n, c, h, w] in channels_last, weights float32[c, 1, k, k].
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from seedwise.kernels.library import floats
from seedwise.kernels.ops.batch_norm import NormStep
from seedwise.kernels.ops.depthwise import EXPAND, Geometry, Norm

NormEpilogue = tuple[Norm, Tensor, Tensor]
"""For the backward: a BatchNorm after the convolution, its slope and offset (`batch_norm.gradient_sums`), and the
convolution's result [n, c, oh, ow]."""


@dataclass(frozen=True)
class Expansion:
    """A 1x1 convolution, its BatchNorm and an activation that clamps, whose maps [n, c, h, w] are never written.

    `x`: float32[n, in, h, w] in channels_last; `weight`: float32[c, in, 1, 1]; `bias`: the norm's, float32[c];
    `limits`: the activation's. `expanded_forward` learns `saved`, as Norm's, and `moments`: x's mean, float32[in], and
    covariance, float64[in, in].
    """

    x: Tensor
    weight: Tensor
    bias: Tensor
    limits: tuple[float, float]
    saved: Tensor
    moments: tuple[Tensor, Tensor]

    @staticmethod
    def of(x: Tensor, weight: Tensor, bias: Tensor, limits: tuple[float, float], *learnt: Tensor) -> "Expansion":
        """With what was `learnt`, or with memory for it; the tensors are the class's."""
        c, inputs = weight.shape[:2]
        if not learnt:
            learnt = torch.empty(4, c), torch.empty(inputs), torch.empty(inputs, inputs, dtype=torch.float64)
        saved, mean, covariance = learnt
        return Expansion(x, weight.contiguous(), bias, limits, saved, (mean, covariance))

    @property
    def learnt(self) -> tuple[Tensor, ...]:
        """For `of`."""
        return self.saved, *self.moments

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """For the kernels, in the order of `EXPANSION`."""
        return self.x, self.weight, self.bias, self.saved, *self.moments


MAX_EXPANDED = 16384
"""Numbers in the weight of a 1x1 convolution above which computing its result anew isn't even tried."""


def expanded_forward(
    expansion: Expansion, kernel: Tensor, geometry: Geometry, prologue: NormStep, epilogue: NormStep
) -> tuple[Tensor, Tensor]:
    """A depthwise convolution of an expanded map, [n, c, oh, ow], and what the BatchNorm after it keeps of it.

    `kernel`: float32[c, 1, k, k]; `prologue`: the step of the expansion's norm.
    """
    x, c = expansion.x, len(expansion.weight)
    out, saved = geometry.empty_out(x, c), torch.empty(4, c)
    norms = prologue.weight, *prologue.tensors[2:], *epilogue.tensors
    EXPAND.launch(
        *("expanded_forward", (*expansion.tensors, kernel.contiguous(), *norms, saved, out)),
        *(prologue.momentum, prologue.eps, epilogue.momentum, epilogue.eps),
        *(floats(*expansion.limits), x.shape[1], geometry.numbers(x, c)),
    )
    return out, saved


@dataclass(frozen=True)
class ExpandedGrads:
    """The gradients of an expansion's x and weight, of the depthwise weight, and of the expansion's norm.

    All float32: `x`: [n, in, h, w]; `weight`: [c, in, 1, 1]; `kernel`: [c, 1, k, k]; `norm_weight`, `norm_bias`: [c].
    """

    x: Tensor
    weight: Tensor
    kernel: Tensor
    norm_weight: Tensor
    norm_bias: Tensor


def expanded_backward(
    expansion: Expansion, grad: Tensor, kernel: Tensor, geometry: Geometry, epilogue: NormEpilogue
) -> ExpandedGrads:
    """The gradients of what `expanded_forward` did.

    `grad`: [n, c, oh, ow], of what the norm of the epilogue returned.
    """
    norm, affine, result = epilogue
    x, c, kernel = expansion.x, len(expansion.weight), kernel.contiguous()
    x_grad, weight_grad, kernel_grad = map(torch.empty_like, (x, expansion.weight, kernel))
    grads = ExpandedGrads(x_grad, weight_grad, kernel_grad, torch.empty(c), torch.empty(c))
    EXPAND.launch(
        "expanded_backward",
        (
            *(*expansion.tensors, grad, kernel, norm.saved, affine, result),
            *(grads.x, grads.weight, grads.kernel, grads.norm_weight, grads.norm_bias, torch.empty(2, c)),
        ),
        *(floats(*expansion.limits, norm.low, norm.high), x.shape[1], geometry.numbers(x, c)),
    )
    return grads
