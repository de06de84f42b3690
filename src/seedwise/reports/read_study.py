"""Reads and checks a study folder: its record, and those of its finished runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from seedwise.base.errors import UserError
from seedwise.config.options import plain
from seedwise.records.finished import judged
from seedwise.records.run import RECORD, STUDY, RunRecord, Scores, damaged, read_record
from seedwise.reports.read import read_held
from seedwise.stats import Verdict
from seedwise.study.progress import trial_folder
from seedwise.study.record import BASE, StudyRecord, read_study

Interval = tuple[float, float]


class StudyPart(BaseModel):
    """Base of the parts of study.json that its record keeps as plain JSON; ignores keys that a report doesn't show."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


class ScoreSummary(StudyPart):
    """Summary of an arm's scores over seeds, as fractions; `ci95`: t-interval of the mean."""

    n: int = Field(ge=1)
    mean: float
    sd: float | None
    ci95: Interval | None
    values: list[float]


class StoredSetting(StudyPart):
    """A stored `seedwise.study.setting.Setting` of base or arm."""

    model: str
    image_size: int | None
    images: int
    epochs: int | None
    steps: int | None
    converged: Literal["yes", "no", "unknown"]
    reason: str
    why: str


class Holds(StudyPart):
    """The settings that a verdict holds for."""

    base: StoredSetting
    arm: StoredSetting


class Advice(StudyPart):
    """Stored advice of `seedwise.study.advice`; `seconds` are wall seconds."""

    kind: Literal["seeds", "epochs"]
    count: int
    seconds: float | None
    command: str | None
    techniques: list[str] = []


class StoredComparison(StudyPart):
    """A stored `seedwise.stats.Comparison`, arm minus base, in fractions."""

    n: int
    mean: float
    sd: float | None = None
    ci95: Interval | None = None
    ci95_simultaneous: Interval | None = None
    ci95_images: Interval | None = None
    p_t: float | None = None
    p_holm: float | None = None
    p_signflip: float | None = None
    seeds_to_decide: int | None = None
    alpha: float = Field(default=0.05, gt=0, lt=1)
    """Significance level of the study's look; differences by class use it too."""
    verdict: Verdict
    holds: Holds | None = None
    advice: list[Advice] = []


@dataclass(frozen=True)
class ArmFiles:
    """One arm of a study."""

    name: str
    runs: dict[int, RunRecord]
    """Records of the finished runs, by seed."""
    summary: Mapping[str, ScoreSummary]
    """Top-1 over seeds, by split."""
    compared: StoredComparison | None
    """The comparison with the base, on the study's split."""

    def outcomes(self, split: str) -> dict[int, float]:
        """Top-1 by seed, in [0, 1]."""
        scores = {seed: _scores(run, split) for seed, run in self.runs.items()}
        return {seed: score.top1 for seed, score in scores.items() if score is not None}


@dataclass(frozen=True)
class StudyFiles:
    """The files of a study folder, read and checked."""

    folder: Path
    record: StudyRecord
    base: str
    arms: dict[str, ArmFiles]
    split: str
    """The split that is compared: test, or val where no run has a test."""
    statuses: dict[tuple[str, int], str]
    """Status of each trial, by arm and seed."""

    @property
    def runs(self) -> list[RunRecord]:
        """The finished runs, arm by arm."""
        return [run for arm in self.arms.values() for run in arm.runs.values()]

    def right(self, arm: str) -> tuple[dict[int, NDArray[np.bool_]], NDArray[np.int64], NDArray[np.int64]] | None:
        """Hits bool[m] by seed, ids int64[m] and classes int64[m] of the images; None if runs disagree on them."""
        found, ids, targets = dict[int, NDArray[np.bool_]](), None, None
        for seed, run in self.arms[arm].runs.items():
            kept = self.split + judged(run, self.record.primary.weights)[1]
            held = read_held(self.folder / trial_folder(arm, seed), run, (kept,)).get(kept)
            if held is None or (ids is not None and not np.array_equal(ids, held.ids)):
                return None
            found[seed], ids, targets = held.correct(), held.ids, held.targets
        return None if ids is None or targets is None else (found, ids, targets)


def read_study_files(folder: Path) -> StudyFiles:
    """Read a study folder; a UserError names a damaged file."""
    study = read_study(folder)
    if not study.arms:
        raise UserError(f"{folder / STUDY}: damaged, it has no arms")
    runs: dict[str, dict[int, RunRecord]] = {}
    statuses: dict[tuple[str, int], str] = {}
    for arm in study.arms:
        runs[arm] = {}
        for seed in study.seeds:
            place = folder / trial_folder(arm, seed)
            record = read_record(place) if (place / RECORD).exists() else None
            statuses[arm, seed] = record.status if record else "planned"
            if record is not None and record.status == "finished" and record.final is not None:
                _demand_sound(place / RECORD, record)
                runs[arm][seed] = judged(record, study.primary.weights)[0]
    every = [run for of_arm in runs.values() for run in of_arm.values()]
    primary = plain(getattr(study, "primary", None) or {}).get("split", "test")
    split = next((name for name in (primary, "test", "val") if every and all(_scores(r, name) for r in every)), "train")
    base = BASE if BASE in study.arms else next(iter(study.arms))
    comparisons = plain(study.comparisons)
    try:
        arms = {
            name: ArmFiles(name, runs[name], _summaries(study, name), _compared(comparisons, name, split))
            for name in study.arms
        }
    except ValidationError as error:
        raise damaged(folder / STUDY, error) from error
    return StudyFiles(folder, study, base, arms, split, statuses)


def _demand_sound(path: Path, record: RunRecord) -> None:
    groups, data = record.data.superclass_of, record.data
    fits = groups is None or (
        len(groups) == len(data.classes) and all(0 <= group < len(data.superclasses or ()) for group in groups)
    )
    if not data.classes or not fits:
        raise UserError(f"{path}: damaged: classes and superclasses don't fit; restore it")


def _summaries(study: StudyRecord, arm: str) -> dict[str, ScoreSummary]:
    return {
        split: ScoreSummary.model_validate(scores["top1"])
        for split, scores in study.summary.get(arm, {}).items()
        if "top1" in scores
    }


def _compared(comparisons: Any, arm: str, split: str) -> StoredComparison | None:
    of_arm = comparisons.get(arm) if isinstance(comparisons, dict) else None
    found = of_arm.get(split) if isinstance(of_arm, dict) else None
    return None if found is None else StoredComparison.model_validate(found)


def _scores(run: RunRecord, split: str) -> Scores | None:
    scores: Scores | None = getattr(run.final, split, None) if run.final is not None else None
    return scores
