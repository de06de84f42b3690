"""BatchNorm layers whose training step on a CPU is one kernel forward and one backward, activation included.

Stock PyTorch reads an activation three times to normalize it, and once more, with a write, for the activation; the
backward is alike, and for SiLU the normalized tensor is kept beside the input. Here a forward reads the input twice and
writes the output once; the backward recomputes the pre-activation from the input, so that only the input is kept.

Results don't depend on the number of threads, bit for bit (`batch_norm.cpp` tells how). They differ from stock's by
rounding: sums across tiles of rows are in double.
"""

from typing import Any

import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from seedwise.kernels.layers.eligibility import MIXED, Reason, takes, why_not_hooked, why_not_maps
from seedwise.kernels.ops import batch_norm as batch_norm_ops
from seedwise.kernels.ops.batch_norm import NormStep

Running = tuple[Tensor, Tensor] | None
"""Running mean and variance."""


class _NormAct(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, step: NormStep) -> Tensor:
        y, saved = batch_norm_ops.forward(x, step)
        ctx.save_for_backward(x, saved)
        ctx.act = step.act
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, saved = ctx.saved_tensors
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        grad = grads[0].contiguous(memory_format=torch.channels_last)
        grad_x, grad_weight, grad_bias = batch_norm_ops.backward(grad, x, saved, ctx.act, wants_x)
        return grad_x, grad_weight if wants_weight else None, grad_bias if wants_bias else None, None


def batch_norm_act(
    x: Tensor, weight: Tensor, bias: Tensor, running: Running, momentum: float, eps: float, act: nn.Module
) -> Tensor:
    """`act(F.batch_norm(x, *running, weight, bias, True, momentum, eps))`, differentiable once.

    `x`: float32 or bfloat16 [n, c, h, w] on the CPU in channels_last, with more than one value a channel; the output is
    like it. Parameters and running statistics (updated in place; None: not kept) are float32[c]. `act`: one of
    `kernels.ACTIVATIONS`. RuntimeError unless `kernels.available()`.
    """
    return _apply(x, NormStep(weight, bias, running, momentum, eps, batch_norm_ops.ACTIVATIONS[type(act)]))


def _apply(x: Tensor, step: NormStep) -> Tensor:
    result: Tensor = _NormAct.apply(x, step.weight, step.bias, step)
    return result


def _why_not(norm: nn.BatchNorm2d, x: Tensor) -> Reason:
    reason = why_not_maps(x, MIXED)
    if reason is None and not x.numel() > x.shape[1] == norm.num_features:
        reason = f"the maps are {list(x.shape)}"
    return reason or _why_not_trained(norm)


def _why_not_trained(norm: nn.BatchNorm2d) -> Reason:
    """Why the layer doesn't train as the kernels do, whatever comes in."""
    if not norm.training:
        return "it is in evaluation mode"
    # Past nn.Module's __getattr__: this is asked of every layer in every step.
    parameters, buffers = norm._parameters.get, norm._buffers.get
    tensors = parameters("weight"), parameters("bias"), buffers("running_mean"), buffers("running_var")
    batches = buffers("num_batches_tracked")
    is_plain = (
        norm.track_running_stats
        and all(t is not None and t.is_cpu and t.dtype == torch.float32 and t.is_contiguous() for t in tensors)
        and (batches is None or (batches.is_cpu and batches.dtype == torch.int64))
    )
    if not is_plain:
        return "its parameters and statistics are no float32 in order on the CPU"
    return None if batch_norm_ops.available() else "the kernels aren't compiled"


def step_of(norm: nn.BatchNorm2d) -> NormStep:
    """What the training branch of `BatchNorm2d.forward` does to a batch."""
    parameters, buffers = norm._parameters.get, norm._buffers.get  # past nn.Module's __getattr__, as above
    weight, bias, batches = parameters("weight"), parameters("bias"), buffers("num_batches_tracked")
    mean, variance = buffers("running_mean"), buffers("running_var")
    assert weight is not None and bias is not None and mean is not None and variance is not None
    momentum = norm.momentum
    if momentum is None:  # a plain mean over the batches, this one among them
        momentum = 0.0 if batches is None else 1.0 / max(1.0, float(batches) + 1.0)
    act: nn.Module = getattr(norm, "act", _IDENTITY)
    return NormStep(weight, bias, (mean, variance), momentum, norm.eps, batch_norm_ops.ACTIVATIONS[type(act)], batches)


class FusedBatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d`, by the kernels where they apply."""

    def forward(self, input: Tensor) -> Tensor:
        """float[n, c, h, w] -> the same shape, type and layout."""
        if takes(self, PATH, _why_not(self, input)):
            return _apply(input, step_of(self))
        return super().forward(input)


class FusedBatchNormAct2d(BatchNormAct2d):
    """timm's `BatchNormAct2d`, by the kernels where they apply."""

    act: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """float[n, c, h, w] -> the same shape, type and layout."""
        if takes(self, PATH, self.why_not(x)):
            return _apply(x, step_of(self))
        result: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return result

    def why_not(self, x: Tensor) -> Reason:
        """Why the kernels don't do what the stock forward would do now to float[n, c, h, w]."""
        return unfit(self) or _why_not(self, x)

    def why_not_trained(self) -> Reason:
        """Why they don't for any maps that they take, where nothing traces."""
        return unfit(self) or _why_not_trained(self)


_IDENTITY = nn.Identity()
PATH = "one kernel"


def unfit(norm: Any) -> Reason:
    """Why the kernels don't know what timm's layer does after normalizing."""
    if type(norm.act) not in batch_norm_ops.ACTIVATIONS:
        return f"there is no kernel for {type(norm.act).__name__}"
    if type(norm.drop) is not nn.Identity:
        return "there is no kernel for dropout after the norm"
    return why_not_hooked(norm.act)


def use_fused_norm_act(model: nn.Module) -> int:
    """Let a model's BatchNorm layers train by the kernels, in place; returns how many there were.

    Those are `nn.BatchNorm2d` and timm's `BatchNormAct2d` with one of `kernels.ACTIVATIONS` and no dropout, both with
    parameters and running statistics. Parameters, buffers and their names stay. In evaluation mode, off the CPU, in
    another memory format than channels_last or another type than float32 and bfloat16, and under a tracer or compiler
    they do what they did before. Without a C++ compiler nothing is swapped.
    """
    if not batch_norm_ops.available():
        return 0
    count = 0
    for module in model.modules():
        if type(module) is nn.BatchNorm2d and module.affine and module.track_running_stats:
            module.__class__ = FusedBatchNorm2d
            count += 1
        elif type(module) is BatchNormAct2d and module.affine and module.track_running_stats and unfit(module) is None:
            module.__class__ = FusedBatchNormAct2d
            count += 1
    return count
