"""The verbs that train as functions, for the command line and as `seedwise.train`, …; each writes its report.

Nothing is shown while they run; `control` and `on_trial` look on.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, overload

from seedwise.base import machine
from seedwise.base.durations import seconds_of
from seedwise.base.errors import UserError
from seedwise.base.files import discard
from seedwise.recipe import library
from seedwise.recipe.schema import Recipe
from seedwise.records.run import BAGGING, STUDY, demand_final
from seedwise.reports import leave_report
from seedwise.study.jobs import jobs_of, read_jobs
from seedwise.study.outcome import Study
from seedwise.study.record import BASE, parse_seeds, read_study
from seedwise.study.request import StudyRequest, SweepRequest, ablation, seeds_said, swept

if TYPE_CHECKING:  # these import torch: a mistake in the words is said before
    from seedwise.engine.control import RunControl
    from seedwise.ensembles.model import Ensemble
    from seedwise.run.run import Run
    from seedwise.study.execute import TrialOptions
    from seedwise.study.ray_runner import Cluster
    from seedwise.study.sweep import Swept

OnTrial = Callable[[str, int, int, int], None]
"""Called with (arm, seed, number from 1, count) before a trial begins."""
Seeds = int | str | Sequence[int]
"""A count of seeds, drawn from the recipe's, or the seeds themselves; or either as `--seeds` takes it."""


def _nothing(arm: str, seed: int, number: int, count: int) -> None:
    """An `on_trial` that ignores its calls."""


class _Words(TypedDict, total=False):
    """The arguments of `train`, whatever it returns."""

    settings: Sequence[str]
    seed: int | None
    bagging_models: Sequence[str]
    bagging_augment: Sequence[str]
    time: str | float | None
    out: str | Path | None
    data_dir: str | Path | None
    control: "RunControl | None"
    on_trial: OnTrial
    command: Callable[[Path], str] | None


@overload
def train(
    recipe: Recipe | str | Path | None,
    data: str | Path,
    *,
    seeds: None = None,
    bagging: None = None,
    **words: Unpack[_Words],
) -> "Run": ...
@overload
def train(recipe: Recipe | str | Path | None, data: str | Path, *, seeds: Seeds, **words: Unpack[_Words]) -> Study: ...
@overload
def train(
    recipe: Recipe | str | Path | None, data: str | Path, *, bagging: int, **words: Unpack[_Words]
) -> "Ensemble": ...
def train(
    recipe: Recipe | str | Path | None,
    data: str | Path,
    *,
    settings: Sequence[str] = (),
    seed: int | None = None,
    seeds: Seeds | None = None,
    bagging: int | None = None,
    bagging_models: Sequence[str] = (),
    bagging_augment: Sequence[str] = (),
    time: str | float | None = None,
    out: str | Path | None = None,
    data_dir: str | Path | None = None,
    control: "RunControl | None" = None,
    on_trial: OnTrial = _nothing,
    command: Callable[[Path], str] | None = None,
) -> "Run | Study | Ensemble":
    """Train a recipe on data: one run, with `seeds` a study of one a seed, with `bagging` an ensemble of so many.

    `recipe`: a Recipe, the name or the path of one, or None for the data's own. `settings`: as `-s`,
    `["optim.lr=1e-3"]`. `time`: what all of it may take, seconds or `"10min"`. `out`: the folder, by default
    `runs/<data>-<recipe>-<time>`; one that holds part of the same is completed. `command`: what a study keeps as the
    command for its folder. `control` and `on_trial` look on. Raises UserError for what the caller can mend.
    """
    chosen, where = _recipe(recipe, str(data), settings), _path(data_dir)
    seconds = seconds_for(time)
    members = members_of(chosen, seed, seeds, bagging, bagging_models, bagging_augment)
    numbers = None if seeds is None else parse_seeds(seeds_said(seeds) or "", chosen.seed)
    from seedwise.run.folder import default_folder

    control = _looking(control)
    folder = Path(out) if out is not None else default_folder(str(data), [*members, chosen][0], where)
    with _begun(folder):
        if members:
            from seedwise.ensembles.bagging import train_bagging
            from seedwise.ensembles.model import Ensemble

            how: dict[str, Any] = {"data_dir": where, "control": control, "on_member": on_trial, "seconds": seconds}
            drawn = members[0].seed if seed is None else seed
            train_bagging(members, str(data), bagging or len(members), folder, seed=drawn, **how)
            leave_report(folder)
            return Ensemble(folder)
        if numbers is not None:
            from seedwise.study.execute import train_seeds

            how = {"data_dir": where, "control": control, "on_trial": on_trial, "seconds": seconds}
            said = None if command is None else command(folder)
            study = train_seeds(chosen, str(data), numbers, folder, command=said, **how)
            leave_report(folder)
            return study
        from seedwise.run.train import train as train_run

        return _shown(train_run(chosen, data, seed=seed, out=folder, data_dir=where, control=control, seconds=seconds))


def seconds_for(time: str | float | None) -> float | None:
    """Seconds of a `--time`; a UserError for none at all."""
    seconds = seconds_of("--time", time)
    if seconds == 0:
        raise UserError(f"--time {time}: give more than nothing, such as 10min")
    return seconds


def members_of(
    recipe: Recipe,
    seed: int | None,
    seeds: Seeds | None,
    bagging: int | None,
    models: Sequence[str],
    augments: Sequence[str],
) -> list[Recipe]:
    """Recipes of an ensemble's members, empty for another training; a UserError where options contradict."""
    if seeds is not None and seed is not None:
        raise UserError("--seed and --seeds: give one of them; --seeds takes a list such as 3,7,11 too")
    if bagging is None:
        if models or augments:
            raise UserError(f"--bagging-{'models' if models else 'augment'}: give the number of members: --bagging 5")
        return []
    if seeds is not None:
        raise UserError("--bagging and --seeds: give one of them; --seed is the seed that the members' are drawn from")
    for option, values in (("models", models), ("augment", augments)):
        if len(values) > bagging:
            raise UserError(
                f"--bagging-{option}: names {len(values)} for {bagging} members, so that some are never used; "
                f"give --bagging {len(values)} or more"
            )
    from seedwise.ensembles.bagging import members_recipes

    return members_recipes(recipe, models, [library.read(other) for other in augments])


def ablate(
    data: str | Path,
    recipe: str | None = None,
    *,
    toggle: str | Sequence[str] | None = None,
    settings: Sequence[str] = (),
    seeds: Seeds | None = None,
    budget: str | float | None = None,
    jobs: int | str = 1,
    margin: float | None = None,
    out: str | Path | None = None,
    data_dir: str | Path | None = None,
    cluster: "Cluster | None" = None,
    elsewhere: bool = False,
    control: "RunControl | None" = None,
    on_trial: OnTrial = _nothing,
) -> Study:
    """Compare a recipe with itself, one thing changed: the base and every arm with the same seeds, and a verdict.

    `data`: as for `train`, or the path of a study file, which names base and arms. `toggle`: techniques, a list or
    `"cutmix,rotation"`. `seeds`: 6 if not told. `budget`: no seed is begun that would not fit, seconds or `"3h"`.
    `jobs`: trials at a time, or `"auto"`: one for each GPU. `margin`: the least difference that matters, in points.
    `cluster`: Ray's, instead of here. The same call again completes the study in its folder. Raises UserError; also,
    behind all others, if trials failed.
    """
    asked = ablation(str(data), recipe, toggle, seeds_said(seeds), margin, settings)
    from seedwise.study.execute import TrialOptions

    seconds, number = seconds_of("--budget", budget), jobs_of(jobs, asked.arms.base.compute.device)
    options = TrialOptions(
        _looking(control),
        on_trial,
        _path(data_dir),
        number,
        budget_seconds=seconds,
        elsewhere=elsewhere,
        cluster=cluster,
    )
    return run_ablation(asked, Path(out or asked.folder), options).demand_complete()


def run_ablation(asked: StudyRequest, folder: Path, options: "TrialOptions") -> Study:
    """Run an ablation as far as possible; the study says which trials failed."""
    from seedwise.study.execute import ablate as compare_arms

    with _begun(folder):
        study = compare_arms(asked.arms, asked.data, asked.seeds, folder, margin=asked.margin, options=options)
        leave_report(folder)
    return study


def sweep(
    data: str | Path,
    recipe: str | None = None,
    *,
    settings: Sequence[str] = (),
    seeds: Seeds | None = None,
    jobs: int | str = 1,
    out: str | Path | None = None,
    data_dir: str | Path | None = None,
    control: "RunControl | None" = None,
    on_trial: OnTrial = _nothing,
) -> "Swept | Study":
    """Try a grid of settings with the same seeds, rank them on validation, and score the best one on test.

    `settings`: values to try, `["optim.lr=1e-4,4e-4"]`; one value alone holds for all. `seeds`: 3 if not told. The rest
    is as in `ablate`. A sweep that isn't complete has no winner: it is the study as far as it is.
    """
    asked = swept(str(data), recipe, seeds_said(seeds), settings)
    from seedwise.study.execute import TrialOptions

    number = jobs_of(jobs, asked.grid.arms.base.compute.device)
    options = TrialOptions(_looking(control), on_trial, _path(data_dir), number)
    return run_sweep(asked, str(data), Path(out or asked.folder), options)


def run_sweep(asked: SweepRequest, data: str, folder: Path, options: "TrialOptions") -> "Swept | Study":
    """Run a sweep; an incomplete one has a report, a complete one a ranking, which no report shows yet."""
    from seedwise.study.sweep import sweep as rank_settings

    with _begun(folder):
        found = rank_settings(asked.grid, data, asked.seeds, folder, options)
        if isinstance(found, Study):
            leave_report(folder)
    return found


def resume(
    folder: str | Path,
    *,
    elsewhere: bool = False,
    jobs: int | str = 1,
    budget: str | float | None = None,
    data_dir: str | Path | None = None,
    control: "RunControl | None" = None,
    on_trial: OnTrial = _nothing,
) -> "Run | Study | Ensemble":
    """Complete a run, a study or a bagging that was stopped; a finished one is left as it is.

    A study says itself which of its trials failed: `demand_complete` raises what did. The words are as in `ablate`.
    """
    place, where, looking = Path(folder), _path(data_dir), _looking(control)
    read_jobs(jobs)
    seconds = budget_of(place, budget)
    if (place / STUDY).exists():
        from seedwise.study.execute import TrialOptions, resume_study

        number = jobs_of(jobs, read_study(place).recipe(BASE).compute.device)
        options = TrialOptions(looking, on_trial, where, number, budget_seconds=seconds, elsewhere=elsewhere)
        study = resume_study(place, options)
        leave_report(place)
        return study
    if (place / BAGGING).exists():
        from seedwise.ensembles.bagging import resume_bagging
        from seedwise.ensembles.model import Ensemble

        resume_bagging(place, data_dir=where, control=looking, on_member=on_trial, elsewhere=elsewhere)
        leave_report(place)
        return Ensemble(place)
    from seedwise.run.train import resume as resume_run

    return _shown(resume_run(place, control=looking, data_dir=where, elsewhere=elsewhere))


def budget_of(folder: Path, budget: str | float | None) -> float | None:
    """The seconds that a resumed study may take; a UserError for a budget of anything else."""
    seconds = seconds_of("--budget", budget)
    if seconds is not None and not (folder / STUDY).exists():
        raise UserError(f"--budget {budget}: is for studies, and {folder} is none; drop it")
    return seconds


def _recipe(recipe: Recipe | str | Path | None, data: str, settings: Sequence[str]) -> Recipe:
    if isinstance(recipe, Recipe):
        return library.changed(recipe, settings)
    return library.read(library.default_recipe(data) if recipe is None else str(recipe), settings)


def _shown(run: "Run") -> "Run":
    """Write a run's report and return the run; a UserError if its record is incomplete."""
    demand_final(run.folder, run.record)
    if machine.rank() == 0:
        leave_report(run.folder)
    return run


def _looking(control: "RunControl | None") -> "RunControl":
    from seedwise.engine.control import RunControl

    return control or RunControl()


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)


@contextlib.contextmanager
def _begun(folder: Path) -> Iterator[None]:
    """Remove a folder that was created for a run that could not begin."""
    try:
        yield
    finally:
        discard(folder)
