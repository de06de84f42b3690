"""Layers that train faster on a CPU, by C++ kernels, and what is told of them."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

    from seedwise.kernels.explanation import Explanation


def explain(model: "nn.Module", images: "Tensor") -> "Explanation":
    """Tell which path each layer of a network takes in a training step, and why not a faster one.

    `model`: as it is trained, after `seedwise.kernels.swap.accelerate`; it isn't changed: a copy makes the step, in
    training mode (layers of a network in training keep their own). `images`: float32[n, 3, h, w], a batch as the
    training has it, in channels_last where kernels are to take it. Returns rows of `layer`, `kind`, `path` and `why`,
    and `.table()`, all of them text; `[name]` is a layer's row. A UserError for a network under torch.compile, whose
    layers a compiler computes, and for a network or images that make no training step.
    """
    from seedwise.kernels.explanation import explain as explained  # imports torch

    return explained(model, images)
