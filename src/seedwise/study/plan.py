"""What a study is: arms, seeds, and the record that keeps both; no torch here."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from seedwise.errors import UserError
from seedwise.recipe import Recipe
from seedwise.record import (
    RECORD,
    STUDY,
    Final,
    Part,
    Seed,
    damaged,
    demand_final,
    read_record,
    read_sealed,
    write_sealed,
)
from seedwise.rng import draw_seeds
from seedwise.stats import summarize

BASE = "base"
SCORES = ("top1", "top5", "loss")
SCHEMA_VERSION = 1
Arm = Annotated[str, Field(pattern=r"^[^./\x00][^/\x00]*$")]
"""An arm names a folder, which must not lead out of the study's."""


class Trial(Part):
    """One run of a study."""

    arm: str
    seed: int
    folder: str
    """Relative to the study's folder."""
    status: str
    """The run's own status, or `planned` before it began."""


class StudyRecord(Part):
    """study.json of a study folder."""

    schema_version: int = SCHEMA_VERSION
    kind: Literal["study"] = "study"
    data: str
    """What finds the data again: a known name, or an absolute path."""
    data_dir: str | None
    """Absolute folder in which a known name was looked up, if one was given."""
    master_seed: Seed
    seeds: list[Seed]
    arms: dict[Arm, dict[str, Any]]
    """The resolved recipe of each arm."""
    trials: list[Trial] = []
    summary: dict[str, dict[str, dict[str, dict[str, Any]]]] = {}
    """Over the finished trials: summary[arm][split][score] = {n, mean, sd, ci95, values}, values in order of seeds."""

    def recipe(self, arm: str) -> Recipe:
        """The resolved recipe of an arm."""
        return Recipe.model_validate_json(json.dumps(self.arms[arm]))


def parse_seeds(text: str, master_seed: int) -> tuple[int, ...]:
    """`5` draws five seeds from the master seed; `3,7,11` (or `3,`) takes those."""
    try:
        numbers = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise UserError(f"--seeds {text}: give a count such as 5, or seeds such as 3,7,11") from None
    if "," in text:
        if not numbers or min(numbers) < 0 or max(numbers) >= 2**63 or len(set(numbers)) != len(numbers):
            raise UserError(f"--seeds {text}: seeds must be different whole numbers from 0 to 2**63 - 1")
        return tuple(numbers)
    if not numbers or not 1 <= numbers[0] <= 10_000:
        raise UserError(f"--seeds {text}: the count must be from 1 to 10000")
    return draw_seeds(master_seed, numbers[0])


def trial_folder(arm: str, seed: int) -> Path:
    """Where a trial's run folder lies within the study's."""
    return Path("runs") / arm / f"seed-{seed}"


def extend(study: StudyRecord, seeds: Sequence[int]) -> StudyRecord:
    """The study with these seeds added behind those that it has."""
    return study.model_copy(update={"seeds": list(dict.fromkeys([*study.seeds, *seeds]))})


def refresh(folder: Path, study: StudyRecord) -> StudyRecord:
    """The study with trials and summary read anew from its run folders."""
    trials, summary = [], {}
    for arm in study.arms:
        finished = []
        for seed in study.seeds:
            path = trial_folder(arm, seed)
            record = read_record(folder / path) if (folder / path / RECORD).exists() else None
            status = record.status if record else "planned"
            trials.append(Trial(arm=arm, seed=seed, folder=path.as_posix(), status=status))
            if record is not None and record.status == "finished":  # a run may fail after it was scored
                finished.append(demand_final(folder / path, record))
        if finished:
            summary[arm] = _summarize(finished)
    return study.model_copy(update={"trials": trials, "summary": summary})


def _summarize(finals: Sequence[Final]) -> dict[str, dict[str, dict[str, Any]]]:
    splits: dict[str, dict[str, dict[str, Any]]] = {}
    for split in ("train", "val", "test"):
        scores = [getattr(final, split) for final in finals]
        if all(score is not None for score in scores):
            splits[split] = {name: _with_values([getattr(s, name) for s in scores]) for name in SCORES}
    return splits


def _with_values(values: list[float]) -> dict[str, Any]:
    summary = summarize(values)
    return {
        "n": summary.n,
        "mean": summary.mean,
        "sd": summary.sd,
        "ci95": None if summary.ci95 is None else list(summary.ci95),
        "values": values,
    }


def write_study(folder: Path, study: StudyRecord) -> None:
    """Write study.json atomically."""
    write_sealed(folder / STUDY, study)


def read_study(folder: Path) -> StudyRecord:
    """Read study.json; a UserError says what is missing or damaged."""
    path = folder / STUDY
    if not path.is_file():
        raise UserError(f"{folder}: not a study folder (it has no {STUDY})")
    study = read_sealed(path, StudyRecord)
    try:
        for arm in study.arms:
            study.recipe(arm)
    except ValidationError as error:
        raise damaged(path, error) from error
    return study
