"""Frozen stages in training, by native kernels: single convolutions, and whole blocks in one pass. CPU.

A block of Lite or MobileNetV2 expands its maps to six times as many channels and projects them again; layer by layer,
writing and reading the expanded maps takes longer than computing them. In a frozen block nobody needs them afterwards,
so a kernel keeps them in the cache.
"""

from collections.abc import Callable

from timm.models._efficientnet_blocks import DepthwiseSeparableConv, InvertedResidual
from torch import Tensor, nn

from seedwise.kernels import dispatch
from seedwise.kernels.layers import depthwise
from seedwise.kernels.layers.eligibility import Reason, takes, why_not_maps
from seedwise.kernels.layers.folded import NO_LIMITS, AbsorbedNorm, FoldedConv, limits_of, why_not_fast
from seedwise.kernels.ops import depthwise as depthwise_ops
from seedwise.kernels.ops import depthwise_candidates
from seedwise.kernels.ops.depthwise import Geometry, Layer


def use_fast_frozen_stages(model: nn.Module, dispatcher: dispatch.Dispatcher) -> None:
    """Let the frozen stages of a network, if it has any, use the native kernels in training."""
    for module in model.modules():
        if isinstance(module, FoldedConv | AbsorbedNorm):
            module.dispatcher = dispatcher
        one_pass = _ONE_PASS.get(type(module))
        if one_pass is not None and _is_plain(module):
            module.__class__ = one_pass
            module.dispatcher = dispatcher  # type: ignore[assignment]


class _OnePass(nn.Module):
    """Comes before a block's own class, whose layers it computes together where that is faster."""

    dispatcher: dispatch.Dispatcher

    def forward(self, x: Tensor) -> Tensor:
        """float[n, c, h, w] -> float[n, out, oh, ow]."""
        by_layers: Callable[[Tensor], Tensor] = super().forward
        *expand, (conv, norm), project = _layers(self)
        reason = why_not_fast(conv, x)
        geometry = None if reason else depthwise.geometry_of(conv.folded[0], x)
        if not takes(self, "one pass", reason or why_no_block(x, geometry)) or geometry is None:
            return by_layers(x)
        layers = [
            Layer(*_folded(conv), limits_of(norm) or NO_LIMITS) for conv, norm in (*expand, (conv, norm), project)
        ]
        shortcut = bool(self.has_skip)
        return depthwise_candidates.frozen_block(x, layers, geometry, self.dispatcher, by_layers, shortcut=shortcut)


class _OnePassInverted(_OnePass, InvertedResidual):
    pass


class _OnePassSeparable(_OnePass, DepthwiseSeparableConv):
    pass


_ONE_PASS: dict[type, type[_OnePass]] = {
    InvertedResidual: _OnePassInverted,
    DepthwiseSeparableConv: _OnePassSeparable,
}


def plain_again(block: nn.Module) -> None:
    """Make a block what it was before `use_fast_frozen_stages`."""
    for plain, one_pass in _ONE_PASS.items():
        if type(block) is one_pass:
            block.__class__ = plain


def _layers(block: nn.Module) -> list[tuple[FoldedConv, AbsorbedNorm]]:
    """A block's convolutions with what is left of the BatchNorm after each: (expansion,) depthwise, projection."""
    names = ("conv_pw", "conv_dw", "conv_pwl") if isinstance(block, InvertedResidual) else ("conv_dw", "conv_pw")
    return [(getattr(block, name), getattr(block, f"bn{i + 1}")) for i, name in enumerate(names)]


def _is_plain(block: nn.Module) -> bool:
    """Whether a block is frozen whole and nothing but its convolutions, activations that clamp and a shortcut."""
    layers = _layers(block)
    if not all(isinstance(conv, FoldedConv) and isinstance(norm, AbsorbedNorm) for conv, norm in layers):
        return False
    *expand, _, (project, last) = layers
    return (
        all(limits_of(norm) is not None for _, norm in layers)
        and limits_of(last) == NO_LIMITS
        and all(is_product(conv) for conv, _ in (*expand, (project, last)))
        and getattr(block, "conv_s2d", None) is None
        and all(type(getattr(block, name)) is nn.Identity for name in ("se", "aa"))
    )


def is_product(conv: nn.Conv2d) -> bool:
    """Whether a convolution is one matrix product: 1x1, dense, every pixel."""
    plain = conv.kernel_size == conv.stride == conv.dilation == (1, 1) and conv.groups == 1
    return plain and conv.padding in (0, (0, 0), "same", "valid")


def _folded(conv: FoldedConv) -> tuple[Tensor, Tensor]:
    computes, _ = conv.folded
    assert computes.bias is not None
    return computes.weight.detach(), computes.bias.detach()


def why_no_block(maps: Tensor, geometry: Geometry | None) -> Reason:
    """Why the kernel doesn't compute a block whose depthwise convolution has this geometry, of float[n, c, h, w]."""
    reason = why_not_maps(maps)
    if geometry is None:
        return reason or "there is no kernel for its depthwise convolution"
    if reason is None and not depthwise_ops.has_kernel(geometry, *maps.shape[-2:]):
        reason = f"there is no kernel for {geometry.kernel}x{geometry.kernel}/{geometry.stride} on such maps"
    return reason
