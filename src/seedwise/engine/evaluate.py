"""Logits of a set of images, and scores from logits."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from seedwise.engine.placement import Placement
from seedwise.engine.protocols import Augment, Images
from seedwise.engine.world import ALONE, World
from seedwise.errors import UserError
from seedwise.models.folding import folded
from seedwise.record import Scores

EVALUATION_BATCH = 256


@dataclass(frozen=True)
class Predictions:
    """A model's logits on a set of images, row by row."""

    ids: NDArray[np.int64]
    """int64[m]: the images' numbers in the data set."""
    targets: NDArray[np.int64]
    """int64[m]: their classes."""
    logits: NDArray[np.float32]
    """float32[m, k]."""


def predict(
    model: nn.Module,
    images: Images,
    augment: Augment,
    *,
    size: int,
    placement: Placement,
    world: World = ALONE,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Predictions:
    """Logits of every image, each exactly once, in the set's own order; processes share the batches out."""
    count = len(images.ids)
    parts = {}
    model.eval()
    fast = None
    with torch.inference_mode():
        for start in range(world.rank * EVALUATION_BATCH, count, world.size * EVALUATION_BATCH):
            pixels, sizes = images.gather(np.arange(start, min(start + EVALUATION_BATCH, count)))
            valid = None if sizes is None else torch.from_numpy(sizes)
            inputs = augment.evaluate(placement.tensor(pixels), valid, size=size)
            inputs = placement.images(inputs)
            fast = fast or folded(model, inputs)
            with placement.autocast():
                parts[start] = fast(inputs).float()
            on_progress(min(start + EVALUATION_BATCH, count), count)
    merged = world.merge({start: part.cpu() for start, part in parts.items()})
    logits = torch.cat([merged[start] for start in sorted(merged)]).numpy()
    return Predictions(np.asarray(images.ids), np.asarray(images.targets), logits)


def score(predictions: Predictions) -> Scores:
    """Top-1, top-5 (top-k below five classes) and cross-entropy. Ties are broken against the model.

    An image counts for top-n when fewer than n wrong classes have a logit at least as high as the target's, so a
    model that answers the same for every class scores 0, not 1.
    """
    logits = predictions.logits.astype(np.float64)
    rows = np.arange(len(logits))
    of_target = logits[rows, predictions.targets]
    rank = (logits >= of_target[:, None]).sum(axis=1) - 1
    highest = logits.max(axis=1)
    log_sum = highest + np.log(np.exp(logits - highest[:, None]).sum(axis=1))
    return Scores(
        top1=float((rank < 1).mean()),
        top5=float((rank < min(5, logits.shape[1])).mean()),
        loss=_finite(float((log_sum - of_target).mean())),
    )


def _finite(loss: float) -> float:
    if not math.isfinite(loss):
        raise UserError("the loss on held-out images is not finite; lower optim.lr, or set optim.clip_norm")
    return loss
