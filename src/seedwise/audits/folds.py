"""Cross-validated predictions of every image, by networks of a run's recipe that weren't trained on it.

Validation and test images are judged by the run itself, as it stored its predictions. Each training image is judged by
a network that the run's recipe trains from the start without that image's fifth of them: cross-validation. The run's
own network would not do, since it knows its training images, with their labels, by heart.
"""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from seedwise.audits.findings import stored_audit
from seedwise.audits.labels import FOLDS
from seedwise.base.errors import UserError
from seedwise.base.files import make_folder
from seedwise.config.options import plain
from seedwise.data.dataset import Dataset
from seedwise.data.source import Progress
from seedwise.engine.control import RunControl
from seedwise.engine.protocols import Observer
from seedwise.recipe.schema import Recipe
from seedwise.records.predictions import read_arrays, write_arrays
from seedwise.run import resolve
from seedwise.run.run import Run
from seedwise.run.train import run as train_run


def by_run(run: Run, dataset: Dataset, progress: Progress) -> NDArray[np.float64]:
    """Cross-validated class probabilities float64[n, k] of train, val and test images, in this order.

    Trains as many networks as there are folds, one after the other; finished ones are cached. A UserError for a run on
    a sample of the training images, or whose stored predictions are of other images.
    """
    if run.recipe.data.bootstrap or run.recipe.data.fold is not None:
        raise UserError(
            f"{run.folder}: was trained on a sample of the training images: give --run a run on all of them"
        )
    probabilities = [_of_training(run, dataset, progress)]
    for name, subset in (("val", dataset.val), ("test", dataset.test)):
        if subset is not None:
            ids, _, logits = run.logits(name)
            if not np.array_equal(ids, subset.ids):
                raise UserError(f"{run.folder}: its answers on {name} are of other images; train it again")
            probabilities.append(softmax(logits.astype(np.float64), axis=1))
    return np.concatenate(probabilities)


def _of_training(run: Run, dataset: Dataset, progress: Progress) -> NDArray[np.float64]:
    seed, record = run.record.seed, run.record.data
    recipe = _without_test(run.recipe)
    key = hashlib.sha256(json.dumps([plain(recipe), seed, dataset.fingerprint]).encode()).hexdigest()[:16]
    folder = stored_audit(dataset.originals).with_name(f"folds-{key}")
    made = np.zeros((len(dataset.train), len(dataset.classes)))
    for number in range(1, FOLDS + 1):
        path = folder / f"fold-{number}.npz"
        if not path.is_file():
            options = recipe.data.model_copy(update={"fold": (number, FOLDS)})
            control = RunControl(_Fold(progress, number))
            place = folder / f"fold-{number}"
            # an interrupt leaves a checkpoint there, and the next audit goes on from it
            train_run(place, recipe.model_copy(update={"data": options}), record.source, seed, _data_dir(run), control)
            predictions = Run(place).predictions("oob")
            make_folder(folder)
            write_arrays(path, {"ids": predictions.ids, "logits": predictions.logits})
            shutil.rmtree(place)
        stored = read_arrays(path)
        rows = np.searchsorted(dataset.train.ids, stored["ids"])
        made[rows] = softmax(stored["logits"].astype(np.float64), axis=1)
    return made


def _without_test(recipe: Recipe) -> Recipe:
    """The recipe without test images and without predictions that nobody needs, on what there is to compute on."""
    train = recipe.train.model_copy(update={"score_test": False})
    return recipe.model_copy(update={"train": train, "tta": None, "compute": resolve.at_hand(recipe.compute)})


def _data_dir(run: Run) -> Path | None:
    return None if run.record.data.data_dir is None else Path(run.record.data.data_dir)


@dataclass
class _Fold(Observer):
    """An observer that shows a fold's training as a phase."""

    progress: Progress
    number: int
    total: int = 0

    def on_start(self, epochs: int, steps_per_epoch: int, steps_done: int) -> None:
        """Set the total number of steps."""
        self.total = epochs * steps_per_epoch

    def on_step(self, epoch: int, step: int, loss: float, top1: float, images_per_second: float) -> None:
        """Show the step."""
        self.progress(f"training without fold {self.number} of {FOLDS}, step", step, self.total)
