"""Freezes the first stages of a network: no gradients, no noise, and BatchNorm folded into convolutions.

Nothing in front of the first trainable layer needs a gradient, so autograd keeps no activation of it and its backward
is not computed. Its BatchNorm layers use their running statistics, so that each is folded into the convolution before
it. Folded weights stand beside the parameters, which keep their names, bits and places in the state.
"""

import copy
from collections.abc import Iterator, Sequence
from typing import Any, Self, cast

import torch
from torch import nn

from seedwise.base.errors import UserError
from seedwise.kernels.folding import TRIED_IMAGES, conv_norm_pairs, fold, near
from seedwise.kernels.layers.folded import AbsorbedNorm, FoldedConv

Fold = tuple[nn.Conv2d, nn.BatchNorm2d, type[nn.Conv2d], type[nn.BatchNorm2d]]
"""A convolution and the BatchNorm that was folded into it, and the classes that they had; in a tuple, which torch takes
for no part of the network's state."""


def stages(model: nn.Module, head: Sequence[str]) -> list[list[str]]:
    """Names of the parameters by stage, in order: timm's coarse groups without a last one that holds the classifier.

    `head`: names of the submodules that are the classifier. An EfficientNet has 8: the stem, and 7 of blocks, the last
    with the convolution behind it. A UserError for a network that doesn't say its stages.
    """
    matcher = getattr(model, "group_matcher", None)
    if not callable(matcher):
        raise UserError(
            "model.freeze: the network doesn't say what its stages are (it has no group_matcher, as timm's models "
            "have); give it one, or set model.freeze to 0"
        )
    from timm.models import group_parameters

    number_of: dict[str, int] = group_parameters(model, matcher(coarse=True), reverse=True)
    found: dict[int, list[str]] = {number: [] for number in sorted(number_of.values())}
    for name, number in number_of.items():
        found[number].append(name)
    prefixes = tuple(f"{name}." for name in head)
    return [names for names in found.values() if not any(name.startswith(prefixes) for name in names)]


def freeze(model: nn.Module, count: int, head: Sequence[str], image_size: int) -> nn.Module:
    """Freeze the first `count` stages in place; 0 changes nothing. `thaw` undoes it. A UserError when there are fewer.

    `image_size`: side in pixels of noise images that are passed through to see which convolution feeds which BatchNorm.
    The other stages keep their mode.
    """
    if count == 0:
        return model
    demand_stages(model, count, head)
    names = {name for stage in stages(model, head)[:count] for name in stage}
    stopped = [name for name, parameter in model.named_parameters() if name in names and parameter.requires_grad]
    for name in stopped:
        model.get_parameter(name).requires_grad_(False)
    own = type(model)
    model.__class__ = type(own.__name__, (_Frozen, own), {"__module__": own.__module__})
    frozen = cast("_Frozen", model)
    frozen.frozen_stages, frozen.frozen_parts, frozen.stopped = count, tuple(_whole(model, names)), tuple(stopped)
    _fold_parts(frozen, image_size)
    return model


def thaw(model: nn.Module) -> None:
    """Make a network what it was before `freeze`, in place, with the weights and the mode that it has now."""
    if not isinstance(model, _Frozen):
        return
    for conv, norm, of_conv, of_norm in model.folds:
        _unfold(conv, norm, of_conv, of_norm)
    for name in model.stopped:
        model.get_parameter(name).requires_grad_(True)
    del model.frozen_stages, model.frozen_parts, model.stopped, model.folds
    model.__class__ = type(model).__bases__[1]
    model.train(model.training)


def demand_stages(model: nn.Module, count: int, head: Sequence[str], option: str = "model.freeze") -> None:
    """Raise a UserError that names the option unless the network has so many stages; `head` as in `stages`."""
    if count and count > (known := len(stages(model, head))):
        raise UserError(f"{option}: the network has {known} stages before its classifier, not {count}")


def frozen_stages(model: nn.Module) -> int:
    """How many of a network's first stages are frozen."""
    return model.frozen_stages if isinstance(model, _Frozen) else 0


def freeze_effects(model: nn.Module) -> dict[str, dict[str, float]]:
    """Counts for the record: frozen stages, layers with own parameters, parameters, and BatchNorm layers folded."""
    if not isinstance(model, _Frozen):
        return {}
    parts = [module for name in model.frozen_parts for module in model.get_submodule(name).modules()]
    layers = [module for module in parts if any(True for _ in module.parameters(recurse=False))]
    numbers = sum(parameter.numel() for parameter in model.parameters() if not parameter.requires_grad)
    folds = sum(isinstance(module, FoldedConv) for module in parts)
    return {
        "freeze": {"stages": model.frozen_stages, "layers": len(layers), "parameters": numbers, "folded_norms": folds}
    }


class _Frozen(nn.Module):
    """Mixed in before a network's class: its frozen parts stay in evaluation mode, folded again when weights change."""

    frozen_stages: int
    frozen_parts: tuple[str, ...]
    """Names of the largest modules that are frozen whole."""
    stopped: tuple[str, ...]
    """Names of the parameters that trained before."""
    folds: tuple[Fold, ...]

    def train(self, mode: bool = True) -> Self:
        """Set training mode for the other parts only."""
        super().train(mode)
        for name in self.frozen_parts:
            self.get_submodule(name).eval()
        return self

    def load_state_dict(self, *arguments: Any, **options: Any) -> Any:
        """Load weights and fold them anew."""
        result = super().load_state_dict(*arguments, **options)
        _refold(self)
        return result

    def _apply(self, *arguments: Any, **options: Any) -> Self:
        super()._apply(*arguments, **options)  # type: ignore[no-untyped-call]  # another device, type or layout
        _refold(self)
        return self


def _fold_parts(model: _Frozen, image_size: int) -> None:
    """Fold BatchNorm in the frozen parts, unless that changes the logits."""
    training = model.training
    model.eval()
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(TRIED_IMAGES, 3, image_size, image_size, generator=generator)
    images = images.to(next(model.parameters()).device)
    with torch.no_grad():
        inside = {module for name in model.frozen_parts for module in model.get_submodule(name).modules()}
        found, expected = conv_norm_pairs(model, images)
        pairs = [(conv, norm) for conv, norm in found if {conv, norm} <= inside]
        model.folds = tuple((conv, norm, type(conv), type(norm)) for conv, norm in pairs)
        for conv, norm in pairs:
            conv.folded = copy.deepcopy(conv), norm  # type: ignore[assignment]
            conv.__class__, norm.__class__ = FoldedConv, AbsorbedNorm
        _refold(model)
        if not near(model(images), expected):
            for fold_of in model.folds:
                _unfold(*fold_of)
            model.folds = ()
    model.train(training)


def _unfold(conv: nn.Conv2d, norm: nn.BatchNorm2d, of_conv: type[nn.Conv2d], of_norm: type[nn.BatchNorm2d]) -> None:
    conv.__class__, norm.__class__ = of_conv, of_norm
    del conv.folded


def _refold(model: _Frozen) -> None:
    """Compute the folded weights from the present parameters and running statistics."""
    for conv in model.modules():
        if isinstance(conv, FoldedConv):
            computes, norm = conv.folded
            computes.weight, computes.bias = conv.weight, conv.bias
            fold(computes, norm)


def _whole(model: nn.Module, names: set[str], path: str = "") -> Iterator[str]:
    """Yield the largest modules whose parameters are all among `names`."""
    for name, child in model.named_children():
        below = [f"{path}{name}.{parameter}" for parameter, _ in child.named_parameters()]
        if below and names.issuperset(below):
            yield path + name
        elif below:
            yield from _whole(child, names, f"{path}{name}.")
