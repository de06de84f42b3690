"""Progress of a study; without pydantic and tensors, so that `seedwise status` starts at once."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

from seedwise.records.checksum import RECORD, STUDY, trusted


class StudyLike(Protocol):
    """The fields of a `seedwise.study.record.StudyRecord`, or of study.json as read, that are shown."""

    seeds: list[int]
    arms: dict[str, dict[str, Any]]
    margin: float | None
    primary: Any
    trials: Any
    looks: Any
    summary: dict[str, dict[str, dict[str, dict[str, Any]]]]
    comparisons: dict[str, dict[str, dict[str, Any]]]


def trial_folder(arm: str, seed: int) -> Path:
    """Path of a trial's run folder within the study's."""
    return Path("runs") / arm / f"seed-{seed}"


def finished(study: StudyLike, arm: str) -> list[int]:
    """Seeds that an arm has finished, in order: those of the summary's values."""
    return [trial.seed for trial in study.trials if trial.arm == arm and trial.status == "finished"]


def complete_seeds(study: StudyLike) -> int:
    """Number of seeds that every arm has finished, leaving out arms that failed with all of theirs."""
    alive = {trial.arm for trial in study.trials if trial.status != "failed"} | {next(iter(study.arms))}
    return len(set.intersection(*(set(finished(study, arm)) for arm in study.arms if arm in alive)))


def finished_trials(study: StudyLike) -> int:
    """Number of finished trials."""
    return sum(trial.status == "finished" for trial in study.trials)


def looked(study: StudyLike) -> bool:
    """Whether a look was taken at all that is finished now; else the comparisons are provisional."""
    if not study.looks:
        return False
    last = study.looks[-1]
    seen = getattr(last, "trials", None) in (None, finished_trials(study))
    return seen and bool((last.seeds, last.arms) == (complete_seeds(study), len(study.arms)))


def study_content(folder: Path) -> dict[str, Any]:
    """Read study.json if its checksum fits; else a UserError says what is wrong with it."""
    content = trusted(folder / STUDY, "study", 1)
    if content is None:
        from seedwise.study.record import read_study

        content = read_study(folder).model_dump(mode="json")
    return content


def run_content(folder: Path) -> dict[str, Any] | None:
    """Read a run's record.json if its checksum fits; None before the run began."""
    path = folder / RECORD
    if not path.exists():
        return None
    content = trusted(path, "run", 1)
    if content is None:
        from seedwise.records.run import read_record

        content = read_record(folder).model_dump(mode="json")
    return content


def averaged_arms(study: StudyLike) -> list[str]:
    """The arms whose outcomes are those of their averaged weights (optim.ema, optim.swa)."""
    if getattr(study.primary, "weights", "raw") == "raw":  # older records don't say
        return []
    return [arm for arm, recipe in study.arms.items() if any(recipe["optim"].get(name) for name in ("ema", "swa"))]


def as_study(content: dict[str, Any]) -> StudyLike:
    """The content of study.json with attributes in place of keys, where a record has them."""
    rows = {name: [SimpleNamespace(**row) for row in content[name]] for name in ("trials", "looks")}
    found: StudyLike = SimpleNamespace(**content | rows | {"primary": SimpleNamespace(**content["primary"])})
    return found
