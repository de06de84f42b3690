"""How far a study is; neither pydantic nor tensors here, so that `seedwise status` starts at once."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

from seedwise.records.checksum import RECORD, STUDY, trusted


class StudyLike(Protocol):
    """A `seedwise.study.record.StudyRecord`, or study.json just as it is read: what of it is shown."""

    seeds: list[int]
    arms: dict[str, dict[str, Any]]
    margin: float | None
    primary: Any
    trials: Any
    looks: Any
    summary: dict[str, dict[str, dict[str, dict[str, Any]]]]
    comparisons: dict[str, dict[str, dict[str, Any]]]


def trial_folder(arm: str, seed: int) -> Path:
    """Where a trial's run folder lies within the study's."""
    return Path("runs") / arm / f"seed-{seed}"


def finished(study: StudyLike, arm: str) -> list[int]:
    """The seeds that an arm has finished, in their order: those of the summary's values."""
    return [trial.seed for trial in study.trials if trial.arm == arm and trial.status == "finished"]


def complete_seeds(study: StudyLike) -> int:
    """How many seeds every arm has finished; an arm that failed with all of its seeds keeps no other from a verdict."""
    alive = {trial.arm for trial in study.trials if trial.status != "failed"} | {next(iter(study.arms))}
    return len(set.intersection(*(set(finished(study, arm)) for arm in study.arms if arm in alive)))


def finished_trials(study: StudyLike) -> int:
    """How many trials are finished."""
    return sum(trial.status == "finished" for trial in study.trials)


def looked(study: StudyLike) -> bool:
    """Whether a look was taken at what is finished now, and at no less; else the comparisons are provisional."""
    if not study.looks:
        return False
    last = study.looks[-1]
    seen = getattr(last, "trials", None) in (None, finished_trials(study))
    return seen and bool((last.seeds, last.arms) == (complete_seeds(study), len(study.arms)))


def study_content(folder: Path) -> dict[str, Any]:
    """study.json as it is where its checksum vouches for it; else a UserError says what is wrong with it."""
    content = trusted(folder / STUDY, "study", 1)
    if content is None:
        from seedwise.study.record import read_study

        content = read_study(folder).model_dump(mode="json")
    return content


def run_content(folder: Path) -> dict[str, Any] | None:
    """record.json of a run, likewise; None before it began."""
    path = folder / RECORD
    if not path.exists():
        return None
    content = trusted(path, "run", 1)
    if content is None:
        from seedwise.records.run import read_record

        content = read_record(folder).model_dump(mode="json")
    return content


def as_study(content: dict[str, Any]) -> StudyLike:
    """The content of study.json with names in place of keys, where a record has them."""
    rows = {name: [SimpleNamespace(**row) for row in content[name]] for name in ("trials", "looks")}
    found: StudyLike = SimpleNamespace(**content | rows | {"primary": SimpleNamespace(**content["primary"])})
    return found
