"""Runs what is missing of a study, one seed after the other."""

from collections.abc import Callable, Sequence
from pathlib import Path

from seedwise import plan
from seedwise.config_options import plain
from seedwise.data.find import KNOWN_NAMES
from seedwise.errors import UserError
from seedwise.files import sole_writer
from seedwise.recipe import Recipe
from seedwise.record import RECORD, read_record
from seedwise.study.plan import (
    BASE,
    STUDY,
    StudyRecord,
    extend,
    read_study,
    refresh,
    trial_folder,
    write_study,
)
from seedwise.training import Watch, run

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
    if (folder / RECORD).exists():
        raise UserError(f"{folder}: holds a single run, not a study; choose another folder with -o")
    with sole_writer(folder):
        if (folder / STUDY).exists():
            study = read_study(folder)
            plan.demand_same(recipe, study.recipe(BASE), str(folder))
            study = extend(study, seeds)
        else:
            study = StudyRecord(
                data=data if data in KNOWN_NAMES else str(Path(data).expanduser().absolute()),
                data_dir=None if data_dir is None else str(data_dir.expanduser().absolute()),
                master_seed=recipe.seed,
                seeds=list(seeds),
                arms={BASE: plain(plan.resolve(recipe))},
            )
        return _complete(folder, study, data, data_dir, watch, on_trial)


def resume_study(
    folder: Path, *, data_dir: Path | None, watch: Watch, on_trial: OnTrial, elsewhere: bool = False
) -> StudyRecord:
    """Train what is missing of a study; `elsewhere` as in `seedwise.training.resume`."""
    with sole_writer(folder):
        study = read_study(folder)
        data_dir = data_dir or (Path(study.data_dir) if study.data_dir else None)
        return _complete(folder, study, study.data, data_dir, watch, on_trial, elsewhere)


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
        study = refresh(folder, study)
        write_study(folder, study)
    if failures:
        raise UserError(f"{len(failures)} of {len(trials)} runs failed: {failures[0]}")
    return study
