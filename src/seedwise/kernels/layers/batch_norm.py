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


def _takes(norm: nn.BatchNorm2d, x: Tensor) -> bool:
    """Whether the kernels do what the stock forward would do now."""
    return (
        not _is_traced()
        and type(x) is Tensor  # neither a tracer's stand-in nor a subclass
        and x.device.type == "cpu"
        and x.dtype in batch_norm_ops.DTYPES
        and x.dim() == 4
        and x.numel() > x.shape[1] == norm.num_features
        and x.is_contiguous(memory_format=torch.channels_last)
        and _trains(norm)
    )


def _trains(norm: nn.BatchNorm2d) -> bool:
    """Whether the layer trains as the kernels do."""
    return norm.training and _is_plain(norm) and batch_norm_ops.available()


def _is_traced() -> bool:
    return bool(torch.compiler.is_compiling() or torch.jit.is_tracing())  # type: ignore[attr-defined,no-untyped-call]


def _is_plain(norm: nn.BatchNorm2d) -> bool:
    # Past nn.Module's __getattr__: this is asked of every layer in every step.
    parameters, buffers = norm._parameters.get, norm._buffers.get
    tensors = parameters("weight"), parameters("bias"), buffers("running_mean"), buffers("running_var")
    batches = buffers("num_batches_tracked")
    return (
        norm.track_running_stats
        and all(t is not None and t.is_cpu and t.dtype == torch.float32 and t.is_contiguous() for t in tensors)
        and (batches is None or (batches.is_cpu and batches.dtype == torch.int64))
    )


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
        return _apply(input, step_of(self)) if _takes(self, input) else super().forward(input)


class FusedBatchNormAct2d(BatchNormAct2d):
    """timm's `BatchNormAct2d`, by the kernels where they apply."""

    act: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """float[n, c, h, w] -> the same shape, type and layout."""
        if self.takes(x):
            return _apply(x, step_of(self))
        result: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return result

    def takes(self, x: Tensor) -> bool:
        """Whether the kernels do what the stock forward would do now."""
        return _fits(self) and _takes(self, x)

    def trains(self) -> bool:
        """Whether they do so for any maps that they take, where nothing traces."""
        return _fits(self) and _trains(self)


_IDENTITY = nn.Identity()


def _fits(norm: Any) -> bool:
    """Whether the kernels know what timm's layer does after normalizing (hooks on the activation want it called)."""
    hooks = norm.act._forward_hooks or norm.act._forward_pre_hooks or norm.act._backward_hooks
    return type(norm.act) in batch_norm_ops.ACTIVATIONS and type(norm.drop) is nn.Identity and not hooks


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
        elif type(module) is BatchNormAct2d and module.affine and module.track_running_stats and _fits(module):
            module.__class__ = FusedBatchNormAct2d
            count += 1
    return count
