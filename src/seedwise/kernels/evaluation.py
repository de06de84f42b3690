"""The copy of a network that is evaluated: BatchNorm folded, and native kernels where they are faster than layers. CPU.

Nobody differentiates an evaluation, so that a convolution's bias and activation are computed while it writes its maps,
and a block of Lite or MobileNetV2 keeps its expanded maps in the cache (as in blocks/frozen.py). 3x3 convolutions may
go by Winograd's filtering, 1x1 ones by products split among threads, as in training. Networks that train by PyTorch's
own layers are evaluated by them, too.
"""

from collections.abc import Callable, Collection, Sequence
from typing import cast

from timm.models._efficientnet_blocks import DepthwiseSeparableConv, InvertedResidual
from torch import Tensor, nn

from seedwise.kernels.blocks.frozen import is_product, plain_again, why_no_block
from seedwise.kernels.blocks.fused import FusedInvertedResidual
from seedwise.kernels.blocks.fused_depthwise import FusedDepthwiseBlock
from seedwise.kernels.dispatch import Case, Dispatcher, Tuning
from seedwise.kernels.folding import Folding, folded, folded_copy, places
from seedwise.kernels.layers import conv3x3, depthwise, pointwise
from seedwise.kernels.layers.dense import Run, dispatched
from seedwise.kernels.layers.eligibility import takes, why_not_hooked, why_not_maps, why_not_score
from seedwise.kernels.layers.folded import NO_LIMITS, FoldedConv, convolve_with, limits_of_act
from seedwise.kernels.layers.squeeze_excite import FusedSqueezeExcite
from seedwise.kernels.ops import batch_norm as batch_norm_ops
from seedwise.kernels.ops import conv3x3 as conv3x3_ops
from seedwise.kernels.ops import depthwise as depthwise_ops
from seedwise.kernels.ops import depthwise_candidates
from seedwise.kernels.ops import pointwise as pointwise_ops
from seedwise.kernels.ops import squeeze_excite as squeeze_excite_ops
from seedwise.kernels.ops.depthwise import Layer


def evaluation_copy(model: nn.Module, images: Tensor) -> nn.Module:
    """`folding.folded`, by native kernels where the model has them; what they are chosen for is recorded with its own.

    `images`: float[n, c, h, w], some of what will be evaluated. Call it without gradients.
    """
    dispatcher = dispatcher_of(model)
    if dispatcher is not None and depthwise.available():
        made = folded_copy(model, images)
        if made is None:
            return model
        swapped = _use_kernels(made)
        if made.agrees():  # by kernels alone
            for module in swapped:
                module.dispatcher = dispatcher
            return made.copy
    return folded(model, images)


def dispatcher_of(model: nn.Module) -> Dispatcher | None:
    """What chooses among a model's kernels; None for a model without native ones."""
    of_modules = (getattr(module, "dispatcher", None) for module in model.modules())
    return next((found for found in of_modules if isinstance(found, Dispatcher)), None)


class _Kernels(Dispatcher):
    """For a trial: whatever a kernel can compute."""

    def choose(self, case: Case, names: Collection[str], trial: Tuning) -> str:
        return next(name for name in ("native", "winograd", "split", "product", *names) if name in names)


_KERNELS = _Kernels()


class _Swapped(nn.Module):
    dispatcher: Dispatcher = _KERNELS


class FusedConv(_Swapped):
    """A folded convolution and the activation after it, if there is one, by what is chosen for the two."""

    def __init__(self, conv: nn.Conv2d, act: nn.Module) -> None:
        super().__init__()
        self.conv, self.act = conv, act
        self.limits, self.is_silu = limits_of_act(act), type(act) is nn.SiLU
        self.name = f"folded {conv.kernel_size[0]}x{conv.kernel_size[1]}/{conv.stride[0]} {type(act).__name__}"
        self.name += "" if conv.groups == 1 else f" groups {conv.groups}"
        kind = "depthwise" if conv.groups > 1 else "pointwise" if is_product(conv) else "dense"
        self.operation = f"folded {kind}{' SiLU' if self.is_silu else ''}"

    def forward(self, x: Tensor) -> Tensor:
        """float[n, in, h, w] -> float[n, out, oh, ow]."""
        if not takes(self, "convolution with activation", why_not_score(x)):
            return self._by_layers(x)
        runs: dict[str, Run] = {"onednn": lambda: self._onednn(x), **self._kernels(x)}
        if len(runs) == 1:
            return runs["onednn"]()
        stride = self.conv.stride[0]
        return dispatched(
            self.name, x, self.conv.weight, self.dispatcher, runs, operation=self.operation, stride=stride
        )

    def _kernels(self, x: Tensor) -> dict[str, Run]:
        conv = self.conv
        weight, bias = conv.weight, cast("Tensor", conv.bias)
        if is_product(conv):
            by_torch: dict[str, Run] = {"product": lambda: self._activated(pointwise.product(x, weight, bias))}
            return by_torch | (
                {"split": self._with_silu(pointwise_ops.forward, x)} if pointwise_ops.available() else {}
            )
        if conv3x3.unfit(conv) is None and conv3x3_ops.available():
            return {"winograd": self._with_silu(conv3x3_ops.forward, x)}
        geometry = depthwise.geometry_of(conv, x)
        if geometry and depthwise_ops.has_kernel(geometry, *x.shape[-2:]):
            return {"native": lambda: self._depthwise(x)}
        return {}

    def _by_layers(self, x: Tensor) -> Tensor:
        result: Tensor = self.act(self.conv(x))
        return result

    def _onednn(self, x: Tensor) -> Tensor:
        """Without SiLU, with which its convolutions take longer than the two apart (V2-S: a tenth, AVX-512)."""
        clamps = self.limits is not None and self.limits != NO_LIMITS
        return convolve_with(self.conv, x, self.limits) if clamps and self.limits else self._activated(self.conv(x))

    def _with_silu(self, kernel: Callable[..., Tensor], x: Tensor) -> Run:
        """By a kernel that adds the bias and computes SiLU itself."""
        if self.is_silu:
            return lambda: kernel(x, self.conv.weight, self.conv.bias, True)
        return lambda: self._activated(kernel(x, self.conv.weight, self.conv.bias))

    def _depthwise(self, x: Tensor) -> Tensor:
        made = depthwise.forward_alone(self.conv, x, self.limits or NO_LIMITS, _KERNELS)
        assert made is not None
        return made if self.limits else self._activated(made)

    def _activated(self, maps: Tensor) -> Tensor:
        """The convolution's result, which nobody else has, with the activation."""
        if self.is_silu and batch_norm_ops.available() and why_not_maps(maps) is None:
            return batch_norm_ops.activate(maps, self.act)
        result: Tensor = self.act(maps)
        return result

    @staticmethod
    def gains(conv: nn.Conv2d, act: nn.Module) -> bool:
        """Whether anything but PyTorch's own two layers may compute these."""
        by_kernel = is_product(conv) or conv.groups == conv.in_channels or conv3x3.unfit(conv) is None
        return by_kernel or limits_of_act(act) not in (None, NO_LIMITS) or type(act) is nn.SiLU


class OnePassSqueeze(nn.Module):
    """Squeeze-and-excitation by its native kernel."""

    def __init__(self, layer: FusedSqueezeExcite) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """float[n, c, h, w] -> the same shape."""
        if takes(self, "one kernel", why_not_score(x) or self.layer.why_not_native()):
            return squeeze_excite_ops.forward(x, self.layer.parameters_in_order())[0]
        by_layers: Tensor = self.layer(x)
        return by_layers


class OnePassBlock(_Swapped):
    """A block whose layers are computed together where that is faster."""

    def __init__(self, block: nn.Module, depthwise_conv: nn.Conv2d, layers: Sequence[Layer]) -> None:
        super().__init__()
        self.block, self.depthwise_conv, self.layers = block, depthwise_conv, layers

    def forward(self, x: Tensor) -> Tensor:
        """float[n, c, h, w] -> float[n, out, oh, ow]."""
        reason = why_not_score(x)
        geometry = None if reason else depthwise.geometry_of(self.depthwise_conv, x)
        if not takes(self, "one pass", reason or why_no_block(x, geometry)) or geometry is None:
            by_layers: Tensor = self.block(x)
            return by_layers
        shortcut = bool(self.block.has_skip)
        return depthwise_candidates.frozen_block(
            x, self.layers, geometry, self.dispatcher, self.block, shortcut=shortcut
        )


def _use_kernels(made: Folding) -> list[_Swapped]:
    """Swap kernels into a folded copy; returns the modules that use them."""
    layers = [*made.layers, *_restore_frozen(made.copy)]
    act_of = dict(layers)
    where, swapped = places(made.copy), list[_Swapped]()
    for block in list(made.copy.modules()):
        one_pass = _one_pass(block, act_of)
        if one_pass is not None and block in where:
            setattr(*where[block], one_pass)
            swapped.append(one_pass)
    for conv, act in layers:
        if {act, conv} <= where.keys() and FusedConv.gains(conv, act) and why_not_hooked(conv, act) is None:
            setattr(*where[conv], fused := FusedConv(conv, act))
            setattr(*where[act], nn.Identity())
            swapped.append(fused)
    for layer in where:
        if isinstance(layer, FusedSqueezeExcite) and why_not_hooked(*layer.modules()) is None:
            setattr(*where[layer], OnePassSqueeze(layer))
    return swapped


def _restore_frozen(model: nn.Module) -> list[tuple[nn.Conv2d, nn.Module]]:
    """Put frozen convolutions, which are folded for training, in the place of those that stand for them, in a copy."""
    where, layers = places(model), []
    for module in list(model.modules()):
        plain_again(module)
        if isinstance(module, FoldedConv):
            computes, norm = module.folded
            act = getattr(norm, "act", nn.Identity())
            setattr(*where[module], computes)
            setattr(*where[norm], act)
            layers.append((computes, act))
    return layers


_BLOCKS: dict[type[nn.Module], tuple[tuple[str, str], ...]] = {
    DepthwiseSeparableConv: (("conv_dw", "bn1"), ("conv_pw", "bn2")),
    InvertedResidual: (("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3")),
    FusedDepthwiseBlock: (("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3")),
    FusedInvertedResidual: (("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3")),
}
"""Names of a block's convolutions, and of what stands in the place of the BatchNorm after each."""


def _one_pass(block: nn.Module, act_of: dict[nn.Conv2d, nn.Module]) -> OnePassBlock | None:
    """The block in one pass, if it is nothing but convolutions, folded, activations that clamp, and a shortcut."""
    names = _BLOCKS.get(type(block))
    if names is None or getattr(block, "conv_s2d", None) is not None:
        return None
    convs, layers = [getattr(block, conv) for conv, _ in names], []
    for conv, (_, norm) in zip(convs, names, strict=True):
        limits = limits_of_act(getattr(block, norm))
        if act_of.get(conv) is not getattr(block, norm) or limits is None:
            return None
        layers.append(Layer(conv.weight.detach().contiguous(), conv.bias.detach(), limits))
    *expand, depthwise_conv, project = convs
    is_ours = (
        layers[-1].limits == NO_LIMITS
        and all(map(is_product, (*expand, project)))
        and all(type(getattr(block, name)) is nn.Identity for name in ("se", "aa"))
        and why_not_hooked(*block.modules()) is None
    )
    return OnePassBlock(block, depthwise_conv, layers) if is_ours else None
