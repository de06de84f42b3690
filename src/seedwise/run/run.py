"""A finished run as an object: its record, its recipe, its network."""

import copy
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from seedwise.augment.pipeline import Augmenter
from seedwise.base.devices import arithmetic
from seedwise.base.errors import UserError
from seedwise.base.notebook import html_table
from seedwise.config.section import load as load_section
from seedwise.data.images import resize_short_side
from seedwise.engine.gradcam import gradcam, overlay
from seedwise.engine.placement import Placement
from seedwise.models.build import load_model
from seedwise.models.checkpoint import EMA_FILE
from seedwise.recipe.schema import ComputeConfig, Recipe
from seedwise.records.finished import Finished
from seedwise.records.predictions import Predictions
from seedwise.records.run import (
    MODEL_CONFIG,
    PREDICTIONS,
    RECIPE,
    WEIGHTS,
    RunRecord,
    Scores,
    check_files,
    read_record,
    score_rows,
)
from seedwise.run import resolve
from seedwise.run.folder import as_begun
from seedwise.run.image_predictions import read_image_predictions
from seedwise.run.inputs import batches, pixels

if TYPE_CHECKING:
    from seedwise.run.inputs import Given, One

__all__ = ["MODEL_CONFIG", "PREDICTIONS", "RECIPE", "WEIGHTS", "Run", "load"]

PREDICT_BATCH = 64
SPLITS = ("train", "val", "test")


class Run:
    """A run folder. `record` and `recipe` are read at once and checked; the network when it is first needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.record: RunRecord = read_record(folder)
        check_files(folder, self.record, RECIPE)
        self.recipe: Recipe = as_begun(load_section(Recipe, folder / RECIPE), self.record)
        self._placed: dict[str, torch.nn.Module] = {}
        """Copies of the network off the CPU, by device."""

    @property
    def classes(self) -> list[str]:
        """Class names by class index."""
        return self.record.data.classes

    @cached_property
    def model(self) -> torch.nn.Module:
        """The trained network, in evaluation mode, on the CPU; its file's checksum is checked first."""
        self._demand_finished()
        check_files(self.folder, self.record, WEIGHTS, MODEL_CONFIG)
        return load_model(self.folder).module

    @cached_property
    def ema_model(self) -> torch.nn.Module:
        """The network with the averaged weights, as `model`; a UserError without optim.ema and optim.swa."""
        self._demand_finished()
        if self.record.ema is None:
            raise UserError(f"{self.folder}: has no average of its weights; train with -s 'optim.ema={{}}'")
        check_files(self.folder, self.record, EMA_FILE, MODEL_CONFIG)
        return load_model(self.folder / EMA_FILE).module

    def _demand_finished(self) -> None:
        if self.record.status != "finished":
            raise UserError(f"{self.folder}: not finished (status: {self.record.status}); `seedwise resume` it first")

    def logits(self, split: str = "test") -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Stored ids int64[m], targets int64[m] and logits float32[m, k] on `val` or `test` (averaged: `val_ema`)."""
        stored = self.predictions(split)
        return stored.ids, stored.targets, stored.logits

    def predictions(self, split: str = "test") -> Predictions:
        """Stored predictions on `val`, `test` or `oob` (averaged weights: `val_ema`; several views: `val_tta`).

        Their `correct()` is what top-1 counts, their `predicted` the classes, their `files` the images' names. Raises
        UserError where there are none on these images, or the file is damaged.
        """
        return Finished(self.folder, self.record).predictions(split)

    def table(self, split: str = "test") -> list[dict[str, Any]]:
        """A row an image of `val` or `test` (`test_ema`, `test_tta`): file, label, predicted, probability, correct.

        `file` is relative to the folder of the data, `record.data.source`; an image without one has its row of a table,
        and one of a run that did not keep it None. `pandas.DataFrame(run.table())` makes a data frame of it.
        """
        return read_image_predictions(Finished(self.folder, self.record), split).table()

    def to_dict(self) -> dict[str, Any]:
        """The content of record.json."""
        return self.record.to_dict()

    def _repr_html_(self) -> str:
        final, said = self.record.final, f"seed {self.record.seed}, {self.record.status}"
        scores: dict[str, Scores | None] = {} if final is None else {name: getattr(final, name) for name in SPLITS}
        lines = [said] if final is None else [f"{said}; one seed: seeds=5 for a spread"]
        return html_table(score_rows(scores), f"{self.folder}: {self.record.recipe} on {self.record.data.name}", lines)

    def predict(self, images: "Given", *, device: str | None = None) -> NDArray[np.float32]:
        """Class probabilities float32[n, k] of images, preprocessed as in this run's evaluation; [1, k] for one image.

        `images`: one image, or any iterable of them, a generator too, of which no more than a batch is held at once. An
        image is a path, a PIL image, an array uint8[h, w, 3] or gray uint8[h, w], or a torch tensor uint8[3, h, w], of
        any size; arrays uint8[n, h, w, 3] and tensors uint8[n, 3, h, w] hold many. Floats are refused, since nothing
        tells their scale. Raises UserError with the number of the image that can't be used.

        `device`: `auto`, `cpu`, `mps`, `cuda` or `cuda:N`; by default the run's own, or what there is where that is not
        here.
        """
        augment, placement, model = self._network(device)
        parts = [torch.empty(0, len(self.classes))]
        with arithmetic(placement.device.type), torch.inference_mode():
            for batch in batches(images, PREDICT_BATCH, self.record.data.pixel_range):
                inputs = [self._input(image, augment, placement.device) for image in batch]
                parts.append(model(placement.images(torch.cat(inputs))).softmax(dim=1).cpu())
        probabilities: NDArray[np.float32] = torch.cat(parts).numpy()
        return probabilities

    def explain(self, image: "One", of: int | None = None, *, device: str | None = None) -> NDArray[np.uint8]:
        """Draw where the network sees class index `of` (by default the most probable one) by Grad-CAM.

        Returns uint8[size, size, 3]. Image and device are as `predict` takes them; the image is shown as the network is
        fed it.
        """
        fed, heat = self._seen(image, of, device)
        mean, std = (np.asarray(it, np.float32) for it in (self.record.model.mean, self.record.model.std))
        shown = (255 * (fed[0].permute(1, 2, 0).cpu().numpy() * std + mean)).round().clip(0, 255).astype(np.uint8)
        return overlay(shown, heat)

    def heat(self, image: "One", of: int | None = None, *, device: str | None = None) -> NDArray[np.float32]:
        """Grad-CAM heat map float32[size, size] in [0, 1] over the center square of the image; `device`: as for
        `predict`."""
        return self._seen(image, of, device)[1]

    def _seen(self, image: "One", of: int | None, device: str | None) -> tuple[torch.Tensor, NDArray[np.float32]]:
        """An image preprocessed for the network, and its heat map."""
        augment, placement, model = self._network(device)
        fed = self._input(pixels(image, self.record.data.pixel_range), augment, placement.device)
        with arithmetic(placement.device.type):
            return fed, gradcam(model, placement.images(fed), None if of is None else [of])[0]

    def _network(self, device: str | None) -> tuple[Augmenter, Placement, torch.nn.Module]:
        """Preprocessing, placement in fp32, and the network on its device."""
        named = resolve.device_at_hand(self.recipe.compute, device)
        here = ComputeConfig(device=named, precision="fp32", channels_last=named != "mps")
        placement = Placement.of(here)
        record = self.record.model
        augment = Augmenter(
            self.recipe.augment, seed=0, rows=0, mean=record.mean, std=record.std, device=placement.device
        )
        if placement.device.type == "cpu":
            return augment, placement, placement.module(self.model)
        if named not in self._placed:  # `model` stays on the CPU, as it says
            self._placed[named] = placement.module(copy.deepcopy(self.model))
        return augment, placement, self._placed[named]

    def _input(self, image: NDArray[np.uint8], augment: Augmenter, device: torch.device) -> torch.Tensor:
        size = self.recipe.train.evaluation_size
        if min(image.shape[:2]) > size:
            image = resize_short_side(image, size)
        tensor = torch.from_numpy(image.copy()).permute(2, 0, 1)[None]
        return augment.evaluate(tensor.to(device), None, size=size)


def load(folder: Path | str) -> Run:
    """Open the run in this folder; a UserError when it isn't one or is damaged."""
    return Run(Path(folder))
