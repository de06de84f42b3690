"""The record of a study: arms, seeds, trials and results; without torch and numpy."""

import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError

from seedwise.base.errors import UserError
from seedwise.base.nearest import demand_folder
from seedwise.recipe.schema import Recipe
from seedwise.records.finished import Judged
from seedwise.records.run import STUDY, RecordPart, Seed, Timed, damaged, read_checked, write_checked

BASE = "base"
SCHEMA_VERSION = 1
ARM_NAME = r"^[^./\x00][^/\x00]*$"
Arm = Annotated[str, Field(pattern=ARM_NAME)]
"""An arm names a folder, which must not lead out of the study's."""


def _for_a_shell(command: str) -> str:
    shlex.split(command)  # a ValueError says what is wrong with its quotes
    return command


Command = Annotated[str, AfterValidator(_for_a_shell)]


class Trial(RecordPart):
    """One run of a study."""

    arm: str
    seed: int
    folder: str
    """Relative to the study's folder."""
    status: str
    """The run's own status, or `planned` before it began."""
    hash: str | None = None
    """SHA-256 over all that decides its weights: resolved recipe, data fingerprint, seed and numerics version; null
    before the data was opened."""
    inert: list[str] = []
    """Techniques that were on and had no effect in this run."""
    converged: bool | None = None
    """Whether it was trained long enough; null before it is finished."""


class Primary(RecordPart):
    """The outcome and split that the verdicts are about."""

    outcome: Literal["top1"] = "top1"
    split: Literal["test", "val"] = "test"
    """`val` where the data has no test part."""
    weights: Judged = "raw"
    """Whose outcome it is. `averaged`: of the averaged weights in the arms that have them (optim.ema, optim.swa), for
    these are what such a technique gives; `raw` in sweeps, in studies of one recipe, and in older ones."""


class Look(RecordPart):
    """A time at which all planned trials were done and the verdicts could be read."""

    look: int
    """From 1."""
    seeds: int
    """Number of seeds that every arm had."""
    arms: int
    """Number of arms, with the base."""
    alpha: float
    """Its significance level: 0.05 / 2**look."""
    trials: int | None = None
    """Number of finished trials then; null in older records."""


class Addition(RecordPart):
    """Seeds and arms added to a study after it had begun."""

    after_look: int
    """Number of looks before; 0: none."""
    seeds: list[Seed]
    arms: list[Arm]
    inert: list[str] = []


class StudyRecord(RecordPart):
    """study.json of a study folder. Arms, margin and primary outcome are written before the first trial begins."""

    schema_version: int = SCHEMA_VERSION
    kind: Literal["study"] = "study"
    data: str
    """Where to find the data again: a known name, or an absolute path."""
    data_dir: str | None
    """Absolute folder in which a known name was looked up, if one was given."""
    master_seed: Seed
    seeds: list[Seed]
    arms: dict[Arm, dict[str, Any]]
    """The resolved recipe of each arm; the base comes first."""
    patches: dict[Arm, dict[str, Any]] = {}
    """Patch of each arm but the base: dotted option -> value."""
    margin: float | None = None
    """The least difference that matters, as a fraction; null in a study of one recipe."""
    primary: Primary = Primary()
    numerics_version: int | None = None
    """`seedwise.base.numerics.NUMERICS_VERSION` of its trials."""
    fingerprints: dict[Arm, str] = {}
    """SHA-256 of the data that each arm trains on, once they were opened."""
    timed: Timed | None = None
    """The `--time` given for all its trials; null without it."""
    jobs: int = 1
    """Trials at a time, as last asked for; no result depends on it."""
    commands: list[Command] = []
    """The commands that began and extended it, in order, without what is this machine's own; empty in older records and
    in studies that no command line began."""
    trials: list[Trial] = []
    """Seed by seed, all arms of a seed."""
    looks: list[Look] = []
    additions: list[Addition] = []
    summary: dict[str, dict[str, dict[str, dict[str, Any]]]] = {}
    """Over finished trials: summary[arm][split][score] = {n, mean, sd, ci95, values}, values in order of seeds."""
    comparisons: dict[Arm, dict[str, dict[str, Any]]] = {}
    """comparisons[arm][split]: the arm minus the base, as a `seedwise.stats.Comparison`; see docs/statistics.md. With
    it `holds`, the `Setting` of base and arm, and `advice`, what to do next."""

    def recipe(self, arm: str) -> Recipe:
        """The resolved recipe of an arm."""
        return Recipe.model_validate_json(json.dumps(self.arms[arm]))


def parse_seeds(text: str, master_seed: int) -> tuple[int, ...]:
    """Parse `--seeds`: `5` draws five seeds from the master seed; `3,7,11` (or `3,`) takes those; else a UserError."""
    from seedwise.base.rng import draw_seeds  # imports numpy

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


def trial_hash(recipe: Mapping[str, Any], fingerprint: str, seed: int, numerics_version: int) -> str:
    """SHA-256 over all that decides a trial's weights; the recipe's name doesn't."""
    content_of_recipe = {name: value for name, value in recipe.items() if name != "name"}
    content = json.dumps([content_of_recipe, fingerprint, seed, numerics_version], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def extend(
    study: StudyRecord,
    seeds: Sequence[int],
    arms: Mapping[str, Mapping[str, Any]] | None = None,
    patches: Mapping[str, Mapping[str, Any]] | None = None,
) -> StudyRecord:
    """Append these seeds and arms to a study, and note the addition."""
    new_seeds = [seed for seed in dict.fromkeys(seeds) if seed not in study.seeds]
    new_arms = {arm: dict(recipe) for arm, recipe in (arms or {}).items() if arm not in study.arms}
    if not new_seeds and not new_arms:
        return study
    note = Addition(after_look=len(study.looks), seeds=new_seeds, arms=list(new_arms))
    return study.model_copy(
        update={
            "seeds": [*study.seeds, *new_seeds],
            "arms": study.arms | new_arms,
            "patches": study.patches | {arm: dict((patches or {})[arm]) for arm in new_arms},
            "additions": [*study.additions, note],
        }
    )


def write_study(folder: Path, study: StudyRecord) -> None:
    """Write study.json atomically."""
    write_checked(folder / STUDY, study)


def read_study(folder: Path) -> StudyRecord:
    """Read study.json; a UserError says what is missing or damaged."""
    path = folder / STUDY
    if not path.is_file():
        demand_folder(folder, "a study's")
        raise UserError(f"{folder}: not a study folder (it has no {STUDY})")
    study = read_checked(path, StudyRecord)
    try:
        for arm in study.arms:
            study.recipe(arm)
    except ValidationError as error:
        raise damaged(path, error) from error
    if BASE not in study.arms:
        raise UserError(f"{path}: damaged, it has no arm '{BASE}'; restore it, or delete it")
    if any(trial.arm not in study.arms for trial in study.trials):
        raise UserError(f"{path}: damaged, it has trials of no arm of its; restore it, or delete it")
    return study
