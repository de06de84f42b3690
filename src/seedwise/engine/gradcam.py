"""Grad-CAM: heat maps of where in an image a network sees a class."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from seedwise.base.errors import UserError

HEAT = ((0.0, (0.27, 0.0, 0.33)), (0.5, (0.13, 0.57, 0.55)), (1.0, (0.99, 0.91, 0.14)))
"""Colors of the overlay, dark where the network hardly looked: three points of viridis, with straight lines between."""
COVER = 0.5
"""Weight of the heat map in an overlay, in [0, 1]."""


def gradcam(model: nn.Module, images: Tensor, classes: Sequence[int] | Tensor | None = None) -> NDArray[np.float32]:
    """Heat maps float32[n, h, w] in [0, 1] of float[n, 3, h, w] `images`, normalized as the model takes them.

    Selvaraju et al. 2017, arXiv 1610.02391, equations 1 and 2: channels of a feature map, weighted by the spatial mean
    of the class's gradient, added, and what is negative left out; here stretched to [0, 1] and to the images' size. The
    map is the last one of more than one pixel. `classes`: int[n]; by default what the model predicts. Weights, their
    gradients, the model's mode and random streams stay as they were. A UserError if there is no map.
    """
    training = model.training
    model.eval()
    try:
        features, logits, channels_last = _features_and_logits(model, images)
        chosen = logits.argmax(dim=1) if classes is None else torch.as_tensor(classes, device=logits.device)
        scores = logits.gather(1, chosen.long()[:, None]).sum()
        gradient = torch.autograd.grad(scores, features, allow_unused=True)[0] if scores.requires_grad else None
    finally:
        model.train(training)
    if gradient is None:
        raise UserError("Grad-CAM needs a feature map that leads to the answer; this network's last one does not")
    if channels_last:
        features, gradient = features.permute(0, 3, 1, 2), gradient.permute(0, 3, 1, 2)
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    heat = (weights * features.detach()).sum(dim=1, keepdim=True).relu().float()
    heat = F.interpolate(heat, images.shape[2:], mode="bilinear", align_corners=False)
    highest = heat.amax(dim=(1, 2, 3), keepdim=True)
    stretched: NDArray[np.float32] = (heat / highest.clamp(min=1e-12))[:, 0].cpu().numpy()
    return stretched


def overlay(pixels: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Draw a heat map float32[h, w] in [0, 1] over a picture uint8[h, w, 3]; returns uint8[h, w, 3]."""
    points = [point for point, _ in HEAT]
    colors = np.stack([np.interp(heat, points, [color[i] for _, color in HEAT]) for i in range(3)], axis=-1)
    gray = pixels.mean(axis=-1, keepdims=True)  # the heat's colors are then the only ones
    mixed: NDArray[np.uint8] = (COVER * 255 * colors + (1 - COVER) * gray).round().astype(np.uint8)
    return mixed


@dataclass(frozen=True)
class _Map:
    """The origin of a feature map: a module, and which of its calls, as a module may be called at several places."""

    module: nn.Module
    call: int
    channels_last: bool


def _features_and_logits(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor, bool]:
    """The last feature map as a leaf of the graph, the logits computed from it, and whether its channels are last."""
    last = _last_map(model, images)
    kept: list[Tensor] = []
    calls = 0

    def cut(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        nonlocal calls
        calls += 1
        if calls != last.call:
            return None
        kept.append(output.detach().requires_grad_())
        return kept[-1] * 1  # what follows may work in place, which a leaf does not allow

    hook = last.module.register_forward_hook(cut)
    try:
        with torch.enable_grad():
            logits = model.forward(images)  # a compiled model would not see the hook
    finally:
        hook.remove()
    return kept[-1], logits, last.channels_last


def _last_map(model: nn.Module, images: Tensor) -> _Map:
    """The last feature map of more than one pixel, [n, c, h, w] or [n, h, w, c]; a UserError without one.

    None where layers follow that work on a row of tokens, as in a ViT: of its last map, the patches, nearly the whole
    network is still to come, and the heads of its attention only look like maps.
    """
    found: list[_Map] = []
    calls: Counter[nn.Module] = Counter()

    def look(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        calls[module] += 1
        if not isinstance(output, Tensor):
            return
        if output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
            _, a, b, c = output.shape
            found.append(_Map(module, calls[module], _fits(a, b, images) and not _fits(b, c, images)))
        elif output.ndim == 3 and any(True for _ in module.parameters(recurse=False)):
            found.clear()

    hooks = [module.register_forward_hook(look) for module in model.modules()]
    try:
        with torch.no_grad():
            model.forward(images[:1])
    finally:
        for hook in hooks:
            hook.remove()
    if not found:
        raise UserError("Grad-CAM needs a feature map of more than one pixel, and this network does not end in one")
    return found[-1]


def _fits(height: int, width: int, images: Tensor) -> bool:
    """Whether a grid has the images' aspect, up to a pixel of rounding."""
    return abs(height * images.shape[3] - width * images.shape[2]) <= max(images.shape[2:])
