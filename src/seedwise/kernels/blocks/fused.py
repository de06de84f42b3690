"""Blocks that train as one step of autograd instead of one for each layer. CPU, fp32, channels_last.

A layer's own step costs some hundred microseconds of Python and of autograd, forward and backward, however small its
maps are, and a network has hundreds of layers. Here a block's layers call their kernels one after the other, and all
the Python comes first (see `launch.deferred_launches`): the same kernels in the same order, hence the same bits.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from timm.models._efficientnet_blocks import ConvBnAct, EdgeResidual, InvertedResidual
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from seedwise.kernels import launch
from seedwise.kernels.dispatch import Dispatcher
from seedwise.kernels.layers import batch_norm, conv3x3, depthwise, pointwise
from seedwise.kernels.layers.batch_norm import FusedBatchNormAct2d
from seedwise.kernels.layers.conv3x3 import WinogradConv, WinogradConvSame
from seedwise.kernels.layers.drop_path import scale_of, why_no_scale
from seedwise.kernels.layers.eligibility import takes, why_not_hooked, why_not_train
from seedwise.kernels.layers.pointwise import PointwiseConv
from seedwise.kernels.layers.squeeze_excite import FusedSqueezeExcite
from seedwise.kernels.ops import batch_norm as batch_norm_ops
from seedwise.kernels.ops import depthwise as depthwise_ops
from seedwise.kernels.ops import depthwise_candidates
from seedwise.kernels.ops import squeeze_excite as squeeze_excite_ops
from seedwise.kernels.ops.depthwise import Geometry

Kept = tuple[Tensor, ...]


class LayerStep(Protocol):
    """What a layer does in a training step."""

    parameters: tuple[Tensor, ...]

    def forward(self, x: Tensor) -> tuple[Tensor, Kept]:
        """The result, float32[n, out, oh, ow], of x, float32[n, in, h, w], and what `backward` needs."""

    def backward(self, grad: Tensor, kept: Kept, spare: bool) -> tuple[Tensor | None, ...]:
        """The gradients of x and of `parameters` from the result's, [n, out, oh, ow]; `spare`: it may be reused."""


class _Product:
    def __init__(self, conv: PointwiseConv) -> None:
        self.parameters: tuple[Tensor, ...] = (conv.weight,)
        self.dispatcher = conv.dispatcher

    def forward(self, x: Tensor) -> tuple[Tensor, Kept]:
        weight = self.parameters[0]
        return pointwise.forward(x, weight, None, self.dispatcher), (x, weight)

    def backward(self, grad: Tensor, kept: Kept, spare: bool) -> tuple[Tensor | None, ...]:
        x, weight = kept
        return pointwise.backward(x, grad, weight, (True, True), self.dispatcher)


class _Dense:
    def __init__(self, conv: WinogradConv | WinogradConvSame) -> None:
        self.parameters: tuple[Tensor, ...] = (conv.weight,)
        self.dispatcher = conv.dispatcher

    def forward(self, x: Tensor) -> tuple[Tensor, Kept]:
        weight = self.parameters[0]
        return conv3x3.forward(x, weight, self.dispatcher), (x, weight)

    def backward(self, grad: Tensor, kept: Kept, spare: bool) -> tuple[Tensor | None, ...]:
        x, weight = kept
        return conv3x3.backward(x, grad, weight, (True, True), self.dispatcher)


class _DepthwiseStep:
    def __init__(self, conv: nn.Conv2d, geometry: Geometry, dispatcher: Dispatcher) -> None:
        self.parameters: tuple[Tensor, ...] = (conv.weight,)
        self.geometry, self.dispatcher = geometry, dispatcher

    def forward(self, x: Tensor) -> tuple[Tensor, Kept]:
        weight = self.parameters[0]
        return depthwise_candidates.forward(x, weight, self.geometry, self.dispatcher), (x, weight)

    def backward(self, grad: Tensor, kept: Kept, spare: bool) -> tuple[Tensor | None, ...]:
        x, weight = kept
        return depthwise_ops.backward(x, grad, weight, self.geometry, (True, True))


class _Norm:
    def __init__(self, norm: FusedBatchNormAct2d) -> None:
        self.parameters: tuple[Tensor, ...] = (norm.weight, norm.bias)
        self.norm = norm

    def forward(self, x: Tensor, plus: Tensor | None = None) -> tuple[Tensor, Kept]:
        """`plus` is added to the result."""
        step = batch_norm.step_of(self.norm)
        self.act = step.act
        y, saved = batch_norm_ops.forward(x, step, plus)
        return y, (x, saved)

    def backward(self, grad: Tensor, kept: Kept, spare: bool) -> tuple[Tensor | None, ...]:
        x, saved = kept
        if spare:
            return batch_norm_ops.backward_in_place(grad, x, saved, self.act)
        return batch_norm_ops.backward(grad, x, saved, self.act, True)


class _Squeeze:
    def __init__(self, layer: FusedSqueezeExcite) -> None:
        self.parameters: tuple[Tensor, ...] = layer.parameters_in_order()

    def forward(self, x: Tensor) -> tuple[Tensor, Kept]:
        result, kept = squeeze_excite_ops.forward(x, self.parameters)
        return result, (x, kept, *self.parameters)

    def backward(self, grad: Tensor, kept: Kept, spare: bool) -> tuple[Tensor | None, ...]:
        x, state, *parameters = kept
        return squeeze_excite_ops.backward(grad, x, parameters, state, True)


class _FusedBlock(Function):
    """A block's layers in order; `scale`, float[n, 1, 1, 1] or None: what drop path multiplies their result by."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        steps: Sequence[LayerStep],
        last: _Norm,
        has_skip: bool,
        scale: Tensor | None,
        *parameters: Tensor,
    ) -> Tensor:
        y, made = x, list[Kept]()
        with launch.deferred_launches():
            for step in steps:
                y, kept = step.forward(y)
                made.append(kept)
            y, kept = last.forward(y, x if has_skip and scale is None else None)
            made.append(kept)
        if scale is not None:
            y.mul_(scale).add_(x)
        ctx.save_for_backward(*(tensor for kept in made for tensor in kept))
        ctx.steps, ctx.counts, ctx.has_skip, ctx.scale = (*steps, last), [len(kept) for kept in made], has_skip, scale
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        of_result = grads[0].contiguous(memory_format=torch.channels_last)
        grad = of_result if ctx.scale is None else of_result * ctx.scale
        saved: list[Tensor] = list(ctx.saved_tensors)
        found: list[Tensor | None] = []
        with launch.deferred_launches():
            for step, count in zip(reversed(ctx.steps), reversed(ctx.counts), strict=True):
                kept = tuple(saved[-count:])
                del saved[-count:]
                of_x, *of_parameters = step.backward(grad, kept, grad is not of_result)
                assert of_x is not None
                grad = of_x
                found[:0] = of_parameters
        return grad.add_(of_result) if ctx.has_skip else grad, None, None, None, None, *found


PATH = "fused block"


def _train(block: Any, x: Tensor, layers: Sequence[Any]) -> Tensor | None:
    """The block's result by its layers, all in one; None if one of them does something else now than its kernel."""
    steps = _steps(block, x, layers)
    if isinstance(steps, str):
        takes(block, PATH, steps)
        return None
    takes(block, PATH, None)
    *before, last = steps
    parameters = [parameter for step in steps for parameter in step.parameters]
    scale = scale_of(block.drop_path, x) if block.has_skip else None
    result: Tensor = _FusedBlock.apply(x, before, last, block.has_skip, scale, *parameters)
    return result


def _steps(block: Any, x: Tensor, layers: Sequence[Any]) -> list[Any] | str:
    """What the block's layers do in a training step on float[n, c, h, w], a BatchNorm last; or why it isn't fused."""
    reason = None if x.requires_grad else "what comes in needs no gradient"
    reason = reason or why_not_train(x, ()) or why_not_hooked(*layers) or why_no_scale(block.drop_path)
    if reason is not None or len(x) < 2:
        return reason or "it is a single image"
    steps, size = list[LayerStep](), x.shape
    for layer in layers:
        if type(layer) is nn.Identity:
            continue
        step, size = _step_of(layer, size)
        if isinstance(step, str):
            return f"{type(layer).__name__}: {step}"
        steps.append(step)
    if not isinstance(steps[-1], _Norm):
        return "it doesn't end in a BatchNorm"
    for parameter in (one for step in steps for one in step.parameters):
        if not parameter.requires_grad:
            return "a parameter of it is frozen"
        if parameter.dtype != torch.float32 or not parameter.is_cpu:
            return "a parameter of it is no float32 on the CPU"
    return steps


def _step_of(layer: Any, size: torch.Size) -> tuple[LayerStep | str, torch.Size]:
    """A layer's step for maps of a size, or why its kernel may not take it, and its result's size."""
    n, _, h, w = size
    reason = "there is no kernel for it"
    if isinstance(layer, FusedBatchNormAct2d):
        return layer.why_not_trained() or _Norm(layer), size
    if isinstance(layer, PointwiseConv) and layer.bias is None:
        return _Product(layer), torch.Size((n, layer.out_channels, h, w))
    if isinstance(layer, WinogradConv | WinogradConvSame):
        return _Dense(layer), torch.Size((n, layer.out_channels, h, w))
    if isinstance(layer, FusedSqueezeExcite):
        return layer.why_not_native() or _Squeeze(layer), size
    if depthwise.is_native(layer) and layer.bias is None:
        geometry = depthwise.step_geometry(layer, torch.empty(size, memory_format=torch.channels_last))
        if not isinstance(geometry, str):
            return _DepthwiseStep(layer, geometry, layer.dispatcher), torch.Size((n, size[1], *geometry.out_size(h, w)))
        reason = geometry
    return reason, size


class FusedInvertedResidual(InvertedResidual):
    """timm's block, in one where it trains by kernels."""

    def forward(self, x: Tensor) -> Tensor:
        """float[n, c, h, w] -> float[n, out, oh, ow]."""
        layers = self.conv_pw, self.bn1, self.conv_dw, self.bn2, self.aa, self.se, self.conv_pwl, self.bn3
        result = _train(self, x, layers) if self.conv_s2d is None else None
        return super().forward(x) if result is None else result  # type: ignore[no-untyped-call]


class _FusedEdgeResidual(EdgeResidual):
    def forward(self, x: Tensor) -> Tensor:
        """float[n, c, h, w] -> float[n, out, oh, ow]."""
        result = _train(self, x, (self.conv_exp, self.bn1, self.aa, self.se, self.conv_pwl, self.bn2))
        return super().forward(x) if result is None else result  # type: ignore[no-untyped-call]


class _FusedConvBnAct(ConvBnAct):
    def forward(self, x: Tensor) -> Tensor:
        """float[n, c, h, w] -> float[n, out, oh, ow]."""
        result = _train(self, x, (self.conv, self.bn1, self.aa))
        return super().forward(x) if result is None else result  # type: ignore[no-untyped-call]


_FUSED: dict[type[nn.Module], type[nn.Module]] = {
    InvertedResidual: FusedInvertedResidual,
    EdgeResidual: _FusedEdgeResidual,
    ConvBnAct: _FusedConvBnAct,
}


def use_fused_blocks(model: nn.Module) -> int:
    """Let timm's blocks train as above, in place; returns how many may.

    Parameters and their names stay, and so does evaluation. It comes after the swaps of their layers. Where a layer has
    no kernel or frozen parameters, or a hook looks on, a block goes by its layers.
    """
    count = 0
    for module in model.modules():
        fused = _FUSED.get(type(module))
        if fused is not None:
            module.__class__ = fused
            count += 1
    return count
