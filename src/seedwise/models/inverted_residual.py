"""The middle of an inverted residual block in training, by native kernels: BatchNorm, depthwise convolution, BatchNorm.

These layers work on the block's widest maps, and take as long as memory does. Together they pass over them less often:
the convolution normalizes what it reads, and backwards both norms' gradients are computed where it reads and writes. So
the map between the first norm and the convolution is neither written nor kept for the backward. For activations that
clamp (ReLU, ReLU6), or none: others would be dear to compute twice. CPU.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from timm.models._efficientnet_blocks import InvertedResidual
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from seedwise.models import depthwise, norm_act
from seedwise.models.depthwise import Choices, Geometry, Norm, implementations
from seedwise.models.depthwise import kernels as conv_kernels
from seedwise.models.depthwise.choices import fastest, one_of, seconds_of
from seedwise.models.freezing import limits_of
from seedwise.models.norm_act import FusedBatchNormAct2d, NormStep
from seedwise.models.norm_act import kernels as norm_kernels

Limits = tuple[float, float]
Kept = tuple[Tensor, Tensor, Tensor]
"""For the backward: what the convolution returned, and what each norm keeps."""


@dataclass(frozen=True)
class Middle:
    """The three layers in one training step. `limits`: what the activations hold the norms' results between."""

    before: NormStep
    kernel: Tensor
    behind: NormStep
    geometry: Geometry
    limits: tuple[Limits, Limits]

    def forward(self, x: Tensor) -> tuple[Tensor, Kept]:
        """The result, and what `backward` needs."""
        first = norm_kernels.statistics(x, self.before)
        maps = conv_kernels.forward(x, self.kernel, self.geometry, before=Norm(first, *self.limits[0]))
        result, second = norm_kernels.forward(maps, self.behind)
        return result, (maps, first, second)

    def backward(self, grad: Tensor, x: Tensor, kept: Kept) -> tuple[Tensor, ...]:
        """The gradients of x, the first norm's weight and bias, the kernel, the second norm's weight and bias."""
        maps, first, second = kept
        weight, bias, affine = norm_kernels.gradient_sums(grad, maps, second, self.behind.act)
        behind = Norm(second, *self.limits[1]), affine, maps
        grads = conv_kernels.normed_backward(x, grad, self.kernel, self.geometry, Norm(first, *self.limits[0]), behind)
        norm_kernels.finish(grads.normalized, x, first, grads.affine)
        return grads.normalized, grads.norm_weight, grads.norm_bias, grads.weight, weight, bias

    def one_by_one(self, x: Tensor, choices: Choices) -> tuple[Tensor, ...]:
        """Forward and backward by layers: the result, and the gradients as above where its own gradient is ones."""
        normed, first = norm_kernels.forward(x, self.before)
        maps = implementations.forward(normed, self.kernel, self.geometry, choices)
        result, second = norm_kernels.forward(maps, self.behind)
        grad, weight, bias = norm_kernels.backward(torch.ones_like(result), maps, second, self.behind.act, True)
        assert grad is not None
        grad, kernel = implementations.backward(normed, grad, self.kernel, self.geometry, (True, True), choices)
        assert grad is not None and kernel is not None
        of_x, *of_norm = norm_kernels.backward(grad, x, first, self.before.act, True)
        assert of_x is not None
        return result, of_x, *of_norm, kernel, weight, bias

    def together(self, x: Tensor) -> tuple[Tensor, ...]:
        """The same by the kernels that join the layers."""
        result, kept = self.forward(x)
        return result, *self.backward(torch.ones_like(result), x, kept)


def is_joint(middle: Middle, x: Tensor, choices: Choices) -> bool:
    """Whether the layers are faster together, by `choices`, which try both on `x` if they don't know."""
    trial = replace(middle, before=replace(middle.before, running=None), behind=replace(middle.behind, running=None))
    runs = {"joint": lambda _: trial.together(x), "layers": lambda _: trial.one_by_one(x, choices)}
    key = implementations.key_of("middle", x, middle.geometry)
    with torch.no_grad():
        return choices.pick(key, one_of(runs), lambda: fastest(seconds_of(runs, 1))) == "joint"


class _JointMiddle(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, middle: Middle, *parameters: Tensor) -> Tensor:
        result, kept = middle.forward(x)
        ctx.save_for_backward(x, *kept)
        ctx.middle = middle
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, *kept = ctx.saved_tensors
        grad = grads[0].contiguous(memory_format=torch.channels_last)
        of_x, *found = ctx.middle.backward(grad, x, tuple(kept))
        wants_x, _, *wanted = ctx.needs_input_grad
        return (
            of_x if wants_x else None,
            None,
            *(one if wants else None for one, wants in zip(found, wanted, strict=True)),
        )


class JointInvertedResidual(InvertedResidual):
    """timm's block, its middle by the kernels where they apply and are faster."""

    choices: Choices

    def forward(self, x: Tensor) -> Tensor:
        """float[n, c, h, w] -> float[n, out, oh, ow]."""
        shortcut = x
        x = self._middle(self.conv_pw(x))
        x = self.bn3(self.conv_pwl(self.se(self.aa(x))))  # type: ignore[misc]
        if self.has_skip:
            x = self.drop_path(x) + shortcut
        return x

    def _middle(self, x: Tensor) -> Tensor:
        middle = self._of_kernels(x)
        if middle is None or not is_joint(middle, x, self.choices):
            by_layers: Tensor = self.bn2(self.conv_dw(self.bn1(x)))
            return by_layers
        for norm in (self.bn1, self.bn2):
            norm_act.count_batch(norm)
        middle = replace(middle, before=norm_act.step_of(self.bn1), behind=norm_act.step_of(self.bn2))
        before, behind = middle.before, middle.behind
        parameters = before.weight, before.bias, middle.kernel, behind.weight, behind.bias
        result: Tensor = _JointMiddle.apply(x, middle, *parameters)
        return result

    def _of_kernels(self, x: Tensor) -> Middle | None:
        """The middle, if the kernels do what its layers would do now."""
        is_taken = _fits(self) and self.bn1.takes(x) and self.bn2.takes(x) and len(x) > 1
        if not is_taken or any(map(_is_watched, (self.bn1, self.conv_dw, self.bn2))):
            return None
        geometry = depthwise.step_geometry(self.conv_dw, x)
        limits = limits_of(self.bn1), limits_of(self.bn2)
        if geometry is None or limits[0] is None or limits[1] is None or not x.requires_grad:
            return None
        kernel = self.conv_dw.weight.to(x.dtype)
        return Middle(norm_act.step_of(self.bn1), kernel, norm_act.step_of(self.bn2), geometry, (limits[0], limits[1]))


def _is_watched(layer: nn.Module) -> bool:
    """Whether a hook wants to see what goes into or comes out of a layer."""
    hooks = (layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks, layer._backward_pre_hooks)
    return any(hooks)


def use_joint_middles(model: nn.Module, choices: Choices) -> int:
    """Let the middles of timm's inverted residual blocks train as above, in place; returns how many blocks may.

    Parameters and their names stay, and so does evaluation. It comes after the swaps of their layers: blocks whose
    norms and depthwise convolution have no native kernels, or activations that don't clamp, are left alone.
    """
    count = 0
    for module in model.modules():
        if type(module) is InvertedResidual and _fits(module):
            module.__class__ = JointInvertedResidual
            module.choices = choices  # type: ignore[assignment]
            count += 1
    return count


def _fits(block: InvertedResidual) -> bool:
    """Whether its layers are the kernels' own; evaluation may have folded its norms since they were swapped in."""
    norms = block.bn1, block.bn2
    return (
        getattr(block, "conv_s2d", None) is None
        and all(isinstance(norm, FusedBatchNormAct2d) and limits_of(norm) is not None for norm in norms)
        and depthwise.is_native(block.conv_dw)
        and block.conv_dw.bias is None
    )
