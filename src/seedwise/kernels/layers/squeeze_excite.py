"""Squeeze-and-excitation (arXiv 1709.01507) whose training step takes fewer passes over its maps. CPU.

What is squeezed out of the maps comes back to them as two gradients. Autograd computes each by itself, writes the one
of the mean out to the maps' full size and adds them; here one pass computes both. In fp32 with SiLU and sigmoid, as
EfficientNets have them, the whole layer is one native kernel forward and one backward.
"""

from collections.abc import Callable
from typing import Any

import torch
from timm.layers.activations import Sigmoid
from timm.models._efficientnet_blocks import SqueezeExcite
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from seedwise.kernels.layers.eligibility import MIXED, Reason, takes, why_not_hooked, why_not_train
from seedwise.kernels.ops import squeeze_excite as squeeze_excite_ops

_PIXELS = (2, 3)
_SIGMOIDS = (nn.Sigmoid, Sigmoid)


class _SqueezeExcite(Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, gate_of: Callable[[Tensor], Tensor], *parameters: Tensor) -> Tensor:
        with torch.enable_grad():  # a graph of its own, over one number a channel
            means = maps.mean(_PIXELS, keepdim=True).detach().requires_grad_()
            gate = gate_of(means)
        ctx.save_for_backward(maps)
        ctx.inner = means, gate, parameters
        return maps * gate.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (maps,) = ctx.saved_tensors
        means, gate, parameters = ctx.inner
        grad = grads[0].contiguous(memory_format=torch.channels_last)
        of_gate = (grad * maps).sum(_PIXELS, keepdim=True).to(gate.dtype)
        wanted = [means, *(p for p, wants in zip(parameters, ctx.needs_input_grad[2:], strict=True) if wants)]
        of_means, *found = torch.autograd.grad(gate, wanted, of_gate, retain_graph=True)
        rest = iter(found)
        of_parameters = [next(rest) if wants else None for wants in ctx.needs_input_grad[2:]]
        of_maps = None
        if ctx.needs_input_grad[0]:
            share = of_means / (maps.shape[2] * maps.shape[3])
            of_maps = torch.addcmul(share, grad, gate.detach(), out=torch.empty_like(grad))
        return of_maps, None, *of_parameters


class _NativeSqueezeExcite(Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, *parameters: Tensor) -> Tensor:
        result, kept = squeeze_excite_ops.forward(maps, parameters)
        ctx.save_for_backward(maps, kept, *parameters)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        maps, kept, *parameters = ctx.saved_tensors
        grad = grads[0].contiguous(memory_format=torch.channels_last)
        made = squeeze_excite_ops.backward(grad, maps, parameters, kept, ctx.needs_input_grad[0])
        return tuple(of if wants else None for of, wants in zip(made, ctx.needs_input_grad, strict=True))


class FusedSqueezeExcite(SqueezeExcite):
    """timm's, by the function above in training."""

    def forward(self, x: Tensor) -> Tensor:
        """float[n, c, h, w] -> the same shape, type and layout."""
        parameters = self.parameters_in_order()
        result: Tensor
        if not takes(self, "one step of autograd", why_not_train(x, (x, *parameters), MIXED)):
            result = super().forward(x)  # type: ignore[no-untyped-call]
        elif takes(self, "one kernel", self.why_not_native(x.dtype)):
            result = _NativeSqueezeExcite.apply(x, *parameters)
        else:
            result = _SqueezeExcite.apply(x, self._gate_of, *parameters)
        return result

    def parameters_in_order(self) -> tuple[nn.Parameter, ...]:
        """As the kernels take them: weight and bias of the convolution that reduces, then of the one that expands."""
        held = (
            conv._parameters.get(name) for conv in (self.conv_reduce, self.conv_expand) for name in ("weight", "bias")
        )
        return tuple(parameter for parameter in held if parameter is not None)

    def why_not_native(self, dtype: torch.dtype = torch.float32) -> Reason:
        """Why the kernels don't compute, of maps of a type, what the layers between squeezing and exciting do now."""
        parameters = self.parameters_in_order()
        if dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
            return "the kernel is for float32"
        if not isinstance(self.act1, nn.SiLU) or not isinstance(self.gate, _SIGMOIDS):
            return "the kernel is for SiLU and sigmoid"
        if len(parameters) != 4:
            return "the kernel is for convolutions with a bias"
        if not all(p.dtype == torch.float32 and p.is_cpu and p.is_contiguous() for p in parameters):
            return "its parameters are no float32 in order on the CPU"
        hooked = why_not_hooked(self.conv_reduce, self.act1, self.conv_expand, self.gate)
        return hooked or (None if squeeze_excite_ops.available() else "the kernels aren't compiled")

    def _gate_of(self, means: Tensor) -> Tensor:
        gate: Tensor = self.gate(self.conv_expand(self.act1(self.conv_reduce(means))))
        return gate


def use_fused_squeeze_excite(model: nn.Module) -> int:
    """Let timm's squeeze-and-excitation layers of a network train as above, in place; returns how many there were.

    Parameters and their names stay, and so does evaluation. Off the CPU, in another memory format than channels_last,
    and under a tracer or compiler they do what they did before.
    """
    count = 0
    for module in model.modules():
        if type(module) is SqueezeExcite:
            module.__class__ = FusedSqueezeExcite
            count += 1
    return count
