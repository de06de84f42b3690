"""Fused depthwise block: an inverted residual block whose expanded map is never written in training, by native kernels.

The 1x1 convolution that expands, its BatchNorm, the depthwise convolution and the BatchNorm after it work on the
block's widest maps, and take as long as memory does. Here the depthwise convolution computes rows of the expanded map
when it needs them, forward and backward, normalizes what it reads and sums up what it writes (`csrc/expand.hpp` has the
formulas). For expansions of few channels, and activations that clamp (ReLU, ReLU6), or none: others would be dear to
compute twice. CPU, float32.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from timm.models._efficientnet_blocks import InvertedResidual
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from seedwise.kernels import launch
from seedwise.kernels.blocks.fused import FusedInvertedResidual
from seedwise.kernels.dispatch import Candidates, Dispatcher, whole
from seedwise.kernels.layers import batch_norm, depthwise, pointwise
from seedwise.kernels.layers.batch_norm import FusedBatchNormAct2d
from seedwise.kernels.layers.eligibility import Reason, takes, why_not_hooked, why_not_train
from seedwise.kernels.layers.folded import limits_of
from seedwise.kernels.layers.pointwise import PointwiseConv
from seedwise.kernels.ops import batch_norm as batch_norm_ops
from seedwise.kernels.ops import depthwise as depthwise_ops
from seedwise.kernels.ops import depthwise_candidates, depthwise_norm
from seedwise.kernels.ops.batch_norm import NormStep
from seedwise.kernels.ops.depthwise import Geometry, Norm
from seedwise.kernels.ops.depthwise_norm import MAX_EXPANDED, Expansion

Limits = tuple[float, float]


@dataclass(frozen=True)
class FusedDepthwiseStep:
    """Expansion, BatchNorm, depthwise convolution and BatchNorm in one training step.

    `expand`: float32[c, in, 1, 1]; `kernel`: float32[c, 1, k, k]; `prologue` and `epilogue`: the steps of the norms
    before and after the depthwise convolution; `limits`: what their activations hold the results between.
    """

    expand: Tensor
    prologue: NormStep
    kernel: Tensor
    epilogue: NormStep
    geometry: Geometry
    limits: tuple[Limits, Limits]

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        """In the order of `backward`'s gradients."""
        norms = self.prologue.weight, self.prologue.bias, self.epilogue.weight, self.epilogue.bias
        return *norms, self.kernel, self.expand

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The result, float32[n, c, oh, ow], of float32[n, in, h, w], and what `backward` needs."""
        expansion = Expansion.of(x, self.expand, self.prologue.bias, self.limits[0])
        maps, saved = depthwise_norm.expanded_forward(
            expansion, self.kernel, self.geometry, self.prologue, self.epilogue
        )
        return batch_norm_ops.apply(maps, saved, self.epilogue.act), (maps, saved, *expansion.learnt)

    def backward(self, grad: Tensor, x: Tensor, kept: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The gradients of x, float32[n, in, h, w], and of each of `parameters`, from the result's."""
        maps, saved, *learnt = kept
        *of_epilogue, affine = batch_norm_ops.gradient_sums(grad, maps, saved, self.epilogue.act)
        epilogue = Norm(saved, *self.limits[1]), affine, maps
        expansion = Expansion.of(x, self.expand, self.prologue.bias, self.limits[0], *learnt)
        found = depthwise_norm.expanded_backward(expansion, grad, self.kernel, self.geometry, epilogue)
        return found.x, found.norm_weight, found.norm_bias, *of_epilogue, found.kernel, found.weight

    def is_faster(self, x: Tensor, dispatcher: Dispatcher) -> bool:
        """Whether `dispatcher` has the layers of float32[n, in, h, w] fused."""
        case = depthwise_candidates.case_of(OPERATION, f"fused depthwise of {len(self.expand)}", x, self.geometry)
        case = case._replace(outputs=len(self.expand))
        return dispatcher.choose(case, (FUSED, LAYERS), lambda: self._candidates(x, dispatcher)) == FUSED

    def _candidates(self, x: Tensor, dispatcher: Dispatcher) -> tuple[Candidates, int]:
        prologue, epilogue = (step._replace(running=None, batches=None) for step in (self.prologue, self.epilogue))
        trial = replace(self, prologue=prologue, epilogue=epilogue)
        by_layers = torch.no_grad()(lambda: trial.by_layers(x, dispatcher))
        return whole({FUSED: torch.no_grad()(lambda: trial.fused(x)), LAYERS: by_layers})

    def fused(self, x: Tensor) -> Tensor:
        """Forward and backward: the gradient of x, float32[n, in, h, w], where the result's is ones."""
        result, kept = self.forward(x)
        return self.backward(torch.ones_like(result), x, kept)[0]

    def by_layers(self, x: Tensor, dispatcher: Dispatcher) -> Tensor:
        """The same gradient of x, float32[n, in, h, w], layer by layer, each by what is chosen."""
        expanded = pointwise.forward(x, self.expand, None, dispatcher)
        normed, first = batch_norm_ops.forward(expanded, self.prologue)
        maps = depthwise_candidates.forward(normed, self.kernel, self.geometry, dispatcher)
        result, second = batch_norm_ops.forward(maps, self.epilogue)
        grad, *_ = batch_norm_ops.backward(torch.ones_like(result), maps, second, self.epilogue.act, True)
        assert grad is not None
        grad, _ = depthwise_ops.backward(normed, grad, self.kernel, self.geometry, (True, True))
        assert grad is not None
        grad, *_ = batch_norm_ops.backward(grad, expanded, first, self.prologue.act, True)
        assert grad is not None
        of_x, _ = pointwise.backward(x, grad, self.expand, (True, True), dispatcher)
        assert of_x is not None
        return of_x


class _FusedDepthwise(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, step: FusedDepthwiseStep, *parameters: Tensor) -> Tensor:
        with launch.deferred_launches():
            result, kept = step.forward(x)
        ctx.save_for_backward(x, *kept)
        ctx.step = step
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, *kept = ctx.saved_tensors
        grad = grads[0].contiguous(memory_format=torch.channels_last)
        with launch.deferred_launches():
            of_x, *found = ctx.step.backward(grad, x, tuple(kept))
        wants_x, _, *wanted = ctx.needs_input_grad
        return (
            of_x if wants_x else None,
            None,
            *(one if wants else None for one, wants in zip(found, wanted, strict=True)),
        )


PATH = OPERATION = "fused depthwise block"
FUSED, LAYERS = "fused", "layers"
SLOWER = "by the rule, layers are faster for this shape"


class FusedDepthwiseBlock(FusedInvertedResidual):
    """timm's inverted residual block, its expanded maps by the kernels where they apply and are faster."""

    dispatcher: Dispatcher

    def forward(self, x: Tensor) -> Tensor:
        """float[n, c, h, w] -> float[n, out, oh, ow]."""
        step = self._step(x)
        reason = step if isinstance(step, str) else None if step.is_faster(x, self.dispatcher) else SLOWER
        if not takes(self, PATH, reason) or isinstance(step, str):
            return super().forward(x)
        result: Tensor = _FusedDepthwise.apply(x, step, *step.parameters)
        result = self.bn3(self.conv_pwl(self.se(self.aa(result))))  # type: ignore[misc]
        return self.drop_path(result) + x if self.has_skip else result

    def _step(self, x: Tensor) -> FusedDepthwiseStep | str:
        """What its layers do to these maps in a training step; or why the kernels don't."""
        reason = None if x.requires_grad else "what comes in needs no gradient"
        reason = reason or unfit(self) or why_not_train(x, (self.conv_pw.weight,))
        reason = reason or why_not_hooked(self.conv_pw, self.bn1, self.conv_dw, self.bn2)
        reason = reason or self.bn1.why_not_trained() or self.bn2.why_not_trained()
        if reason is not None or len(x) < 2:
            return reason or "it is a single image"
        expanded = torch.empty(len(x), self.conv_pw.out_channels, *x.shape[-2:], memory_format=torch.channels_last)
        geometry = depthwise.step_geometry(self.conv_dw, expanded.requires_grad_())
        if isinstance(geometry, str):
            return geometry
        limits = limits_of(self.bn1), limits_of(self.bn2)
        assert limits[0] is not None and limits[1] is not None  # as `unfit` has it
        steps = batch_norm.step_of(self.bn1), batch_norm.step_of(self.bn2)
        weights = self.conv_pw.weight, self.conv_dw.weight
        return FusedDepthwiseStep(weights[0], steps[0], weights[1], steps[1], geometry, (limits[0], limits[1]))


def use_fused_depthwise_blocks(model: nn.Module, dispatcher: Dispatcher) -> int:
    """Let timm's inverted residual blocks train as above, in place; returns how many may.

    Parameters and their names stay, and so does evaluation. It comes after the swaps of their layers: blocks whose
    norms and depthwise convolution have no native kernels, expansions of many channels, or activations that don't
    clamp, are left alone. Where it isn't faster, a block goes as `use_fused_blocks` has it.
    """
    count = 0
    for module in model.modules():
        if type(module) is InvertedResidual and unfit(module) is None:
            module.__class__ = FusedDepthwiseBlock
            module.dispatcher = dispatcher  # type: ignore[assignment]
            count += 1
    return count


def unfit(block: InvertedResidual) -> Reason:
    """Why its layers are not the kernels' own; evaluation may have folded its norms since they were swapped in."""
    expand = block.conv_pw
    if getattr(block, "conv_s2d", None) is not None:
        return "it has a space-to-depth layer"
    if not isinstance(expand, PointwiseConv) or expand.bias is not None:
        return "its expansion is no 1x1 convolution without a bias"
    if expand.weight.numel() > MAX_EXPANDED:
        return f"its expansion has {expand.weight.numel()} weights, more than {MAX_EXPANDED}"
    for norm in (block.bn1, block.bn2):
        if not isinstance(norm, FusedBatchNormAct2d):
            return "its norms have no kernel"
        if limits_of(norm) is None:
            return f"{type(norm.act).__name__} would be dear to compute twice"
    plain = depthwise.is_native(block.conv_dw) and block.conv_dw.bias is None
    return None if plain else "its depthwise convolution has no native kernel"
