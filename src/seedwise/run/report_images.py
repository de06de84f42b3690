"""Makes the images of a run's report, insight.npz, at the end of training.

Every list of pictures is one uint8 array of encoded files, `<name>_bytes`, with where each ends in `<name>_ends`:

    errors          the most confident errors; errors_rows: their rows in the predictions of `split`
    pairs           images of the most confused pairs of classes; pairs_rows
    gradcam         images for Grad-CAM, gradcam_rows; gradcam_predicted, gradcam_target: with the heat of these classes
    grid            augmentation, row by row: the original, then EPOCHS epochs; grid_rows: names of the rows
"""

import io
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from seedwise.augment.config import AugmentConfig
from seedwise.augment.grid import changed_cells, technique_rows
from seedwise.augment.pipeline import Augmenter
from seedwise.base import rng
from seedwise.base.errors import UserError
from seedwise.data.dataset import Dataset, Subset
from seedwise.engine.evaluate import Predictions
from seedwise.engine.gradcam import gradcam, overlay
from seedwise.engine.placement import Placement
from seedwise.engine.protocols import Augment
from seedwise.engine.setup import Setup
from seedwise.stats.calibration import log_softmax
from seedwise.stats.confusion import confusion, most_confused

ERRORS, PAIRS, OF_EACH_PAIR, HEATED, EPOCHS, GRID_IMAGES = 12, 10, 3, 3, 5, 8
SIDE, GRID_SIDE, LOSSLESS_SIDE = 64, 48, 32
"""Pixels of a picture's longer side, at most; up to the last it is kept as PNG."""

Pixels = NDArray[np.uint8]
Arrays = dict[str, NDArray[Any]]

log = logging.getLogger("seedwise")


def look(
    setup: Setup,
    augment: AugmentConfig,
    dataset: Dataset,
    scored: Mapping[str, Predictions],
    on_progress: Callable[[int, int], None],
) -> Arrays:
    """Make the arrays of insight.npz for a trained network, from test images or, without any, validation images."""
    found = grid_of(augment, dataset.train, len(dataset.classes), seed=setup.seed, size=setup.config.image_size)
    on_progress(1, 3)
    split = next((name for name in ("test", "val") if name in scored), None)
    subset = dataset.test if split == "test" else dataset.val
    if split is None or subset is None:
        return found
    shown = _Shown(subset, augment, setup.config.evaluation_size)
    found |= {"split": np.array(split)} | _errors_and_pairs(shown, scored[split])
    on_progress(2, 3)
    try:
        found |= _heated(setup, shown, scored[split])
    except (UserError, RuntimeError) as error:  # a user's own network need not be of a kind that has a Grad-CAM
        log.warning("no Grad-CAM: %s", error)
    on_progress(3, 3)
    return found


def grid_of(augment: AugmentConfig, train: Subset, classes: int, *, seed: int, size: int) -> Arrays:
    """Draw what each technique of the recipe does to a training image, alone, and all together. `size`: side in
    pixels."""
    count = min(GRID_IMAGES, len(train))
    chosen = np.sort(rng.generator(seed, "insight", "grid").permutation(len(train))[:count]).astype(np.int64)
    pixels, sizes = train.gather(chosen)
    valid = None if sizes is None else torch.from_numpy(sizes)
    targets = torch.nn.functional.one_hot(torch.from_numpy(train.targets[chosen]), classes).float()
    rows = technique_rows(augment)
    pictures = []
    for number, (_, alone) in enumerate(rows):
        images = torch.from_numpy(pixels)
        cells = changed_cells(images, valid, targets, alone, number % count, seed=seed, size=size, count=EPOCHS)
        pictures += [_encode(cell, GRID_SIDE) for cell, _ in cells]
    return {"grid_rows": np.array([name for name, _ in rows])} | _packed("grid", pictures)


class _Shown:
    """Images as evaluation preprocesses them."""

    def __init__(self, subset: Subset, config: AugmentConfig, size: int) -> None:
        self._subset, self._config, self._size = subset, config, size

    def inputs(self, rows: Sequence[int], augment: Augment, placement: Placement) -> torch.Tensor:
        """float32[n, 3, size, size] on the device for the images of `rows`."""
        parts = []
        for row in rows:  # one by one: photos of several shapes would be cut to the smallest
            pixels, sizes = self._subset.gather(np.array([row], np.int64))
            valid = None if sizes is None else torch.from_numpy(sizes)
            parts.append(augment.evaluate(placement.tensor(pixels), valid, size=self._size))
        return placement.images(torch.cat(parts))

    def pixels(self, rows: Sequence[int]) -> list[Pixels]:
        """uint8[size, size, 3] of each image of `rows`."""
        if not len(rows):
            return []
        cpu = Placement(torch.device("cpu"), precision="fp32", channels_last=True)
        plain = Augmenter(self._config, seed=0, rows=0, mean=(0.0,) * 3, std=(1.0,) * 3, device=cpu.device)
        images = self.inputs(rows, plain, cpu)
        return list((images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy())


def _errors_and_pairs(shown: _Shown, scored: Predictions) -> Arrays:
    targets, predicted = scored.targets, scored.predicted
    confidence = np.exp(log_softmax(scored.logits).max(axis=1))
    by_confidence = np.argsort(-confidence, kind="stable")
    errors = by_confidence[(predicted != targets)[by_confidence]][:ERRORS]
    in_pairs: list[int] = []
    for true, said, _ in most_confused(confusion(targets, predicted, scored.logits.shape[1]), PAIRS):
        of_pair = (targets == true) & (predicted == said)
        in_pairs += by_confidence[of_pair[by_confidence]][:OF_EACH_PAIR].tolist()
    found: Arrays = {}
    for name, rows in (("errors", errors.tolist()), ("pairs", in_pairs)):
        pictures = [_encode(pixels) for pixels in shown.pixels(rows)]
        found |= {f"{name}_rows": np.array(rows, np.int64)} | _packed(name, pictures)
    return found


def _heated(setup: Setup, shown: _Shown, scored: Predictions) -> Arrays:
    """Grad-CAM of the most confident errors and of some right images, for the predicted and for the true class."""
    targets, predicted = scored.targets, scored.predicted
    confidence = np.exp(log_softmax(scored.logits).max(axis=1))
    order = np.argsort(-confidence, kind="stable")
    errors = order[(predicted != targets)[order]][:HEATED]
    drawn = rng.generator(setup.seed, "insight", "gradcam").permutation(len(targets))
    right = drawn[(predicted == targets)[drawn]][: 2 * HEATED - len(errors)]
    rows = np.concatenate([errors, right]).astype(np.int64)
    if not len(rows):
        return {}
    images = shown.inputs(rows.tolist(), setup.augment, setup.placement)
    pixels = shown.pixels(rows.tolist())
    found: Arrays = {"gradcam_rows": rows} | _packed("gradcam", [_encode(picture) for picture in pixels])
    for name, classes in (("predicted", predicted[rows]), ("target", targets[rows])):
        heats = gradcam(setup.model, images, classes.tolist())
        heated = [_encode(overlay(picture, heat)) for picture, heat in zip(pixels, heats)]
        found |= _packed(f"gradcam_{name}", heated)
    return found


def _packed(name: str, pictures: Sequence[bytes]) -> Arrays:
    ends = np.cumsum([len(picture) for picture in pictures], dtype=np.int64)
    return {f"{name}_bytes": np.frombuffer(b"".join(pictures), np.uint8), f"{name}_ends": ends}


def _encode(pixels: Pixels, side: int = SIDE) -> bytes:
    """Encode a picture as a file: a small one as PNG, another as JPEG with sides of at most `side` pixels."""
    image, buffer = Image.fromarray(pixels), io.BytesIO()
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    if max(image.size) <= LOSSLESS_SIDE:
        image.save(buffer, format="PNG", optimize=True)
    else:
        image.save(buffer, format="JPEG", quality=80)
    return buffer.getvalue()
