"""What a run would take, and a recipe with the numbers that fit the data and the time."""

import math
import time
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from seedwise import insight, machine, plan, sizing
from seedwise.assembly import prepare
from seedwise.cost import Cost, first_of, measure
from seedwise.data.dataset import Dataset
from seedwise.data.glance import glance
from seedwise.data.open import open_data
from seedwise.engine.evaluate import predict
from seedwise.engine.placement import computing_threads
from seedwise.engine.setup import Setup
from seedwise.errors import UserError
from seedwise.models.build import build_model
from seedwise.recipe import Recipe, is_auto
from seedwise.watch import Watch, stoppable

FEW = 64
"""Images whose answers are looked at for pictures: as many as tell what they cost."""


def fitted(
    recipe: Recipe, data: str, *, data_dir: Path | None, watch: Watch, seconds: float | None = None, trials: int = 1
) -> Recipe:
    """The resolved recipe of so many trials that share it; what the data or the time decided is said in a line.

    `seconds`: what all trials may take, one after the other. Under torchrun nothing is measured.
    """
    if seconds is None and not sizing.has_auto(recipe):
        return plan.resolve(recipe)
    if machine.processes() > 1:
        if seconds is not None:
            raise UserError("torchrun: --time is for one process; give --epochs")
        return plan.resolve(sizing.filled(recipe, glance(data, recipe.data, data_dir=data_dir)))
    resolved, dataset, cost = rehearse(recipe, data, data_dir=data_dir, watch=watch, seconds=seconds, trials=trials)
    each = f", {trials} times" if trials > 1 else ""
    said = sizing.sentence(resolved, len(dataset.train), cost.steps, cost.run_seconds)
    watch.observer.on_data([*dataset.lines(), said + each])
    return resolved


def rehearse(
    recipe: Recipe,
    data: str,
    *,
    data_dir: Path | None,
    watch: Watch | None = None,
    seconds: float | None = None,
    trials: int = 1,
) -> tuple[Recipe, Dataset, Cost]:
    """The resolved recipe, the data, and the measured cost of a run, without training or downloading.

    `seconds`: as of `fitted`.
    """
    began = time.monotonic()
    progress = stoppable(watch or Watch())
    if seconds is not None and not is_auto(recipe.train.epochs):
        raise UserError(
            f"--time: chooses the epochs, and train.epochs is {recipe.train.epochs}; drop one of the two, or give "
            "--epochs auto"
        )
    seen = glance(data, recipe.data, data_dir=data_dir, progress=progress) if sizing.has_auto(recipe) else None
    first = recipe if seen is None else sizing.filled(recipe, seen)
    dataset = open_data(data, recipe.data, data_dir=data_dir, progress=progress, **plan.stored_sides(first))
    resolved = plan.resolve(first)
    if seconds is None or seen is None:
        return resolved, dataset, _cost(resolved, dataset)
    sizes = sizing.sizes_within(recipe, seen, first.train.image_size)
    time_for = _Time(began, time.monotonic() - began, seconds, trials)
    return _within(time_for, first, sizes, dataset)


@dataclass(frozen=True)
class _Time:
    """Seconds: when the rehearsal began, what opening the data took, what all trials may take, and their number."""

    began: float
    opening: float
    limit: float
    trials: int

    def elapsed(self) -> float:
        """Since it began, for one trial: reading the data and measuring."""
        return (time.monotonic() - self.began) / self.trials

    def left(self) -> float:
        """For one trial, with a margin."""
        return sizing.MARGIN * (self.limit / self.trials - self.elapsed()) - sizing.SPENT


def _within(time_for: _Time, first: Recipe, sizes: tuple[int, ...], dataset: Dataset) -> tuple[Recipe, Dataset, Cost]:
    """The recipe with the epochs and the image size that the time allows, as `rehearse` returns it."""
    wanted, own = first.train.epochs, first.train.image_size

    def sized(epochs: int, size: int) -> Recipe:
        train = first.train.model_copy(update={"epochs": epochs, "image_size": size})
        return plan.resolve(sizing.checked(first.model_copy(update={"train": train})))

    @cache
    def cost(size: int) -> Cost:
        return _cost(sized(wanted, size), dataset)

    def price(size: int) -> sizing.Price:
        found, again = cost(size), 0.0 if size == own else time_for.opening  # it is decoded once more
        once = found.run_seconds - wanted * found.epoch_seconds + again
        return sizing.Price(once, found.epoch_seconds + sizing.WRITES)

    epoch_steps = math.ceil(len(dataset.train) / (first.train.batch_size * first.train.accumulate))
    epochs, size = sizing.within(time_for.left, wanted, epoch_steps, sizes, price, time_for.elapsed, time_for.trials)
    found = cost(size)
    seconds = found.seconds + (epochs - wanted) * found.epoch_seconds
    return sized(epochs, size), dataset, replace(found, steps=epochs * epoch_steps, seconds=seconds)


def _cost(resolved: Recipe, dataset: Dataset) -> Cost:
    """Measured with random weights, which cost as much."""
    random = resolved.model.model_copy(update={"weights": "none"})
    sizes = plan.image_sizes(resolved)
    test = len(dataset.test) if dataset.test is not None and resolved.train.score_test else 0
    if resolved.tta is not None:
        test += len(resolved.tta.views) * (test + (0 if dataset.val is None else len(dataset.val)))
    with computing_threads(int(resolved.compute.threads), "a rehearsal"):
        built = build_model(random, num_classes=len(dataset.classes), seed=resolved.seed, image_sizes=sizes)
        setup = prepare(Path(), resolved, resolved.seed, dataset, built)
        cost = measure(setup, test)
        return replace(cost, besides_seconds=cost.besides_seconds + _pictures(setup, resolved, dataset))


def _pictures(setup: Setup, resolved: Recipe, dataset: Dataset) -> float:
    """Seconds that the pictures of the report take."""
    if not resolved.train.insight:
        return 0.0
    few = {
        name: first_of(part, FEW) for name, part in (("val", dataset.val), ("test", dataset.test)) if part is not None
    }
    scored = {
        name: predict(setup.model, part, setup.augment, size=setup.config.image_size, placement=setup.placement)
        for name, part in few.items()
    }
    began = time.monotonic()
    shown = replace(dataset, val=few.get("val"), test=few.get("test"))
    insight.look(setup, resolved.augment, shown, scored, lambda done, total: None)
    return time.monotonic() - began
