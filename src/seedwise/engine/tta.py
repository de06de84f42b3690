"""Test-time augmentation: averages the probabilities of several views of each image."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from seedwise.engine.distributed import SINGLE_PROCESS, World
from seedwise.engine.evaluate import Predictions, predict_views
from seedwise.engine.placement import Placement
from seedwise.engine.protocols import Evaluated, Images
from seedwise.recipe.tta_config import TtaConfig, View


def predict_tta(
    model: nn.Module,
    images: Images,
    augment: Evaluated,
    tta: TtaConfig,
    *,
    size: int,
    placement: Placement,
    world: World = SINGLE_PROCESS,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Predictions:
    """Predict every view as `predict_views` does; logits float32[m, k] are log(mean over the views of the softmax).

    `size`: side in pixels at which the run was trained, and of the views unless `tta` has its own.
    """
    found = predict_views(
        model,
        images,
        [_Viewed(augment, view, tta.resized_to(size)) for view in tta.views],
        size=tta.size(size),
        placement=placement,
        world=world,
        on_progress=on_progress,
    )
    mean: np.ndarray[tuple[int, ...], np.dtype[np.float64]] | float = 0.0
    for view in found:
        logits = view.logits.astype(np.float64)
        exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
        mean = mean + exponents / exponents.sum(axis=1, keepdims=True) / len(found)
    with np.errstate(divide="ignore"):
        tiny = np.log(np.maximum(mean, np.finfo(np.float64).tiny))
    return replace(found[0], logits=tiny.astype(np.float32))


def tta_effects(
    tta: TtaConfig, size: int, plain: Mapping[str, Predictions], averaged: Mapping[str, Predictions]
) -> dict[str, float]:
    """Measurements for the record: number and size of the views, and the share of scored images that change class."""
    moved = [plain[name].predicted != it.predicted for name, it in averaged.items()]
    views = {"views": len(tta.views), "image_size": tta.size(size), "resized_to": tta.resized_to(size)}
    return views | ({"changed": float(np.concatenate(moved).mean())} if moved else {})


class _Viewed:
    """Preprocessing that returns one view of each image."""

    def __init__(self, augment: Evaluated, view: View, resized_to: int) -> None:
        self._augment, self._view, self._resized_to = augment, view, resized_to

    def evaluate(self, images: Tensor, sizes: Tensor | None, *, size: int) -> Tensor:
        """The view of uint8[n, c, h, w], float32[n, c, size, size]."""
        whole = self._augment.evaluate(images, sizes, size=self._resized_to)
        top, left = _corner(self._view, self._resized_to, size)
        whole = whole.flip(3) if self._view.flip else whole  # before the crop, as TenCrop does: a center may be uneven
        view = whole[:, :, top : top + size, left : left + size]
        return view.contiguous(memory_format=torch.channels_last)


def _corner(view: View, side: int, size: int) -> tuple[int, int]:
    """(top, left) of a crop of side `size` in a square of `side` pixels, rounded as torchvision does."""
    end, middle = side - size, round((side - size) / 2)
    places = {
        "top_left": (0, 0),
        "top_right": (0, end),
        "bottom_left": (end, 0),
        "bottom_right": (end, end),
        "center": (middle, middle),
    }
    return places.get(view.corner, (0, 0))
