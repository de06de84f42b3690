"""Grad-CAM: where in an image a network saw a class."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from seedwise.errors import UserError

HEAT = ((0.0, (0.27, 0.0, 0.33)), (0.5, (0.13, 0.57, 0.55)), (1.0, (0.99, 0.91, 0.14)))
"""Colors of the overlay, dark where the network hardly looked: three points of viridis, with straight lines between."""
COVER = 0.5
"""How much of the overlay is heat; the rest is the picture."""


def gradcam(model: nn.Module, images: Tensor, classes: Sequence[int] | Tensor | None = None) -> NDArray[np.float32]:
    """Heat maps float32[n, h, w] in [0, 1] of float[n, 3, h, w] `images`, normalized as the model takes them.

    Selvaraju et al. 2017, arXiv 1610.02391, equations 1 and 2: channels of a feature map, weighted by the spatial mean
    of the class's gradient, added, and what is negative left out; here stretched to [0, 1] and to the images' size.
    The map is the last one of more than one pixel. `classes`: one for each image; by default what the model predicts.
    Weights, their gradients, the model's mode and random streams stay as they were. A UserError if there is no map.
    """
    training = model.training
    model.eval()
    try:
        features, logits = _features_and_logits(model, images)
        chosen = logits.argmax(dim=1) if classes is None else torch.as_tensor(classes, device=logits.device)
        scores = logits.gather(1, chosen.long()[:, None]).sum()
        (gradient,) = torch.autograd.grad(scores, features)
    finally:
        model.train(training)
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    heat = (weights * features.detach()).sum(dim=1, keepdim=True).relu().float()
    heat = F.interpolate(heat, images.shape[2:], mode="bilinear", align_corners=False)
    highest = heat.amax(dim=(1, 2, 3), keepdim=True)
    stretched: NDArray[np.float32] = (heat / highest.clamp(min=1e-12))[:, 0].cpu().numpy()
    return stretched


def overlay(pixels: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A uint8[h, w, 3] picture with a heat map float[h, w] in [0, 1] over it."""
    points = [point for point, _ in HEAT]
    colors = np.stack([np.interp(heat, points, [color[i] for _, color in HEAT]) for i in range(3)], axis=-1)
    gray = pixels.mean(axis=-1, keepdims=True)  # the heat's colors are then the only ones
    mixed: NDArray[np.uint8] = (COVER * 255 * colors + (1 - COVER) * gray).round().astype(np.uint8)
    return mixed


def _features_and_logits(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """The last feature map, cut off from what made it, and the logits that follow from it."""
    last = _last_map(model, images)
    kept: list[Tensor] = []

    def cut(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        kept.append(output.detach().requires_grad_())
        return kept[-1] * 1  # what follows may work in place, which a leaf does not allow

    hook = last.register_forward_hook(cut)
    try:
        with torch.enable_grad():
            logits = model.forward(images)  # a compiled model would not see the hook
    finally:
        hook.remove()
    return kept[-1], logits


def _last_map(model: nn.Module, images: Tensor) -> nn.Module:
    """The module whose output is the last feature map [n, c, h, w] of more than one pixel."""
    found: list[nn.Module] = []

    def look(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
            found.append(module)

    hooks = [module.register_forward_hook(look) for module in model.modules()]
    try:
        with torch.no_grad():
            model.forward(images[:1])
    finally:
        for hook in hooks:
            hook.remove()
    if not found:
        raise UserError("Grad-CAM needs a feature map of more than one pixel, and this network has none")
    return found[-1]
