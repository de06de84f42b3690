"""`seedwise train`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

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
    from seedwise.base.durations import seconds_of
    from seedwise.base.errors import UserError

    if seconds_of("--time", time) == 0:
        raise UserError(f"--time {time}: give more than nothing, such as 10min")
    asked = _TrainRequest(
        context, data, seed, seeds, bagging, bagging_models, bagging_augment, data_dir, out, as_json, time
    )
    chosen = read_recipe(data, recipe, flags, settings)
    begin_with(data, chosen.data, data_dir)
    return asked.show(chosen) if dry_run else asked.train(chosen)


@dataclass(frozen=True)
class _TrainRequest:
    """What to train on, how often, and where to."""

    context: typer.Context
    data: str
    seed: int | None
    seeds: str | None
    bagging: int | None
    bagging_models: str | None
    bagging_augment: str | None
    data_dir: Path | None
    out: Path | None
    as_json: bool
    time: str | None
    """What all of it may take, as it was given; None: as long as it takes."""

    @property
    def seconds(self) -> float | None:
        """The same in seconds."""
        from seedwise.base.durations import seconds_of

        return seconds_of("--time", self.time)

    def train(self, recipe: "Recipe") -> int:
        """Do it; the exit code."""
        members = self._members(recipe)
        if members:
            return self._train_bagging(members)
        return self._train_one(recipe) if self.seeds is None else self._train_study(recipe)

    def show(self, recipe: "Recipe") -> int:
        """Print what would be done."""
        import time

        from seedwise.cli import BEGAN
        from seedwise.cli.print_run import print_nothing_left, print_plan
        from seedwise.cli.settled import finished_seeds, stored_recipe
        from seedwise.engine.control import RunControl
        from seedwise.run.folder import demand_free
        from seedwise.run.rehearsal import rehearse
        from seedwise.run.resolve import demand_same
        from seedwise.study.record import parse_seeds

        members = self._members(recipe)
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

    def _members(self, recipe: "Recipe") -> list["Recipe"]:
        """The recipes of a bagging's members, none of another training; a UserError where options contradict."""
        from seedwise.base.errors import UserError

        if self.seeds is not None and self.seed is not None:
            raise UserError("--seed and --seeds: give one of them; --seeds takes a list such as 3,7,11 too")
        if self.bagging is None:
            if self.bagging_models or self.bagging_augment:
                part = "models" if self.bagging_models else "augment"
                raise UserError(f"--bagging-{part}: give the number of members: --bagging 5")
            return []
        if self.seeds is not None:
            raise UserError(
                "--bagging and --seeds: give one of them; --seed is the seed that the members' are drawn from"
            )
        from seedwise.ensembles.bagging import members_recipes
        from seedwise.recipe import library

        given = (self.bagging_models, self.bagging_augment)
        names, others = ([part.strip() for part in (text or "").split(",") if part.strip()] for text in given)
        for option, values in (("models", names), ("augment", others)):
            if len(values) > self.bagging:
                raise UserError(
                    f"--bagging-{option}: names {len(values)} for {self.bagging} members, so that some are never used; "
                    f"give --bagging {len(values)} or more"
                )
        return members_recipes(recipe, names, [library.read(other) for other in others])

    def _folder(self, recipe: "Recipe") -> Path:
        from seedwise.run.folder import default_folder

        return self.out or default_folder(self.data, recipe, self.data_dir)

    def _train_one(self, recipe: "Recipe") -> int:
        from seedwise.cli.print_run import print_run
        from seedwise.cli.progress import watching
        from seedwise.run.train import train as train_run

        folder = self._folder(recipe)
        with watching(folder) as watch:
            run = train_run(
                recipe,
                self.data,
                seed=self.seed,
                out=folder,
                data_dir=self.data_dir,
                watch=watch,
                time=self.time,
            )
        return print_run(run.folder, run.record, self.as_json) if machine.rank() == 0 else 0

    def _train_study(self, recipe: "Recipe") -> int:
        from seedwise.cli.print_run import announce_trial, print_study
        from seedwise.cli.progress import watching
        from seedwise.study.execute import train_seeds
        from seedwise.study.record import parse_seeds

        numbers, folder = parse_seeds(self.seeds or "", recipe.seed), self._folder(recipe)
        with watching(folder) as watch:
            study = train_seeds(
                recipe,
                self.data,
                numbers,
                folder,
                data_dir=self.data_dir,
                watch=watch,
                on_trial=announce_trial,
                command=given(self.context, folder),
                seconds=self.seconds,
            )
        return print_study(folder, study, self.as_json)

    def _train_bagging(self, members: list["Recipe"]) -> int:
        from seedwise.cli.ensemble import print_ensemble
        from seedwise.cli.print_run import announce_trial
        from seedwise.cli.progress import watching
        from seedwise.ensembles.bagging import train_bagging

        folder, seed = self._folder(members[0]), members[0].seed if self.seed is None else self.seed
        with watching(folder) as watch:
            record = train_bagging(
                members,
                self.data,
                self.bagging or len(members),
                folder,
                seed=seed,
                data_dir=self.data_dir,
                watch=watch,
                on_member=announce_trial,
                seconds=self.seconds,
            )
        print_ensemble(folder, record, self.as_json)
        return 0
