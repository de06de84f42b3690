"""Results of a study's runs: trials, summaries and comparisons, each finished run read once. No torch."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from seedwise.base.errors import UserError
from seedwise.config.section import diff, load
from seedwise.recipe.schema import Recipe
from seedwise.records.finished import judged
from seedwise.records.predictions import read_predictions
from seedwise.records.run import RECIPE, RECORD, Final, RunRecord, check_files, demand_final, read_record
from seedwise.stats import SHARE, compare_arms, spent, summarize
from seedwise.study.advice import advise, caveat, impatient, too_short
from seedwise.study.progress import complete_seeds, finished, finished_trials, looked, trial_folder
from seedwise.study.record import BASE, Look, StudyRecord, Trial, trial_hash
from seedwise.study.setting import Setting, holds, setting, together

SCORES = ("top1", "top5", "loss")
Split = Literal["val", "test"]
COMPARED: tuple[Split, ...] = ("test", "val")


@dataclass(frozen=True)
class CorrectImages:
    """Which images of a split a run has right."""

    images: str
    """A key that is equal for runs scored on the same images in the same order."""
    right: NDArray[np.bool_]
    """bool[m], in that order."""


@dataclass(frozen=True)
class Scored:
    """A finished run's scores, wall seconds and hits."""

    final: Final
    seconds: float
    inert: Sequence[str]
    """Techniques that were on and had no effect."""
    converged: bool | None
    """Whether it was trained long enough; None in records of older versions."""
    correct: Mapping[str, CorrectImages]
    """By split; empty where not needed."""
    setting: Setting
    averaged: bool = False
    """Whether its scores are those of averaged weights, which no training image was shown to."""


@dataclass
class Results:
    """Reads a study's runs; each finished one once, since it doesn't change."""

    folder: Path
    scored: dict[tuple[str, int], Scored] = field(default_factory=dict)
    _recipes: set[tuple[str, str]] = field(default_factory=set)
    """(arm, checksum of a run's recipe) that were found to be the same recipe."""
    _impatient: dict[str, dict[str, bool]] = field(default_factory=dict)
    """By arm, what `impatient` found: its recipe doesn't change."""

    def refresh(self, study: StudyRecord) -> StudyRecord:
        """Update a study's trials, summary and comparisons from its run folders."""
        trials = []
        # A finished trial keeps its hash: other numerics, taken with --elsewhere, are those of later trials.
        hashes = {(trial.arm, trial.seed): trial.hash for trial in study.trials if trial.status == "finished"}
        for seed in study.seeds:
            for arm in study.arms:
                status = self._status(study, arm, seed)
                known = self.scored.get((arm, seed))
                path = trial_folder(arm, seed).as_posix()
                inert = [] if known is None else list(known.inert)
                converged = None if known is None else known.converged
                digest = (hashes.get((arm, seed)) if known is not None else None) or _hash(study, arm, seed)
                found = {"status": status, "hash": digest, "inert": inert, "converged": converged}
                trials.append(Trial(arm=arm, seed=seed, folder=path, **found))
        summary = {}
        for arm in study.arms:
            runs = [self.scored[arm, seed] for seed in study.seeds if (arm, seed) in self.scored]
            if runs:
                summary[arm] = _summarize(runs)
        study = study.model_copy(update={"trials": trials, "summary": summary})
        return study.model_copy(update={"comparisons": self._comparisons(study)})

    def look(self, study: StudyRecord) -> StudyRecord:
        """Add a look to the study, if its arms can be compared over more than at the last one."""
        n = complete_seeds(study)
        if len(study.arms) < 2 or n < 2 or looked(study):
            return study
        number = len(study.looks) + 1
        trials = finished_trials(study)
        taken = Look(look=number, seeds=n, arms=len(study.arms), alpha=spent(number), trials=trials)
        study = study.model_copy(update={"looks": [*study.looks, taken]})
        return study.model_copy(update={"comparisons": self._comparisons(study)})

    def seconds(self) -> dict[str, list[float]]:
        """Wall seconds of the finished runs, by arm."""
        found: dict[str, list[float]] = {}
        for (arm, _), run in self.scored.items():
            found.setdefault(arm, []).append(run.seconds)
        return found

    def _status(self, study: StudyRecord, arm: str, seed: int) -> str:
        if (arm, seed) in self.scored:
            return "finished"
        path = self.folder / trial_folder(arm, seed)
        if not (path / RECORD).exists():
            return "planned"
        record = read_record(path)
        if record.status == "finished":
            self._demand_same_trial(path, record, study, arm, seed)
            record, ending = judged(record, study.primary.weights)
            correct = _correct_images(path, record, ending) if len(study.arms) > 1 else {}
            final, seconds = demand_final(path, record), record.seconds["total"]
            converged = None if record.convergence is None else record.convergence.reached
            self.scored[arm, seed] = Scored(
                final, seconds, record.inert, converged, correct, setting(record), bool(ending)
            )
        return record.status

    def _demand_same_trial(self, path: Path, record: RunRecord, study: StudyRecord, arm: str, seed: int) -> None:
        """Refuse a folder copied to the place of another trial: its verdict would be another's."""
        known, digest = study.fingerprints.get(arm), record.files.get(RECIPE, "")
        differs = None
        if record.seed != seed or known not in (None, record.data.fingerprint):
            differs = "its seed or data differ"
        elif (path / RECIPE).is_file() and (arm, digest) not in self._recipes:
            check_files(path, record, RECIPE)
            recipe = study.recipe(arm)
            own = load(Recipe, path / RECIPE).model_copy(update={"name": recipe.name})
            differs = next(iter(diff(recipe, own)), None)
            self._recipes.add((arm, digest))
        if differs is not None:
            raise UserError(f"{path}: is not this study's trial ({differs}); move it away, then resume")

    def _comparisons(self, study: StudyRecord) -> dict[str, dict[str, dict[str, Any]]]:
        found: dict[str, dict[str, dict[str, Any]]] = {}
        if study.margin is None:
            return found
        look = len(study.looks) + (0 if looked(study) else 1)
        for split in COMPARED:
            runs: dict[str, dict[int, Scored]] = {arm: {} for arm in study.arms}
            for arm in study.arms:
                for seed in finished(study, arm):
                    if getattr(self.scored[arm, seed].final, split) is not None:
                        runs[arm][seed] = self.scored[arm, seed]
            correct = _comparable(runs, split)
            tops = {
                arm: {seed: getattr(run.final, split).top1 for seed, run in of.items() if seed in correct[arm]}
                for arm, of in runs.items()
            }
            if not tops[BASE]:
                continue
            for arm, each in compare_arms(
                tops, BASE, margin=study.margin, look=look, correct=correct, bounds=SHARE
            ).items():
                settings = [[run.setting for run in runs[side].values()] for side in (BASE, arm)]
                found.setdefault(arm, {})[split] = self._in_place(study, arm, each.to_json(), settings)
        return found

    def _in_place(
        self, study: StudyRecord, arm: str, found: dict[str, Any], settings: Sequence[Sequence[Setting]]
    ) -> dict[str, Any]:
        """Add to a comparison where it holds, techniques that the schedule may be too short for, and advice."""
        if arm not in self._impatient:
            self._impatient[arm] = impatient(study.recipe(BASE), study.recipe(arm))
        base = together(settings[0])
        names = too_short(self._impatient[arm], found["verdict"], base)
        times = self.seconds()
        means = [sum(of) / len(of) for of in times.values()]
        each_seed = sum(means) / len(means) * len(study.arms) if means else None
        return found | {
            "sentence": found["sentence"] + caveat(names, base),
            "holds": holds(*settings),
            "advice": advise(study, found, names, base, each_seed),
        }


def _comparable(runs: Mapping[str, Mapping[int, Scored]], split: str) -> dict[str, dict[int, NDArray[np.bool_]]]:
    """bool[m] hits by arm and seed, of runs scored on the base's images."""
    known = {
        arm: {seed: run.correct[split] for seed, run in of.items() if split in run.correct} for arm, of in runs.items()
    }
    images = next((correct.images for correct in known[BASE].values()), None)
    return {arm: {seed: h.right for seed, h in of.items() if h.images == images} for arm, of in known.items()}


def _correct_images(path: Path, record: RunRecord, ending: str) -> dict[str, CorrectImages]:
    stored = read_predictions(path, record, *(f"{split}{ending}" for split in COMPARED))
    return {
        split.removesuffix(ending): CorrectImages(
            hashlib.sha256(it.ids.tobytes() + it.targets.tobytes()).hexdigest(), it.correct()
        )
        for split, it in stored.items()
    }


def _hash(study: StudyRecord, arm: str, seed: int) -> str | None:
    if arm not in study.fingerprints or study.numerics_version is None:
        return None
    return trial_hash(study.arms[arm], study.fingerprints[arm], seed, study.numerics_version)


def _summarize(runs: Sequence[Scored]) -> dict[str, dict[str, dict[str, Any]]]:
    splits: dict[str, dict[str, dict[str, Any]]] = {}
    for split in ("train", "val", "test"):
        if split == "train" and any(run.averaged for run in runs):
            continue
        scores = [getattr(run.final, split) for run in runs]
        if all(score is not None for score in scores):
            splits[split] = {name: _with_values(name, [getattr(s, name) for s in scores]) for name in SCORES}
    return splits


def _with_values(name: str, values: list[float]) -> dict[str, Any]:
    summary = summarize(values, (0.0, math.inf) if name == "loss" else SHARE)
    return {
        "n": summary.n,
        "mean": summary.mean,
        "sd": summary.sd,
        "ci95": None if summary.ci95 is None else list(summary.ci95),
        "values": values,
    }
