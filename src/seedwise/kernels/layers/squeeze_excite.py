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

from seedwise.kernels.layers.dense import is_watched
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
        if not (_takes(x) and any(tensor.requires_grad for tensor in (x, *parameters))):
            result = super().forward(x)  # type: ignore[no-untyped-call]
        elif x.dtype == torch.float32 and x.numel() > 0 and self.is_native():
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

    def is_native(self) -> bool:
        """Whether the kernels compute, of float32 maps, what the layers between squeezing and exciting do now."""
        parameters = self.parameters_in_order()
        return (
            not torch.is_autocast_enabled("cpu")
            and isinstance(self.act1, nn.SiLU)
            and isinstance(self.gate, _SIGMOIDS)
            and len(parameters) == 4
            and all(p.dtype == torch.float32 and p.is_cpu and p.is_contiguous() for p in parameters)
            and not any(map(is_watched, (self.conv_reduce, self.act1, self.conv_expand, self.gate)))
            and squeeze_excite_ops.available()
        )

    def _gate_of(self, means: Tensor) -> Tensor:
        gate: Tensor = self.gate(self.conv_expand(self.act1(self.conv_reduce(means))))
        return gate


def _takes(maps: Tensor) -> bool:
    return (
        torch.is_grad_enabled()
        and type(maps) is Tensor  # neither a tracer's stand-in nor a subclass
        and maps.device.type == "cpu"
        and maps.dtype in (torch.float32, torch.bfloat16)
        and maps.is_contiguous(memory_format=torch.channels_last)
        and not (torch.compiler.is_compiling() or torch.jit.is_tracing())  # type: ignore[attr-defined,no-untyped-call]
    )


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
