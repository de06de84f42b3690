"""Predicts what a run will take, and fits the recipe's `auto` numbers to the data and the time."""

import math
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from seedwise.base import machine
from seedwise.base.errors import UserError
from seedwise.data.dataset import Dataset
from seedwise.data.glance import Glance, glance
from seedwise.data.source import Progress
from seedwise.data.stand_in import stand_in
from seedwise.engine.control import RunControl, phase_progress
from seedwise.engine.placement import computing
from seedwise.engine.setup import Setup
from seedwise.kernels import launch
from seedwise.kernels.rule import NATIVE_KERNELS
from seedwise.models.build import build_model
from seedwise.recipe.schema import Recipe, is_auto
from seedwise.records.run import Timed
from seedwise.run import report_images, resolve, sizing
from seedwise.run.assemble import prepare
from seedwise.run.cost import Cost, first_of, measure
from seedwise.run.data import open_for
from seedwise.run.deadline import Deadline, Least

FEW = 64
"""Number of predicted images from which report images are made: enough to measure their cost."""


@dataclass(frozen=True)
class Rehearsal:
    """A resolved recipe, its data, and the measured cost of a run; `timed`: the numbers that `--time` changed."""

    recipe: Recipe
    dataset: Dataset
    cost: Cost
    timed: Timed | None = None

    def lines(self, trials: int) -> list[str]:
        """Lines on what the data or the time decided, before so many trials."""
        each = f", {trials} times" if trials > 1 else ""
        said = sizing.sentence(self.recipe, len(self.dataset.train), self.cost.steps, self.cost.run_seconds) + each
        cut = self.timed and self.timed.cut
        return [said, cut] if cut else [said]


def fitted(
    recipe: Recipe,
    data: str,
    *,
    data_dir: Path | None,
    control: RunControl,
    seconds: float | None = None,
    trials: int = 1,
) -> tuple[Recipe, Timed | None]:
    """Resolve the recipe that so many trials share, and say in a line what the data or the time decided.

    `seconds`: what all trials may take, one after the other. Under torchrun nothing is measured. A UserError where no
    training fits.
    """
    if seconds is None and not sizing.has_auto(recipe):
        return resolve.resolve(recipe), None
    if machine.processes() > 1:
        if seconds is not None:
            raise UserError("torchrun: --time is for one process; give --epochs")
        return resolve.resolve(sizing.filled(recipe, glance(data, recipe.data, data_dir=data_dir))), None
    found = rehearse(recipe, data, data_dir=data_dir, control=control, seconds=seconds, trials=trials)
    control.observer.on_data([*found.dataset.lines(), *found.lines(trials)])
    return found.recipe, found.timed


def rehearse(
    recipe: Recipe,
    data: str,
    *,
    data_dir: Path | None,
    control: RunControl | None = None,
    seconds: float | None = None,
    trials: int = 1,
) -> Rehearsal:
    """Resolve a recipe and measure a run's cost, without training or downloading; `seconds` as in `fitted`."""
    control = control or RunControl()
    progress = phase_progress(control)
    if seconds is not None and not is_auto(recipe.train.epochs):
        raise UserError(
            f"--time: chooses the epochs, and train.epochs is {recipe.train.epochs}; drop one of the two, or give "
            "--epochs auto"
        )
    deadline = None if seconds is None else Deadline(seconds, trials, since=control.began)
    looking = progress if deadline is None else deadline.watched(progress)
    seen = glance(data, recipe.data, data_dir=data_dir, progress=looking) if sizing.has_auto(recipe) else None
    first = recipe if seen is None else sizing.filled(recipe, seen)
    if deadline is not None and seen is not None:
        return _InTime(recipe, data, data_dir, progress, seen, first, deadline).rehearsal()
    dataset = open_for(first, data, data_dir=data_dir, progress=progress)
    resolved = resolve.resolve(first)
    return Rehearsal(resolved, dataset, _cost(resolved, dataset))


@dataclass(frozen=True)
class _InTime:
    """Finds the epochs and the image size that the time allows; a UserError, soon, where no training fits.

    A step costs as much on noise as on photos, so it is measured before these are decoded, and decoding may take what
    is left beside the least training.
    """

    recipe: Recipe
    data: str
    data_dir: Path | None
    progress: Progress
    seen: Glance
    first: Recipe
    """The recipe with the rule's numbers."""
    deadline: Deadline
    opened: dict[int, tuple[Dataset, float]] = field(default_factory=dict)
    """By image size in pixels: the data, and the seconds that opening them took."""
    costs: dict[int, Cost] = field(default_factory=dict)

    def rehearsal(self) -> Rehearsal:
        """Open the data at the chosen size, and at a larger one where the time left then allows that."""
        own, compute = self.first.train.image_size, self.first.compute
        native_ones = compute.device in ("auto", "cpu") and compute.kernels in ("auto", *NATIVE_KERNELS)
        if native_ones and (seconds := launch.seconds_to_prepare()):
            self.deadline.demand("compiling the kernels, once,", seconds)
        sizes = sizing.sizes_within(self.recipe, self.seen, own)
        candidates = tuple(size for size in sizes if size <= own)
        while True:
            epochs, size = self._within(candidates)
            if size in self.opened:
                break
            self._open(size)
            candidates = sizes if len(self.opened) == 1 else tuple(self.opened)
        found, wanted = self.costs[size], self.first.train.epochs
        seconds = found.seconds + (epochs - wanted) * found.epoch_seconds
        cost = replace(found, steps=epochs * self.steps, seconds=seconds)
        chosen = {"epochs": epochs, "rule_epochs": wanted, "image_size": size, "rule_image_size": own}
        timed = Timed(seconds=self.deadline.limit, **chosen)
        return Rehearsal(self._sized(epochs, size), self.opened[size][0], cost, timed)

    @property
    def steps(self) -> int:
        """Optimizer steps of an epoch."""
        return math.ceil(self.seen.train / (self.first.train.batch_size * self.first.train.accumulate))

    def _within(self, sizes: tuple[int, ...]) -> tuple[int, int]:
        left, elapsed, trials = self.deadline.left, self.deadline.elapsed, self.deadline.trials
        return sizing.within(left, self.first.train.epochs, self.steps, sizes, self._price, elapsed, trials)

    def _price(self, size: int) -> sizing.Price:
        """Seconds of a run at this image size, with the decoding that is to come."""
        again = 0.0 if size in self.opened else max((seconds for _, seconds in self.opened.values()), default=0.0)
        price = self._training(size)
        return sizing.Price(price.once + again / self.deadline.trials, price.epoch)

    def _training(self, size: int) -> sizing.Price:
        if size not in self.costs:
            resolved = self._sized(self.first.train.epochs, size)
            side = resolve.storage_resolution(resolved)["train_short_side"]
            known = next(iter(self.costs.values()), None)
            besides = None if known is None else known.besides_seconds  # the pictures of another size cost as much
            self.costs[size] = _cost(resolved, stand_in(self.seen, side), self.deadline.patience, besides)
        found = self.costs[size]
        once = found.run_seconds - self.first.train.epochs * found.epoch_seconds
        return sizing.Price(once, found.epoch_seconds + sizing.WRITES)

    def _open(self, size: int) -> None:
        price, epochs = self._training(size), sizing.least_epochs(self.first.train.epochs, self.steps)
        least = Least(sizing.training(epochs, self.steps, size), price.once + epochs * price.epoch)
        recipe = self._sized(epochs, size)
        sides = resolve.storage_resolution(recipe)
        passes = len({sides["short_side"], sides["train_short_side"]})
        watched = self.deadline.watched(self.progress, passes * self.seen.images, least)
        began = time.monotonic()
        dataset = open_for(recipe, self.data, data_dir=self.data_dir, progress=watched)
        self.opened[size] = dataset, time.monotonic() - began

    def _sized(self, epochs: int, size: int) -> Recipe:
        train = self.first.train.model_copy(update={"epochs": epochs, "image_size": size})
        return resolve.resolve(sizing.checked(self.first.model_copy(update={"train": train})))


def _cost(resolved: Recipe, dataset: Dataset, patience: float = math.inf, besides_seconds: float | None = None) -> Cost:
    """Measure a run's cost with random weights, which cost as much; `patience` as in `measure`."""
    random = resolved.model.model_copy(update={"weights": "none"})
    sizes = resolve.image_sizes(resolved)
    test = len(dataset.test) if dataset.test is not None and resolved.train.score_test else 0
    if resolved.tta is not None:
        test += len(resolved.tta.views) * (test + (0 if dataset.val is None else len(dataset.val)))
    with computing(resolved.compute, "a rehearsal"):
        built = build_model(random, num_classes=len(dataset.classes), seed=resolved.seed, image_sizes=sizes)
        setup = prepare(Path(), resolved, resolved.seed, dataset, built)
        cost = measure(setup, test, patience)
        if besides_seconds is None:
            besides_seconds = cost.besides_seconds + _pictures(setup, resolved, dataset)
        return replace(cost, besides_seconds=besides_seconds)


def _pictures(setup: Setup, resolved: Recipe, dataset: Dataset) -> float:
    """Seconds that the report's images take."""
    if not resolved.train.insight:
        return 0.0
    few = {
        name: first_of(part, FEW) for name, part in (("val", dataset.val), ("test", dataset.test)) if part is not None
    }
    scored = {name: setup.predict(part) for name, part in few.items()}
    began = time.monotonic()
    shown = replace(dataset, val=few.get("val"), test=few.get("test"))
    report_images.look(setup, resolved.augment, shown, scored, lambda done, total: None)
    return time.monotonic() - began
