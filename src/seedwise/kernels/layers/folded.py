"""What is left of a convolution and its BatchNorm when the one is folded into the other.

A fast folded convolution also applies the activation after it while it writes, where that only limits its maps.
"""

import math
from typing import cast

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.padding import pad_same
from torch import Tensor, nn

from seedwise.kernels import dispatch
from seedwise.kernels.layers import depthwise
from seedwise.kernels.layers.eligibility import Reason, takes, why_not_frozen


class FoldedConv(nn.Conv2d):
    """Computes as if the BatchNorm after it were part of it."""

    is_folded = True
    folded: tuple[nn.Conv2d, nn.BatchNorm2d]
    """What computes, and what is folded into it: in a tuple, which torch takes for no part of the network's state."""
    dispatcher: dispatch.Dispatcher | None = None
    """With native kernels: what computes which shape in training. Scoring is for `evaluation_copy`."""

    def forward(self, input: Tensor) -> Tensor:
        """float[n, in, h, w] -> float[n, out, oh, ow]."""
        computes, norm = self.folded
        if not takes(self, "convolution with activation", why_not_fast(self, input)):
            result: Tensor = computes(input)
            return result
        act = getattr(norm, "act", None)
        assert self.dispatcher is not None
        limits = _FUSED.get(type(act))
        fast = depthwise.forward_alone(computes, input, limits or NO_LIMITS, self.dispatcher)
        if fast is None and limits and input.dtype == torch.float32 and input.device.type == "cpu":
            return convolve_with(computes, input, limits)
        if fast is None:
            fast = computes(input)
        elif limits:
            return fast
        return fast if act is None else cast("Tensor", act(fast))


class AbsorbedNorm(nn.BatchNorm2d):
    """What is left of a folded BatchNorm: its activation, if it is timm's, which brings one."""

    is_folded = True
    dispatcher: dispatch.Dispatcher | None = None

    def forward(self, input: Tensor) -> Tensor:
        """float[n, c, h, w] -> the same shape."""
        act = getattr(self, "act", None)
        result: Tensor = input if act is None or why_not_fast(self, input) is None else act(input)
        return result


NO_LIMITS = -math.inf, math.inf
_FUSED: dict[type, tuple[float, float]] = {nn.ReLU: (0.0, math.inf), nn.ReLU6: (0.0, 6.0)}
"""Activations that are computed while a convolution's result is written: what they hold it between."""


def limits_of(norm: nn.Module) -> tuple[float, float] | None:
    """What the activation of a BatchNorm, folded or not, holds its maps between; None if it does something else."""
    return limits_of_act(getattr(norm, "act", None))


def limits_of_act(act: nn.Module | None) -> tuple[float, float] | None:
    """What an activation holds its maps between; None if it does something else."""
    return NO_LIMITS if act is None or type(act) is nn.Identity else _FUSED.get(type(act))


def why_not_fast(module: "FoldedConv | AbsorbedNorm", maps: Tensor) -> Reason:
    """Why the convolution of float[n, c, h, w] doesn't apply the activation after it itself, as native kernels do."""
    return "the network has no native kernels" if module.dispatcher is None else why_not_frozen(maps)


def convolve_with(conv: nn.Conv2d, images: Tensor, limits: tuple[float, float]) -> Tensor:
    """Convolution of float32[n, in, h, w] on a CPU, and an activation of these limits, one of `_FUSED`.

    By oneDNN in one pass, if its padding is zeros given in numbers.
    """
    low, high = limits
    if isinstance(conv.padding, str) or conv.padding_mode != "zeros":
        padded: Tensor = conv(images)
        return padded.clamp_(low, high)
    name, numbers = ("relu", []) if math.isinf(high) else ("hardtanh", [low, high])
    padding = [conv.padding, conv.padding] if isinstance(conv.padding, int) else list(conv.padding)
    if isinstance(conv, Conv2dSame):
        images, padding = pad_same(images, list(conv.kernel_size), list(conv.stride)), [0, 0]
    result: Tensor = torch.ops.mkldnn._convolution_pointwise(
        images, conv.weight, conv.bias, padding, conv.stride, conv.dilation, conv.groups, name, numbers, ""
    )
    return result
