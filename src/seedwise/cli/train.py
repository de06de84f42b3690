"""`seedwise train`."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from seedwise.base import machine
from seedwise.cli.given import given
from seedwise.cli.options import (
    NO_FLAGS,
    Bagging,
    BaggingAugment,
    BaggingModels,
    Data,
    DataDir,
    DryRun,
    Flags,
    Json,
    Out,
    Overrides,
    RecipeName,
    Seed,
    Seeds,
    Time,
    begin_with,
    read_recipe,
    short_forms,
)

if TYPE_CHECKING:
    from seedwise.recipe.schema import Recipe


@short_forms()
def train(
    context: typer.Context,
    data: Data,
    recipe: RecipeName = None,
    flags: Flags = NO_FLAGS,
    time: Time = None,
    seed: Seed = None,
    seeds: Seeds = None,
    data_dir: DataDir = None,
    out: Out = None,
    settings: Overrides = None,
    bagging: Bagging = None,
    bagging_models: BaggingModels = None,
    bagging_augment: BaggingAugment = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> int:
    """Train a recipe on data: one run, one a seed, or an ensemble on bootstrap samples.

    Examples:

        seedwise train digits --seeds 5

        seedwise train cifar100 -r lite --data-dir DIR --seeds 5 -o runs/lite

        seedwise train cifar100 -r lite --bagging 5 -o runs/bagged

        seedwise train ./photos --time 10m

        seedwise train ./photos -m efficientnet_lite0 --epochs 20 --lr 3e-4 -s augment.cutmix.prob=0.5

    The same command again with the same -o completes what is missing; Ctrl-C loses nothing that `seedwise resume` can't
    bring back. Exit code 3, and the last line says it: all is trained and saved, but a technique that was on did
    nothing.
    """
    from seedwise.inference.training import seconds_for

    seconds = seconds_for(time)
    models, augments = _names(bagging_models), _names(bagging_augment)
    asked = _TrainRequest(context, data, seed, seeds, bagging, models, augments, data_dir, out, as_json, seconds)
    chosen = read_recipe(data, recipe, flags, settings)
    begin_with(data, chosen.data, data_dir)
    return asked.show(chosen) if dry_run else asked.train(chosen)


def _names(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


@dataclass(frozen=True)
class _TrainRequest:
    """The arguments of `seedwise train`."""

    context: typer.Context
    data: str
    seed: int | None
    seeds: str | None
    bagging: int | None
    bagging_models: list[str]
    bagging_augment: list[str]
    data_dir: Path | None
    out: Path | None
    as_json: bool
    seconds: float | None
    """Wall seconds for all of it; None: unlimited."""

    def members(self, recipe: "Recipe") -> list["Recipe"]:
        """Recipes of an ensemble's members; empty for another training."""
        from seedwise.inference.training import members_of

        return members_of(recipe, self.seed, self.seeds, self.bagging, self.bagging_models, self.bagging_augment)

    def train(self, recipe: "Recipe") -> int:
        """Train; returns the exit code."""
        from seedwise.cli.ensemble import print_ensemble
        from seedwise.cli.print_run import announce_trial, print_run, print_study
        from seedwise.cli.progress import watching
        from seedwise.inference.training import train as do
        from seedwise.run.folder import default_folder

        folder = self.out or default_folder(self.data, [*self.members(recipe), recipe][0], self.data_dir)
        words: dict[str, Any] = {"seed": self.seed, "seeds": self.seeds, "bagging": self.bagging, "time": self.seconds}
        words |= {"bagging_models": self.bagging_models, "bagging_augment": self.bagging_augment}
        words |= {"out": folder, "data_dir": self.data_dir, "on_trial": announce_trial}
        with watching(folder) as watch:
            done: Any = do(recipe, self.data, watch=watch, command=partial(given, self.context), **words)
        if self.bagging is not None:
            print_ensemble(folder, done.record, self.as_json)
            return 0
        if self.seeds is not None:
            return print_study(folder, done.record, self.as_json)
        return print_run(folder, done.record, self.as_json) if machine.rank() == 0 else 0

    def show(self, recipe: "Recipe") -> int:
        """Print a dry run; returns the exit code."""
        import time

        from seedwise.cli import BEGAN
        from seedwise.cli.print_run import print_nothing_left, print_plan
        from seedwise.cli.settled import finished_seeds, stored_recipe
        from seedwise.engine.control import RunControl
        from seedwise.run.folder import demand_free
        from seedwise.run.rehearsal import rehearse
        from seedwise.run.resolve import demand_same
        from seedwise.study.record import parse_seeds

        members = self.members(recipe)
        seeds = self.seeds if self.bagging is None else f"{self.bagging}"
        master = recipe.seed if self.seed is None else self.seed
        numbers = parse_seeds(seeds, master) if seeds else (master,)
        asked, seconds = [*members, recipe][0], self.seconds
        if self.out is not None and self.bagging is None:
            demand_free(self.out, study=self.seeds is not None)
        if self.out is not None and (stored := stored_recipe(self.out)) is not None:
            demand_same(asked, stored, str(self.out))
            asked, seconds = stored, None  # its numbers were chosen when it began
        done = [seed for seed in numbers if self.out is not None and seed in finished_seeds(self.out)]
        if len(done) == len(numbers):
            print_nothing_left(asked, done, str(self.out), self.as_json)
            return 0
        started, left = time.monotonic() - BEGAN, [seed for seed in numbers if seed not in done]
        watch = RunControl(began=BEGAN)
        found = rehearse(asked, self.data, data_dir=self.data_dir, watch=watch, seconds=seconds, trials=len(left))
        print_plan(found, left, done, started, self.as_json)
        return 0
