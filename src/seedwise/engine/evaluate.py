"""Evaluates a model: logits of a set of images."""

import logging
import traceback
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from seedwise.base import machine
from seedwise.engine.distributed import SINGLE_PROCESS, World
from seedwise.engine.placement import Placement
from seedwise.engine.protocols import Evaluated, Images
from seedwise.kernels.evaluation import evaluation_copy
from seedwise.records.predictions import Predictions, score

__all__ = ["Predictions", "predict", "score"]

EVALUATION_BATCH = 256

log = logging.getLogger("seedwise")


def predict(
    model: nn.Module,
    images: Images,
    augment: Evaluated,
    *,
    size: int,
    placement: Placement,
    world: World = SINGLE_PROCESS,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Predictions:
    """Compute the logits float32[m, k] of each of m images once, in the set's order; processes share the batches.
    `size`: side in pixels of the model's input."""
    (found,) = predict_views(
        model, images, [augment], size=size, placement=placement, world=world, on_progress=on_progress
    )
    return found


def predict_views(
    model: nn.Module,
    images: Images,
    views: Sequence[Evaluated],
    *,
    size: int,
    placement: Placement,
    world: World = SINGLE_PROCESS,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Predictions]:
    """Do what `predict` does for several preprocessings, each image read once for all of them. Progress counts images
    over all views."""
    count = len(images.ids)
    parts: dict[int, list[Tensor]] = {}
    model.eval()
    fast, pieces = None, 1
    starts = range(world.rank * EVALUATION_BATCH, count, world.size * EVALUATION_BATCH)
    batches = [np.arange(start, min(start + EVALUATION_BATCH, count)) for start in starts]
    images.expect(np.concatenate(batches) if batches else np.arange(0))
    with torch.inference_mode():
        for start, positions in zip(starts, batches, strict=True):
            pixels, sizes = images.gather(positions)
            valid, on_device = None if sizes is None else torch.from_numpy(sizes), placement.tensor(pixels)
            parts[start] = []
            for number, view in enumerate(views, 1):
                inputs = placement.images(view.evaluate(on_device, valid, size=size))
                fast = fast or evaluation_copy(model, inputs)
                with placement.autocast():
                    part, pieces = _in_pieces(fast, inputs, pieces)
                parts[start].append(part)
                on_progress(len(views) * start + number * len(positions), len(views) * count)
    merged = world.all_gather({start: torch.stack(part).cpu() for start, part in parts.items()})
    logits = torch.cat([merged[start] for start in sorted(merged)], dim=1).numpy()
    return [Predictions(np.asarray(images.ids), np.asarray(images.targets), view) for view in logits]


def _in_pieces(model: nn.Module, inputs: Tensor, pieces: int) -> tuple[Tensor, int]:
    """Logits float32[n, k] of a batch in so many parts, or in twice as many while memory runs out; and in how many."""
    while True:
        try:
            return torch.cat([model(part).float() for part in inputs.tensor_split(pieces)]), pieces
        except Exception as error:
            if machine.out_of_memory(error) is None or 2 * pieces > len(inputs):
                raise
            traceback.clear_frames(error.__traceback__)  # their tensors
        pieces *= 2
        log.info("no memory for %d images at once: evaluates them in %d parts", len(inputs), pieces)
