"""Teachers of distillation: finished runs whose averaged class probabilities a student learns from."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seedwise.base.errors import UserError
from seedwise.base.running_sums import RunningSums
from seedwise.data.dataset import Dataset
from seedwise.engine.placement import Placement
from seedwise.kernels.evaluation import evaluation_copy
from seedwise.kernels.swap import accelerate
from seedwise.optim.config import DistillConfig
from seedwise.recipe.schema import Recipe
from seedwise.records.finished import find_finished, is_ensemble, read_ensemble, read_finished
from seedwise.records.predictions import read_originals
from seedwise.records.run import STUDY, WEIGHTS
from seedwise.run.run import Run

OPTION = "loss.distill.teacher"
SPLIT = ("val", "test", "split_seed")
"""Options of the data that decide which images are held out."""


def members(place: Path) -> list[Path]:
    """The folders of the runs that teach together: a run's own, an ensemble's members, or the base's seeds of a study.

    A UserError where there is none, or one of them is not finished.
    """
    if not place.is_dir():
        raise UserError(f"{OPTION}: {place}: no such folder; give that of a finished run, an ensemble or a study")
    if (place / STUDY).is_file():
        place = place / "runs" / "base"
    found, unfinished = find_finished(place)
    if unfinished:
        raise UserError(f"{OPTION}: {unfinished[0]} is not finished; `seedwise resume` it first")
    runs: list[Path] = []
    for it in found:
        if is_ensemble(it.folder):
            runs += [it.folder / member.folder for member in read_ensemble(it.folder).members if member.weight]
        else:
            runs.append(it.folder)
    return runs


def digest(place: Path) -> str:
    """SHA-256 over the weights of a teacher's members, as their records have them."""
    together = hashlib.sha256()
    for folder in members(place):
        together.update(read_finished(folder).record.files[WEIGHTS].encode())
    return together.hexdigest()


def demand_fit(recipe: Recipe, dataset: Dataset) -> None:
    """Raise a UserError unless all teachers know the same classes and none has learned what will be scored."""
    distill = recipe.loss.distill
    for folder in members(Path(distill.teacher)) if distill is not None else ():
        _demand_fit(Run(folder), recipe, dataset)


class RunTeacher:
    """Class probabilities of finished networks on the student's own augmented images; counts what it said."""

    def __init__(self, recipe: Recipe, config: DistillConfig, mean: Sequence[float], std: Sequence[float]) -> None:
        self._temperature = config.temperature
        self._placement = Placement.of(recipe.compute)
        self._networks = [_Network(Run(folder), recipe, mean, std) for folder in members(Path(config.teacher))]
        self._images = 0
        self._sums = RunningSums(2)
        """Over the images: target probability of the class that the teacher names, and its own."""

    @torch.no_grad()
    def __call__(self, images: Tensor, targets: Tensor) -> Tensor:
        """Probabilities float32[n, k] at the temperature, averaged over the networks.

        `images`: float32[n, 3, h, w] as the student gets them; `targets`: float32[n, k], compared for the record.
        """
        logits = [network(images, self._placement) for network in self._networks]
        said = torch.stack([(each / self._temperature).softmax(dim=1) for each in logits]).mean(dim=0)
        plain = torch.stack([each.softmax(dim=1) for each in logits]).mean(dim=0)
        self._images += len(images)
        agreed = targets.gather(1, plain.argmax(dim=1, keepdim=True)).sum()
        self._sums.add(torch.stack([agreed, plain.amax(dim=1).sum()]))
        return said

    def effects(self) -> dict[str, dict[str, float]]:
        """Networks, images, and over these: mean target probability of the class it names, and of that its own."""
        agreed, sure = (each / max(self._images, 1) for each in self._sums.read())
        counts = {"networks": float(len(self._networks)), "images": float(self._images)}
        return {"distill": counts | {"top1_mixed": agreed, "confidence": sure}}

    def state(self) -> dict[str, Any]:
        """The counts, for a checkpoint."""
        return {"images": self._images, "sums": self._sums.read()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on counting from a checkpoint."""
        self._images = int(state["images"])
        self._sums.load([float(each) for each in state["sums"]])


class _Network:
    """One teacher: the student's images, normalized and resized as the teacher's own evaluation has them."""

    def __init__(self, run: Run, recipe: Recipe, mean: Sequence[float], std: Sequence[float]) -> None:
        own = run.record.model
        self._size = run.recipe.train.evaluation_size
        placement = Placement.of(recipe.compute)
        self._model = placement.module(run.model.eval().requires_grad_(False))
        kernels = recipe.compute.kernels
        # nothing records what a clock would choose for it, so that a resumed run could not choose the same
        accelerate(self._model, "native" if kernels == "tuned" else kernels, {})
        self._fast: torch.nn.Module | None = None
        ours, ours_std, theirs, theirs_std = (np.asarray(it, np.float64) for it in (mean, std, own.mean, own.std))
        scale, shift = ours_std / theirs_std, (ours - theirs) / theirs_std
        self._alike = np.allclose(scale, 1) and np.allclose(shift, 0)
        self._scale, self._shift = (placement.tensor(it.astype(np.float32))[:, None, None] for it in (scale, shift))

    def __call__(self, images: Tensor, placement: Placement) -> Tensor:
        if not self._alike:
            images = images * self._scale + self._shift
        if images.shape[-1] != self._size:
            images = F.interpolate(images, (self._size, self._size), mode="bilinear", antialias=True)
        images = placement.images(images)
        self._fast = self._fast or evaluation_copy(self._model, images)
        with placement.autocast():
            return self._fast(images).float()  # type: ignore[no-any-return]


def _demand_fit(teacher: Run, recipe: Recipe, dataset: Dataset) -> None:
    """Raise a UserError unless a teacher knows the same classes and has not learned what will be scored.

    On the same split there is nothing to look for: what train and test share there (CIFAR-100 has eight such test
    images) the student learns, too.
    """
    if list(teacher.classes) != list(dataset.classes):
        known = f"{len(teacher.classes)} classes ({teacher.classes[0]} … {teacher.classes[-1]})"
        raise UserError(
            f"{OPTION}: {teacher.folder} knows {known}, the data have {len(dataset.classes)} "
            f"({dataset.classes[0]} … {dataset.classes[-1]}); a teacher must know the same ones in the same order"
        )
    record, split = teacher.record, [getattr(recipe.data, name) for name in SPLIT]
    if record.data.fingerprint == dataset.fingerprint and [getattr(teacher.recipe.data, it) for it in SPLIT] == split:
        return
    learned = read_originals(teacher.folder, record).get("train")
    for name, part in (("test", dataset.test), ("validation", dataset.val)):
        if learned is None or part is None or part.originals is None:
            continue
        known_images = int(np.isin(part.originals, learned).sum())
        if known_images:
            raise UserError(
                f"{OPTION}: {teacher.folder} was trained on {known_images} of the {len(part)} {name} images, so that "
                "scores on them would be too high; train teacher and student on the same split (data.split_seed, "
                "data.val, data.test)"
            )
