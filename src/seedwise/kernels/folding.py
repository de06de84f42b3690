"""A copy of a network for evaluation, in which every BatchNorm is folded into the convolution before it.

In evaluation mode BatchNorm is a fixed scale and shift per channel, so weight * scale and a bias do the same in one
pass less over the activations (Jacob et al. 2018, arXiv 1712.05877, section 3.2).
"""

import copy
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from seedwise.base.devices import arithmetic

TRIED_IMAGES = 2
TOLERANCE = 1e-3
"""Largest difference between the two networks' logits, relative to the largest logit, on the images that are tried."""


@dataclass(frozen=True)
class Folding:
    """A copy with its BatchNorms folded, and what tells whether it still computes the same.

    `layers`: each convolution that took in a BatchNorm, and what stands in that one's place: its activation, if it
    brought one, or nothing but an Identity.
    """

    copy: nn.Module
    layers: list[tuple[nn.Conv2d, nn.Module]]
    tried: Tensor
    expected: Tensor

    def agrees(self) -> bool:
        """Whether the copy gives the original's logits."""
        with arithmetic(self.tried.device.type):
            return near(self.copy(self.tried), self.expected)


def folded(model: nn.Module, images: Tensor) -> nn.Module:
    """A copy of `model`, in evaluation mode, that gives the same logits faster; `model` itself if none can be made.

    `images`: float[n, c, h, w], some of what will be evaluated. Which convolution feeds which BatchNorm is seen from a
    forward pass over two of them, and the copy has to agree with the original on these. Call it without gradients.
    """
    made = folded_copy(model, images)
    return made.copy if made is not None and made.agrees() else model


def folded_copy(model: nn.Module, images: Tensor) -> Folding | None:
    """`folded`'s copy, not yet compared; None if there is nothing to fold, or the model can't be copied.

    `images`: float[n, c, h, w].

    What isn't folded, the copy shares with the model.
    """
    if getattr(model, "_compiled_call_impl", None) is not None:
        return None  # a compiler folds for itself
    try:
        copied = copy.deepcopy(model, _known(model)).eval()
    except Exception:  # a user's own network may hold what can't be copied
        return None
    tried = images[:TRIED_IMAGES]
    with arithmetic(tried.device.type):  # what TF32 rounds away is more than the tolerance
        pairs, expected = conv_norm_pairs(copied, tried)
    if not pairs:
        return None
    where = places(copied)
    layers = []
    for conv, norm in pairs:
        fold(conv, norm)
        act = getattr(norm, "act", nn.Identity())  # timm's BatchNorm brings its activation
        setattr(*where[norm], act)
        layers.append((conv, act))
    return Folding(copied, layers, tried, expected)


def _known(model: nn.Module) -> dict[int, Any]:
    """For deepcopy, what needs no copy or has one: tensors, and the dozen empty dictionaries that each module has.

    The latter would take most of the time.
    """
    known: dict[int, Any] = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    for module in model.modules():
        for value in vars(module).values():
            if type(value) in (dict, OrderedDict) and not value:
                known[id(value)] = type(value)()
    return known


def places(model: nn.Module) -> dict[nn.Module, tuple[nn.Module, str]]:
    """Each module's parent and its name there."""
    return {child: (parent, name) for parent in model.modules() for name, child in parent.named_children()}


def near(got: Tensor, expected: Tensor) -> bool:
    """Whether logits, float[n, k], are those expected, up to rounding."""
    return bool((got - expected).abs().max() <= TOLERANCE * expected.abs().max().clamp(min=1.0))


def conv_norm_pairs(model: nn.Module, images: Tensor) -> tuple[list[tuple[nn.Conv2d, nn.BatchNorm2d]], Tensor]:
    """Convolutions that ran once and whose output went straight into a BatchNorm that ran once; and the logits.

    `images`: float[n, c, h, w]. Layers that say they are folded (`is_folded`) are left out.
    """
    made: dict[int, tuple[nn.Conv2d, Tensor]] = {}
    runs: dict[nn.Module, int] = {}
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []

    def look(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        runs[module] = runs.get(module, 0) + 1
        if isinstance(module, nn.Conv2d):
            made[id(output)] = module, output  # kept, so that its id is not given to another tensor
        elif id(inputs[0]) in made:
            pairs.append((made[id(inputs[0])][0], cast("nn.BatchNorm2d", module)))

    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d) and not hasattr(m, "is_folded")]
    hooks = [m.register_forward_hook(look) for m in layers]
    logits: Tensor = model(images)
    for hook in hooks:
        hook.remove()
    once = [(conv, norm) for conv, norm in pairs if runs[conv] == runs[norm] == 1 and norm.running_mean is not None]
    return once, logits


def fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """Give a convolution the weights that make the BatchNorm after it, in evaluation mode, superfluous."""
    mean, var = cast("Tensor", norm.running_mean), cast("Tensor", norm.running_var)
    weight = norm.weight if norm.affine else torch.ones_like(mean)
    bias = norm.bias if norm.affine else torch.zeros_like(mean)
    conv.weight, conv.bias = fuse_conv_bn_weights(conv.weight, conv.bias, mean, var, norm.eps, weight, bias)
