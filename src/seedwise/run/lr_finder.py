"""Learning-rate finder (range test, Smith 2015, arXiv 1506.01186): trains at rising rates and observes the loss.

The rate of step t of n is low * (high / low)^(t / (n - 1)), and the steps are a run's own: its batches, augmentation,
dropout, optimizer and loss. The loss of each step is smoothed by an exponential average without bias, and the test
stops when that exceeds DIVERGED times its lowest value, or is no longer finite.

The suggestion is a tenth of the rate at which the smoothed loss is lowest, as in fastai: at that rate itself it is
about to rise. Where the loss falls most steeply is told beside it: between the two most nets train well.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from seedwise.base import machine
from seedwise.base.errors import Interrupted, UserError
from seedwise.data.glance import glance
from seedwise.engine.control import RunControl, announce, phase_progress
from seedwise.engine.loop import epoch_steps, my_batches, optimizer_step, warm_up
from seedwise.engine.placement import computing
from seedwise.engine.setup import Setup
from seedwise.models.build import build_model
from seedwise.recipe.schema import Recipe
from seedwise.run import resolve, sizing
from seedwise.run.data import open_for
from seedwise.run.train import prepare

SMOOTHING = 0.9
"""Decay of the exponential average of losses: it looks back over some ten steps."""
DIVERGED = 4.0
FEWEST = 10
"""Least number of steps before the loss may be found to diverge, and for a suggestion."""


@dataclass(frozen=True)
class LearningRateCurve:
    """Learning rates tried, up to where the loss diverged, with raw and smoothed losses and the suggested rate."""

    rates: list[float]
    losses: list[float]
    """Training loss of each step, in nats."""
    smoothed: list[float]
    lowest: float
    """Rate with the lowest smoothed loss."""
    steepest: float
    """Rate at which the smoothed loss falls most, before the lowest."""
    suggestion: float
    """A tenth of `lowest`."""
    diverged: bool
    """Whether the loss diverged before the last rate."""

    @property
    def doubt(self) -> str | None:
        """Why the suggestion is a guess: the lowest loss lies at an end of the rates; None otherwise."""
        if self.lowest == self.rates[0]:
            return "the loss never fell below its first value; lower --min, or give more --steps"
        if self.lowest == self.rates[-1] and not self.diverged:
            return "the loss was still falling at the last rate; raise --max"
        return None


def find_learning_rate(
    recipe: Recipe,
    data: str,
    *,
    seed: int | None = None,
    data_dir: Path | None = None,
    steps: int = 100,
    low: float = 1e-7,
    high: float = 1.0,
    control: RunControl | None = None,
) -> LearningRateCurve:
    """Try `steps` rates between `low` and `high` on the recipe's model and data; writes nothing.

    Images have the final size; progressive learning and a freeze schedule are left out, an average of weights too. The
    same seed gives the same curve. A UserError when the bounds are no range, or the loss is not finite from the start.
    """
    if not 0 < low < high < math.inf:
        raise UserError(f"--min and --max: must be rates above 0, the first below the second, are {low:g} and {high:g}")
    if steps < FEWEST:
        raise UserError(f"--steps: must be at least {FEWEST}, is {steps}")
    control = control or RunControl()
    if sizing.has_auto(recipe):
        seen = glance(data, recipe.data, data_dir=data_dir, progress=phase_progress(control))
        recipe = sizing.filled(recipe, seen)
    resolved = resolve.resolve(_never_ending(recipe, steps))
    seed = resolved.seed if seed is None else seed
    dataset = announce(control, open_for(resolved, data, data_dir=data_dir, progress=phase_progress(control)))
    with (
        computing(resolved.compute, "a range test", phase_progress(control)),
        torch.random.fork_rng(devices=[]),
    ):
        built = build_model(
            resolved.model,
            num_classes=len(dataset.classes),
            seed=seed,
            classes=dataset.classes,
            image_sizes=resolve.image_sizes(resolved),
        )
        setup = prepare(Path(), resolved, seed, dataset, built)
        if setup.warm_start is not None:
            warm_up(setup, setup.warm_start, control.observer, control.should_stop)
        rates = np.geomspace(low, high, steps).tolist()
        return conclude(rates, _losses(setup, rates, control))


def conclude(rates: Sequence[float], losses: Sequence[float]) -> LearningRateCurve:
    """Analyze the losses of the first rates, those until the loss diverged."""
    smoothed = smooth(losses)
    tried = list(rates[: len(losses)])
    best = int(np.argmin(smoothed))
    falls = np.gradient(smoothed[: best + 1], np.log(tried[: best + 1])) if best > 0 else np.zeros(1)
    lowest = tried[best]
    return LearningRateCurve(
        rates=tried,
        losses=list(losses),
        smoothed=smoothed,
        lowest=lowest,
        steepest=tried[int(np.argmin(falls))],
        suggestion=lowest / 10,
        diverged=len(losses) < len(rates),
    )


def smooth(losses: Sequence[float]) -> list[float]:
    """Exponential average of the losses so far, after each one, without bias (divided by the sum of weights)."""
    average, smoothed = 0.0, []
    for step, loss in enumerate(losses, 1):
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        smoothed.append(average / (1 - SMOOTHING**step))
    return smoothed


def _never_ending(recipe: Recipe, steps: int) -> Recipe:
    """The recipe with so many epochs that nothing ends or changes within a test."""
    train = recipe.train.model_copy(update={"epochs": recipe.train.epochs + steps})
    optim = recipe.optim.model_copy(update={"ema": None, "swa": None})
    model = recipe.model.model_copy(update={"freeze_schedule": ()})
    return recipe.model_copy(update={"train": train, "optim": optim, "model": model, "progressive": "none"})


def _losses(setup: Setup, rates: Sequence[float], control: RunControl) -> list[float]:
    """Train a step at each rate; returns the losses until they diverge."""
    losses: list[float] = []
    setup.model.train()
    for step, rate in enumerate(rates):
        epoch, within = divmod(step, setup.steps_per_epoch)
        positions = epoch_steps(setup, epoch)[within]
        sums = optimizer_step(setup, my_batches(setup, positions, epoch), step, rate, total=len(positions))
        loss = float(sums[0]) / len(positions)
        if not math.isfinite(loss):
            break
        losses.append(loss)
        control.observer.on_phase("rates tried", step + 1, len(rates))
        smoothed = smooth(losses)
        if step >= FEWEST and smoothed[-1] > DIVERGED * min(smoothed):
            break
        if control.should_stop() and machine.processes() == 1:
            raise Interrupted(f"stopped at rate {step + 1} of {len(rates)}")
    if len(losses) < FEWEST:
        raise UserError(f"the loss is not finite after {len(losses)} steps; lower --min, or set optim.clip_norm")
    return losses
