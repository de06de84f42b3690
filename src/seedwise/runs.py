"""A finished run as an object: its record, its recipe, its network."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from seedwise.augment.pipeline import Augmenter
from seedwise.config import load as load_section
from seedwise.data.images import decode, pixels_of, resize_short_side, scaled
from seedwise.data.source import RawImage
from seedwise.engine.gradcam import gradcam, overlay
from seedwise.engine.placement import Placement
from seedwise.errors import UserError
from seedwise.models.build import load_model
from seedwise.models.checkpoint import EMA_FILE
from seedwise.predictions import read_predictions
from seedwise.recipe import Recipe
from seedwise.record import MODEL_CONFIG, PREDICTIONS, RECIPE, WEIGHTS, RunRecord, check_files, read_record

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["MODEL_CONFIG", "PREDICTIONS", "RECIPE", "WEIGHTS", "Run", "load"]

PREDICT_BATCH = 64


class Run:
    """A run folder. `record` and `recipe` are read at once and checked; the network when it is first needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.record: RunRecord = read_record(folder)
        check_files(folder, self.record, RECIPE)
        self.recipe: Recipe = load_section(Recipe, folder / RECIPE)

    @property
    def classes(self) -> list[str]:
        """Class names by class number."""
        return self.record.data.classes

    @cached_property
    def model(self) -> torch.nn.Module:
        """The trained network, in evaluation mode, on the CPU; its file's checksum is checked first."""
        self._demand_finished()
        check_files(self.folder, self.record, WEIGHTS, MODEL_CONFIG)
        return load_model(self.folder).module

    @cached_property
    def ema_model(self) -> torch.nn.Module:
        """As `model`, with the average of the weights; a UserError where the recipe's optim.ema is null."""
        self._demand_finished()
        if self.record.ema is None:
            raise UserError(f"{self.folder}: has no average of its weights; train with -s 'optim.ema={{}}'")
        check_files(self.folder, self.record, EMA_FILE, MODEL_CONFIG)
        return load_model(self.folder / EMA_FILE).module

    def _demand_finished(self) -> None:
        if self.record.status != "finished":
            raise UserError(f"{self.folder}: not finished (status: {self.record.status}); `seedwise resume` it first")

    def logits(self, split: str = "test") -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """The stored (ids, targets, logits) of `val` or `test`; of the average as `val_ema` or `test_ema`."""
        check_files(self.folder, self.record, PREDICTIONS)
        stored = read_predictions(self.folder, split)
        if stored is None:
            raise UserError(f"{self.folder}: has no predictions for '{split}'")
        return stored.ids, stored.targets, stored.logits

    def predict(self, images: "Sequence[Any] | NDArray[np.uint8]") -> NDArray[np.float32]:
        """Class probabilities float32[n, k] of images, preprocessed as in this run's own evaluation.

        `images`: paths, PIL images or uint8 arrays [h, w, 3], of any sizes; or one array uint8[n, h, w, 3].
        """
        augment, placement, model = self._network()
        parts = [torch.empty(0, len(self.classes))]
        with torch.inference_mode():
            for start in range(0, len(images), PREDICT_BATCH):
                inputs = [self._input(image, augment) for image in images[start : start + PREDICT_BATCH]]
                parts.append(model(placement.images(torch.cat(inputs))).softmax(dim=1))
        probabilities: NDArray[np.float32] = torch.cat(parts).numpy()
        return probabilities

    def explain(self, image: "Path | str | Image | NDArray[np.uint8]", of: int | None = None) -> NDArray[np.uint8]:
        """Where the network saw a class (by default the most probable one): uint8[size, size, 3], Grad-CAM.

        The image is one as `predict` takes them; it is shown as the network is fed it.
        """
        augment, placement, model = self._network()
        fed = self._input(image, augment)
        mean, std = (np.asarray(it, np.float32) for it in (self.record.model.mean, self.record.model.std))
        pixels = (255 * (fed[0].permute(1, 2, 0).numpy() * std + mean)).round().clip(0, 255).astype(np.uint8)
        return overlay(pixels, gradcam(model, placement.images(fed), None if of is None else [of])[0])

    def _network(self) -> tuple[Augmenter, Placement, torch.nn.Module]:
        """What a prediction needs: preprocessing, and the network where it computes."""
        augment = Augmenter(
            self.recipe.augment,
            seed=0,
            rows=0,
            mean=self.record.model.mean,
            std=self.record.model.std,
            device=torch.device("cpu"),
        )
        placement = Placement(torch.device("cpu"), bf16=False, channels_last=True)
        return augment, placement, placement.module(self.model)

    def _input(self, image: "Path | str | Image | NDArray[np.uint8]", augment: Augmenter) -> torch.Tensor:
        pixels = _pixels(image, self.record.data.pixel_range)
        size = self.recipe.train.image_size
        if min(pixels.shape[:2]) > size:
            pixels = resize_short_side(pixels, size)
        tensor = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None]
        return augment.evaluate(tensor, None, size=size)


def load(folder: Path | str) -> Run:
    """The run in this folder; a UserError when it isn't one or is damaged."""
    return Run(Path(folder))


def _pixels(
    image: "Path | str | Image | NDArray[np.uint8]", pixel_range: tuple[float, float] | None
) -> NDArray[np.uint8]:
    if isinstance(image, str | Path):
        return decode(RawImage(str(image), Path(image)), pixel_range)
    if not isinstance(image, np.ndarray):
        return scaled("an image", pixels_of(image), pixel_range).pixels
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise UserError(f"an image is {image.dtype}{list(image.shape)}; give uint8[h, w, 3], a PIL image or a path")
    return image
