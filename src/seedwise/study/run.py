"""Runs what is missing of a study, one seed after the other."""

from collections.abc import Callable, Sequence
from pathlib import Path

from seedwise import machine, plan
from seedwise.config_options import plain
from seedwise.data.find import KNOWN_NAMES, find_source
from seedwise.errors import UserError
from seedwise.files import LOCK, discard, sole_writer
from seedwise.folders import demand_free, demand_same_data
from seedwise.recipe import Recipe
from seedwise.record import RECORD, STUDY, RunRecord, read_record
from seedwise.study.plan import (
    BASE,
    StudyRecord,
    extend,
    read_study,
    refresh,
    trial_folder,
    write_study,
)
from seedwise.training import Watch, run, stoppable

OnTrial = Callable[[str, int, int, int], None]
"""(arm, seed, number from 1, count): a trial is about to begin."""


def train_seeds(
    recipe: Recipe,
    data: str,
    seeds: Sequence[int],
    folder: Path,
    *,
    data_dir: Path | None,
    watch: Watch,
    on_trial: OnTrial,
) -> StudyRecord:
    """Train a recipe with each seed; a folder that holds part of the same study is completed or extended."""
    _demand_one_process()
    demand_free(folder, study=True)
    source, resolved = find_source(data, data_dir, recipe.data), plan.resolve(recipe)
    known_in = str(source.path) if data in KNOWN_NAMES and source.path is not None else None
    study = StudyRecord(
        data=data if data in KNOWN_NAMES else str(source.path),
        data_dir=known_in,
        master_seed=recipe.seed,
        seeds=list(seeds),
        arms={BASE: plain(resolved)},
    )
    with sole_writer(folder):
        if (folder / STUDY).exists():
            before = read_study(folder)
            plan.demand_same(recipe, before.recipe(BASE), str(folder))
            for record in _records(folder, before)[:1]:  # all of them have the same
                known = record.data
                demand_same_data(folder, known.source, known.fingerprint, resolved, data, data_dir, stoppable(watch))
            study = extend(before, seeds).model_copy(update={"data": study.data, "data_dir": study.data_dir})
        try:
            return _complete(folder, study, data, data_dir, watch, on_trial)
        except UserError:
            if not _records(folder, study):  # it never began: a typo leaves no trace
                discard(folder / trial_folder(BASE, 0).parent)
                discard(folder / trial_folder(BASE, 0).parent.parent)
                discard(folder, STUDY, LOCK)
            raise


def resume_study(
    folder: Path, *, data_dir: Path | None, watch: Watch, on_trial: OnTrial, elsewhere: bool = False
) -> StudyRecord:
    """Train what is missing of a study; `elsewhere` as in `seedwise.training.resume`."""
    _demand_one_process()
    with sole_writer(folder):
        study = read_study(folder)
        data_dir = data_dir or (Path(study.data_dir) if study.data_dir else None)
        return _complete(folder, study, study.data, data_dir, watch, on_trial, elsewhere)


def _demand_one_process() -> None:
    if machine.processes() > 1:
        raise UserError("torchrun: trains one run at a time; give --seed and a folder of its own for each seed")


def _records(folder: Path, study: StudyRecord) -> list[RunRecord]:
    """The records of the runs that began."""
    targets = [folder / trial_folder(arm, seed) for arm in study.arms for seed in study.seeds]
    return [read_record(target) for target in targets if (target / RECORD).exists()]


def _complete(
    folder: Path,
    study: StudyRecord,
    data: str,
    data_dir: Path | None,
    watch: Watch,
    on_trial: OnTrial,
    elsewhere: bool = False,
) -> StudyRecord:
    write_study(folder, refresh(folder, study))
    trials = [(arm, seed) for arm in study.arms for seed in study.seeds]
    failures = []
    for number, (arm, seed) in enumerate(trials, 1):
        target = folder / trial_folder(arm, seed)
        on_trial(arm, seed, number, len(trials))
        try:
            run(target, study.recipe(arm), data, seed, data_dir, watch, elsewhere=elsewhere)
        except UserError as error:
            # A run that failed on its own (it diverged) must not cost the others; anything else would fail them too.
            if not (target / RECORD).exists() or read_record(target).status != "failed":
                raise
            failures.append(str(error))
        finally:
            study = refresh(folder, study)
            write_study(folder, study)
    if failures:
        raise UserError(f"{len(failures)} of {len(trials)} runs failed: {failures[0]}")
    return study
