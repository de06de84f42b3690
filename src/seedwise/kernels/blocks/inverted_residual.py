"""The middle of an inverted residual block in training, by native kernels: BatchNorm, depthwise convolution, BatchNorm.

These layers work on the block's widest maps, and take as long as memory does. Together they pass over them less often:
the convolution normalizes what it reads and sums up what it writes, and backwards both norms' gradients are computed
where it reads and writes. So the map between the first norm and the convolution is neither written nor kept for the
backward. Where few channels are widened, the 1x1 convolution in front joins in (`csrc/expand.hpp`): then what it
returns is never written either, but computed again where it is needed.
For activations that clamp (ReLU, ReLU6), or none: others would be dear to compute twice. CPU.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from timm.models._efficientnet_blocks import InvertedResidual
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from seedwise.kernels import launch
from seedwise.kernels.dispatch import Candidates, Choices, whole
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
Behind = tuple[Tensor, Tensor]
"""For the backward: what the depthwise convolution returned, and what the norm behind it keeps."""


@dataclass(frozen=True)
class Middle:
    """The three layers in one training step, or four.

    `limits`: what the activations hold the norms' results between; `widen`: the weight of the 1x1 convolution in front.
    """

    before: NormStep
    kernel: Tensor
    behind: NormStep
    geometry: Geometry
    limits: tuple[Limits, Limits]
    widen: Tensor | None = None

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        """In the order of `backward`'s gradients."""
        norms = self.before.weight, self.before.bias, self.behind.weight, self.behind.bias
        return *norms, self.kernel, *(() if self.widen is None else (self.widen,))

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The result, and what `backward` needs."""
        first: tuple[Tensor, ...]
        if self.widen is None:
            saved = batch_norm_ops.statistics(x, self.before)
            norm = Norm(saved, *self.limits[0])
            maps, second = depthwise_ops.forward_and_statistics(x, self.kernel, self.geometry, self.behind, norm)
            first = (saved,)
        else:
            expansion = Expansion.of(x, self.widen, self.before.bias, self.limits[0])
            maps, second = depthwise_norm.expanded_forward(
                expansion, self.kernel, self.geometry, self.before, self.behind
            )
            first = expansion.learnt
        return batch_norm_ops.apply(maps, second, self.behind.act), (maps, second, *first)

    def backward(self, grad: Tensor, x: Tensor, kept: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The gradients of x and of each of `parameters`."""
        maps, second, *first = kept
        *of_behind, affine = batch_norm_ops.gradient_sums(grad, maps, second, self.behind.act)
        behind = Norm(second, *self.limits[1]), affine, maps
        if self.widen is None:
            norm = Norm(first[0], *self.limits[0])
            grads = depthwise_norm.normed_backward(x, grad, self.kernel, self.geometry, norm, behind)
            batch_norm_ops.input_gradient(grads.normalized, x, first[0], grads.affine)
            return grads.normalized, grads.norm_weight, grads.norm_bias, *of_behind, grads.weight
        expansion = Expansion.of(x, self.widen, self.before.bias, self.limits[0], *first)
        found = depthwise_norm.expanded_backward(expansion, grad, self.kernel, self.geometry, behind)
        return found.x, found.norm_weight, found.norm_bias, *of_behind, found.kernel, found.weight

    def together(self, x: Tensor) -> Tensor:
        """A trial, forward and backward: the gradient of x where the result's is ones."""
        result, kept = self.forward(x)
        return self.backward(torch.ones_like(result), x, kept)[0]

    def by_layers(self, x: Tensor, choices: Choices) -> Tensor:
        """The same layer by layer, each by what is chosen; where there is a convolution in front, after that one."""
        if self.widen is not None:
            wide = pointwise.forward(x, self.widen, None, choices)
            rest = replace(self, widen=None)
            grad = rest.together(wide) if rest.is_joint(wide, choices) else rest.by_layers(wide, choices)
            of_x, _ = pointwise.backward(x, grad, self.widen, (True, True), choices)
        else:
            normed, first = batch_norm_ops.forward(x, self.before)
            maps = depthwise_candidates.forward(normed, self.kernel, self.geometry, choices)
            result, second = batch_norm_ops.forward(maps, self.behind)
            of_maps, *_ = batch_norm_ops.backward(torch.ones_like(result), maps, second, self.behind.act, True)
            assert of_maps is not None
            of_normed, _ = depthwise_candidates.backward(
                normed, of_maps, self.kernel, self.geometry, (True, True), choices
            )
            assert of_normed is not None
            of_x, *_ = batch_norm_ops.backward(of_normed, x, first, self.before.act, True)
        assert of_x is not None
        return of_x

    def is_joint(self, x: Tensor, choices: Choices) -> bool:
        """Whether the layers are computed together, by `choices`."""
        case = depthwise_candidates.case_of("middle", "middle", x, self.geometry)
        if self.widen is not None:
            wide = len(self.widen)
            case = case._replace(operation="widened middle", name=f"middle of {wide}", outputs=wide)
        return choices.pick(case, ("joint", "layers"), lambda: self._trial(x, choices)) == "joint"

    def _trial(self, x: Tensor, choices: Choices) -> tuple[Candidates, int]:
        before, behind = (step._replace(running=None, batches=None) for step in (self.before, self.behind))
        trial = replace(self, before=before, behind=behind)
        by_layers = torch.no_grad()(lambda: trial.by_layers(x, choices))
        return whole({"joint": torch.no_grad()(lambda: trial.together(x)), "layers": by_layers})


class _JointMiddle(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, middle: Middle, *parameters: Tensor) -> Tensor:
        with launch.deferred_launches():
            result, kept = middle.forward(x)
        ctx.save_for_backward(x, *kept)
        ctx.middle = middle
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, *kept = ctx.saved_tensors
        grad = grads[0].contiguous(memory_format=torch.channels_last)
        with launch.deferred_launches():
            of_x, *found = ctx.middle.backward(grad, x, tuple(kept))
        wants_x, _, *wanted = ctx.needs_input_grad
        return (
            of_x if wants_x else None,
            None,
            *(one if wants else None for one, wants in zip(found, wanted, strict=True)),
        )


def _joined(x: Tensor, middle: Middle) -> Tensor:
    result: Tensor = _JointMiddle.apply(x, middle, *middle.parameters)
    return result


PATH, EXPANDED = "fused depthwise block", "expanded fused depthwise block"
SLOWER = "by the rule, layers are faster for this shape"


class JointInvertedResidual(InvertedResidual):
    """timm's block, its middle by the kernels where they apply and are faster."""

    choices: Choices

    def forward(self, x: Tensor) -> Tensor:
        """float[n, c, h, w] -> float[n, out, oh, ow]."""
        shortcut = x
        middle = self._chosen(EXPANDED, self._expanded(x), x)
        if middle is None:
            x = self.conv_pw(x)
            middle = self._chosen(PATH, self._middle(x), x)
        x = self.bn2(self.conv_dw(self.bn1(x))) if middle is None else _joined(x, middle)
        x = self.bn3(self.conv_pwl(self.se(self.aa(x))))  # type: ignore[misc]
        if self.has_skip:
            x = self.drop_path(x) + shortcut
        return x

    def _chosen(self, path: str, found: Middle | str, x: Tensor) -> Middle | None:
        """What was found, unless it is a reason why not or the layers are faster."""
        if isinstance(found, str):
            takes(self, path, found)
            return None
        return found if takes(self, path, None if found.is_joint(x, self.choices) else SLOWER) else None

    def _middle(self, x: Tensor) -> Middle | str:
        """The middle, if the kernels do what its layers would do to these maps now; or why they don't."""
        reason = unfit(self) or self.bn1.why_not(x) or self.bn2.why_not_trained()
        reason = reason or why_not_hooked(self.bn1, self.conv_dw, self.bn2)
        if reason is not None or not x.requires_grad or len(x) < 2:
            return reason or ("it is a single image" if x.requires_grad else "what comes in needs no gradient")
        geometry = depthwise.step_geometry(self.conv_dw, x)
        if isinstance(geometry, str):
            return geometry
        limits = limits_of(self.bn1), limits_of(self.bn2)
        assert limits[0] is not None and limits[1] is not None  # as `unfit` has it
        kernel = self.conv_dw.weight.to(x.dtype)
        return Middle(
            batch_norm.step_of(self.bn1), kernel, batch_norm.step_of(self.bn2), geometry, (limits[0], limits[1])
        )

    def _expanded(self, x: Tensor) -> Middle | str:
        """The middle with the convolution in front, if the kernels do what they all would do; or why they don't."""
        conv = self.conv_pw
        if not isinstance(conv, PointwiseConv) or conv.bias is not None:
            return "its expansion is no 1x1 convolution without a bias"
        if conv.weight.numel() > MAX_EXPANDED:
            return f"its expansion has more than {MAX_EXPANDED} weights"
        reason = None if x.requires_grad else "what comes in needs no gradient"
        reason = reason or why_not_train(x, (conv.weight,)) or why_not_hooked(conv)
        if reason is not None:
            return reason
        size = len(x), conv.out_channels, *x.shape[-2:]
        stand_in = torch.empty(size, memory_format=torch.channels_last, requires_grad=True)  # of what it would return
        middle = self._middle(stand_in)
        return middle if isinstance(middle, str) else replace(middle, widen=conv.weight)


def use_joint_middles(model: nn.Module, choices: Choices) -> int:
    """Let the middles of timm's inverted residual blocks train as above, in place; returns how many blocks may.

    Parameters and their names stay, and so does evaluation. It comes after the swaps of their layers: blocks whose
    norms and depthwise convolution have no native kernels, or activations that don't clamp, are left alone.
    """
    count = 0
    for module in model.modules():
        if type(module) is InvertedResidual and unfit(module) is None:
            module.__class__ = JointInvertedResidual
            module.choices = choices  # type: ignore[assignment]
            count += 1
    return count


def unfit(block: InvertedResidual) -> Reason:
    """Why its layers are not the kernels' own; evaluation may have folded its norms since they were swapped in."""
    if getattr(block, "conv_s2d", None) is not None:
        return "it has a space-to-depth layer"
    for norm in (block.bn1, block.bn2):
        if not isinstance(norm, FusedBatchNormAct2d):
            return "its norms have no kernel"
        if limits_of(norm) is None:
            return f"{type(norm.act).__name__} would be dear to compute twice"
    plain = depthwise.is_native(block.conv_dw) and block.conv_dw.bias is None
    return None if plain else "its depthwise convolution has no native kernel"
