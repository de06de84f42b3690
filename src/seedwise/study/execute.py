"""Starts, extends and completes studies."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from seedwise.base import machine
from seedwise.base.errors import UserError
from seedwise.base.files import LOCK, Unwritable, discard, sole_writer
from seedwise.base.numerics import NUMERICS_VERSION
from seedwise.config.options import plain
from seedwise.config.section import diff
from seedwise.data.dataset import Subset
from seedwise.data.find import KNOWN_NAMES, find_source
from seedwise.engine import checkpoint
from seedwise.engine.control import RunControl, announce, phase_progress
from seedwise.recipe.schema import Recipe
from seedwise.records.run import RECORD, STUDY, RunRecord, Timed, read_record
from seedwise.run import resolve
from seedwise.run.data import open_for
from seedwise.run.folder import ELSEWHERE, demand_free, demand_same_data
from seedwise.run.rehearsal import fitted
from seedwise.study.arms import MARGIN, Arms
from seedwise.study.jobs import gpus_of
from seedwise.study.local_runner import InProcess, Processes
from seedwise.study.outcome import Study
from seedwise.study.progress import trial_folder
from seedwise.study.ray_runner import DEFAULT_CPUS, Cluster, OnRay
from seedwise.study.record import BASE, Primary, StudyRecord, extend, read_study, write_study
from seedwise.study.results import Results
from seedwise.study.schedule import Budget, Runner, run_all
from seedwise.study.trial import Task

WRITING = 0.05
"""Largest share of the time spent on writing study.json."""

OnTrial = Callable[[str, int, int, int], None]
"""Called with (arm, seed, number from 1, count) before a trial begins."""


@dataclass(frozen=True)
class TrialOptions:
    """How trials are run and observed; no result depends on it."""

    control: RunControl
    on_trial: OnTrial
    data_dir: Path | None = None
    jobs: int = 1
    """Trials at a time."""
    budget_seconds: float | None = None
    """Wall seconds: no seed is begun that would not fit; None: all are."""
    elsewhere: bool = False
    """As in `seedwise.run.train.resume`."""
    cluster: Cluster | None = None
    """A Ray cluster to run trials on; None: this machine."""
    command: str | None = None
    """The command line, for the study's record."""

    time_seconds: float | None = None
    """Wall seconds for all trials of a new study, one after the other: their epochs are chosen to fit."""

    def fitted(self, recipe: Recipe, data: str, trials: int) -> tuple[Recipe, Timed | None]:
        """Resolve the base of a new study of so many trials, as `rehearsal.fitted`."""
        return fitted(
            self.divided(recipe),
            data,
            data_dir=self.data_dir,
            control=self.control,
            seconds=self.time_seconds,
            trials=trials,
        )

    def divided(self, recipe: Recipe) -> Recipe:
        """The recipe with a trial's share of threads, where it leaves their number open."""
        if self.cluster is None or recipe.compute.threads != "auto":
            return divided(recipe, self.jobs)
        threads = self.cluster.cpus or DEFAULT_CPUS
        return recipe.model_copy(update={"compute": recipe.compute.model_copy(update={"threads": threads})})


def train_seeds(
    recipe: Recipe,
    data: str,
    seeds: Sequence[int],
    folder: Path,
    *,
    data_dir: Path | None,
    control: RunControl,
    on_trial: OnTrial,
    command: str | None = None,
    seconds: float | None = None,
) -> Study:
    """Train a recipe with each seed; a folder that holds part of the same study is completed or extended.

    `seconds`: what all seeds may take; epochs, and an image size that is `auto`, are chosen to fit. A UserError for a
    folder of something else.
    """
    options = TrialOptions(control, on_trial, data_dir, command=command, time_seconds=seconds)
    return _study(Arms(recipe, {}, {}), data, seeds, folder, None, options).demand_complete()


def ablate(
    arms: Arms, data: str, seeds: Sequence[int], folder: Path, *, margin: float | None, options: TrialOptions
) -> Study:
    """Train the base and every arm with each seed, and compare them; a folder that holds the study is completed.

    Seeds and arms may be added to a study, and the record shows it; its arms, margin and primary outcome stay as they
    were before its first trial, and another margin or arm of the same name is refused. margin: as a fraction; None: the
    study's own, or `MARGIN` for a new one.
    """
    return _study(arms, data, seeds, folder, margin, options)


def resume_study(folder: Path, options: TrialOptions) -> Study:
    """Train the missing trials of a study."""
    _demand_one_process()
    try:
        with sole_writer(folder):
            study = read_study(folder)
            found_in = Path(study.data_dir) if study.data_dir else None
            return _complete(folder, study, replace(options, data_dir=options.data_dir or found_in))
    except Unwritable:
        study = read_study(folder)
        if any(trial.status != "finished" for trial in study.trials):
            raise
        return Study(folder, study)  # nothing is left to write


def divided(recipe: Recipe, jobs: int) -> Recipe:
    """Divide this machine's threads among so many trials, where the recipe leaves their number open."""
    if recipe.compute.threads != "auto" or jobs == 1:
        return recipe
    share = max(1, machine.threads() // jobs)
    return recipe.model_copy(update={"compute": recipe.compute.model_copy(update={"threads": share})})


def _demand_one_process() -> None:
    if machine.processes() > 1:
        raise UserError("torchrun: trains one run at a time; give --seed and a folder of its own for each seed")


def _study(
    arms: Arms, data: str, seeds: Sequence[int], folder: Path, margin: float | None, options: TrialOptions
) -> Study:
    _demand_one_process()
    demand_free(folder, study=True)
    source = find_source(data, options.data_dir, arms.base.data)
    place = {
        "data": data if data in KNOWN_NAMES else str(source.path),
        "data_dir": str(source.path) if data in KNOWN_NAMES and source.path is not None else None,
    }
    trials = len(seeds) * (len(arms.recipes) + 1)
    base, timed = (None, None) if (folder / STUDY).exists() else options.fitted(arms.base, data, trials)
    with sole_writer(folder):
        if base is None:
            study = _extended(arms, data, seeds, folder, margin, options).model_copy(update=place)
        else:
            study = StudyRecord(
                **place,
                master_seed=arms.base.seed,
                seeds=list(seeds),
                arms={BASE: plain(base)}
                | {arm: plain(resolve.adopt(each, base)) for arm, each in arms.recipes.items()},
                patches={arm: dict(patch) for arm, patch in arms.patches.items()},
                margin=(MARGIN if margin is None else margin) if arms.recipes else None,
                commands=[] if options.command is None else [options.command],
                timed=timed,
            )
        try:
            return _complete(folder, study, options, data)
        except UserError:
            if not _records(folder, study):  # it never began: a typo leaves no trace
                for arm in study.arms:
                    discard(folder / trial_folder(arm, 0).parent)
                discard(folder / trial_folder(BASE, 0).parent.parent)
                discard(folder, STUDY, LOCK)
            raise


def _extended(
    arms: Arms, data: str, seeds: Sequence[int], folder: Path, margin: float | None, options: TrialOptions
) -> StudyRecord:
    """The study in a folder with the arms and seeds asked for; a UserError where it can't have them."""
    before = read_study(folder)
    _demand_same(folder, before, arms, margin)
    records = _records(folder, before)
    for record in records[:1]:  # all of them have the same
        known, progress, recipe = record.data, phase_progress(options.control), before.recipe(BASE)
        finished = all(each.status == "finished" for each in records)
        where = (folder, known.source, known.fingerprint)
        demand_same_data(*where, recipe, data, options.data_dir, progress, finished=finished)
    added = {arm: plain(resolve.adopt(recipe, before.recipe(BASE))) for arm, recipe in arms.recipes.items()}
    study = extend(before, seeds, added, arms.patches)
    if options.command is None or (study.additions == before.additions and before.commands):
        return study
    return study.model_copy(update={"commands": [*before.commands, options.command]})


def planned(
    arms: Arms, data: str, seeds: Sequence[int], folder: Path, margin: float | None, options: TrialOptions
) -> StudyRecord | None:
    """The study that `ablate` would complete in this folder, with its trials' present state; None for a new one."""
    demand_free(folder, study=True)
    if not (folder / STUDY).exists():
        return None
    return Results(folder).refresh(_extended(arms, data, seeds, folder, margin, options))


def _demand_same(folder: Path, before: StudyRecord, arms: Arms, margin: float | None) -> None:
    """Raise a UserError where the request differs from what the study fixed before its first trial."""
    base = before.recipe(BASE)
    resolve.demand_same(arms.base, base, str(folder))
    if arms.recipes and before.margin is None:
        raise UserError(f"{folder}: began without arms and a margin, which come before the first trial; {ELSEWHERE}")
    if margin is not None and margin != before.margin:
        has = "none" if before.margin is None else f"{100 * before.margin:g} points"
        raise UserError(f"{folder}: began with margin {has}, not {100 * margin:g}; keep it, or {ELSEWHERE}")
    for arm in arms.recipes.keys() & before.arms.keys():
        asked = resolve.adopt(arms.recipes[arm], base)
        if differences := diff(before.recipe(arm), asked.model_copy(update={"name": base.name})):
            raise UserError(f"{folder}: its arm {arm} is another one: {differences[0]}; rename the arm, or {ELSEWHERE}")


def _records(folder: Path, study: StudyRecord) -> list[RunRecord]:
    """Records of the runs that began."""
    targets = [folder / trial_folder(arm, seed) for arm in study.arms for seed in study.seeds]
    return [read_record(target) for target in targets if (target / RECORD).exists()]


def _complete(folder: Path, study: StudyRecord, options: TrialOptions, data: str | None = None) -> Study:
    """Run the missing trials; writes study.json before the first trial and after every one, or, where that takes long
    because there are thousands, as often as leaves it `WRITING` of the time."""
    data = study.data if data is None else data
    results, budget = Results(folder), Budget(options.budget_seconds)
    study = results.refresh(study.model_copy(update={"jobs": options.jobs}))
    if any(trial.status != "finished" for trial in study.trials) or not (folder / STUDY).exists():
        study = results.refresh(_opened(folder, study, data, options))
    write_study(folder, study)
    budget.measured |= results.seconds()
    tasks = _tasks(folder, study, data, options)
    numbers = {(trial.arm, trial.seed): number for number, trial in enumerate(study.trials, 1)}

    def on_start(task: Task) -> None:
        options.on_trial(task.arm, task.seed, numbers[task.arm, task.seed], len(numbers))

    due = 0.0

    def write(task: Task | None = None) -> None:
        nonlocal study, due
        if task is None or (began := time.monotonic()) >= due:
            study = results.refresh(study)
            write_study(folder, study)
            due = 0.0 if task is None else began + (time.monotonic() - began) / WRITING

    begun = {trial.seed for trial in study.trials if trial.status != "planned"}
    try:
        runner = _runner(folder, tasks, study, options)
        report = run_all(tasks, runner, budget, open_seeds=begun, on_start=on_start, on_end=write)
    finally:
        write()
    study = results.look(study)
    write_study(folder, study)
    return Study(folder, study, tuple(report.failures), report.left)


def _tasks(folder: Path, study: StudyRecord, data: str, options: TrialOptions) -> dict[int, list[Task]]:
    """Unfinished trials by seed."""
    recipes = {arm: study.recipe(arm) for arm in study.arms}
    tasks: dict[int, list[Task]] = {}
    for trial in study.trials:
        path, recipe = folder / trial_folder(trial.arm, trial.seed), recipes[trial.arm]
        if trial.status == "finished":
            checkpoint.clear(path)  # a kill right after the record was written leaves it
        else:
            task = Task(trial.arm, trial.seed, path, recipe, data, options.data_dir, options.elsewhere, study.timed)
            tasks.setdefault(trial.seed, []).append(task)
    return tasks


def _runner(folder: Path, tasks: Mapping[int, Sequence[Task]], study: StudyRecord, options: TrialOptions) -> Runner:
    total = sum(map(len, tasks.values()))
    if options.cluster is not None and total:
        return OnRay(options.control, options.cluster, study, folder, total)
    slots = min(options.jobs, total)
    if slots <= 1:
        return InProcess(options.control)
    compute = study.recipe(BASE).compute
    return Processes(options.control, slots, int(compute.threads), total, gpus=gpus_of(compute.device))


def _opened(folder: Path, study: StudyRecord, data: str, options: TrialOptions) -> StudyRecord:
    """Open the data as each arm does, so that they are decoded once before trials start; records their fingerprints."""
    version = study.numerics_version
    if version not in (None, NUMERICS_VERSION) and not options.elsewhere:
        raise UserError(
            f"{folder}: its trials are of numerics version {version}, this seedwise computes version "
            f"{NUMERICS_VERSION}, so new ones would not be their pairs; go on there, or {ELSEWHERE}"
        )
    opened: dict[str, Any] = {}
    by_arm, fingerprints = {}, {}
    for arm in study.arms:
        recipe = study.recipe(arm)
        key = recipe.data.model_dump_json() + str(resolve.storage_resolution(recipe))
        if key not in opened:
            opened[key] = open_for(recipe, data, data_dir=options.data_dir, progress=phase_progress(options.control))
        by_arm[arm] = opened[key]
        fingerprints[arm] = opened[key].fingerprint
        if study.fingerprints.get(arm, fingerprints[arm]) != fingerprints[arm]:
            raise UserError(f"{folder}: began with other data than {data} holds now; {ELSEWHERE}")
    fixed = bool(study.fingerprints)
    unread = not study.recipe(BASE).train.score_test
    without_test = unread or any(each.test is None for each in opened.values())
    primary = study.primary if fixed else _primary(study, unread=unread, without_test=without_test)
    scored = {arm: getattr(each, primary.split) for arm, each in by_arm.items()}
    for arm, images in scored.items():
        if not _same_images(images, scored[BASE]):
            raise UserError(
                f"{arm}: is scored on other {primary.split} images than the base, so that they can't be compared; "
                f"leave data.{primary.split} and data.split_seed as the base has them"
            )
    announce(options.control, by_arm[BASE])
    update = {"fingerprints": fingerprints, "numerics_version": NUMERICS_VERSION, "primary": primary}
    return study.model_copy(update=update)


def _primary(study: StudyRecord, *, unread: bool, without_test: bool) -> Primary:
    compared = len(study.arms) > 1 and not unread  # a sweep ranks what it trains, and compares nothing
    return Primary(split="val" if without_test else "test", weights="averaged" if compared else "raw")


def _same_images(one: Subset | None, other: Subset | None) -> bool:
    if one is None or other is None:
        return one is other
    return np.array_equal(one.ids, other.ids) and np.array_equal(one.targets, other.targets)
