"""`seedwise status`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seedwise.base.errors import UserError, first_sentence
from seedwise.base.files import is_held
from seedwise.cli.options import Json
from seedwise.records.checksum import LOG, RECORD

if TYPE_CHECKING:
    from seedwise.study.progress import StudyLike

BROKEN_OFF = "broken off"
"""The status of a run whose record says `running` while nobody works on it."""
Runs = dict[str, dict[str, Any]]
"""The content of record.json of each trial that began, by its folder."""


def status(
    folder: Annotated[Path, typer.Argument(metavar="RUN|STUDY", help="The folder of a run, or of a study.")],
    as_json: Json = False,
) -> None:
    """Show how far a study is, what its arms have come to, and how long it will take.

    Nothing is written, and a study that is running isn't disturbed.

    Example: `seedwise status runs/digits-demo-ablation`
    """
    try:
        _show(folder, as_json)
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        _demand_sound(folder)  # a checksum says that a file is whole, not that what is in it makes sense
        what = f"{type(error).__name__}: {first_sentence(error)}"
        raise UserError(
            f"{folder}: its record makes no sense ({what}); restore it, or delete it and train anew"
        ) from error


def _demand_sound(folder: Path) -> None:
    """Raise a UserError for a damaged record."""
    from seedwise.records.run import RECORD, read_record
    from seedwise.study.progress import trial_folder
    from seedwise.study.record import read_study

    for trial in read_study(folder).trials:
        run = folder / trial_folder(trial.arm, trial.seed)
        if (run / RECORD).exists():
            read_record(run)


def _show(folder: Path, as_json: bool) -> None:
    from seedwise.base.durations import clock
    from seedwise.cli.print_study import print_arms, print_trials
    from seedwise.study.progress import as_study, finished_trials, run_content, study_content, trial_folder

    if (folder / RECORD).exists() and (run := run_content(folder)) is not None:
        _print_run(folder, run, as_json)
        return
    content, runs = study_content(folder), Runs()
    for trial in content["trials"]:
        run = run_content(folder / trial_folder(trial["arm"], trial["seed"]))
        trial["status"] = run["status"] if run else "planned"
        if run:
            runs[trial["folder"]] = run | {"status": _state(folder / trial["folder"], run)}
    study = as_study(content)
    progress = {trial.folder: _words(study, trial.arm, runs.get(trial.folder)) for trial in study.trials}
    left = _seconds_left(study, runs, content["jobs"])
    if as_json:
        print(json.dumps(content | {"progress": progress, "seconds_left": left}, indent=2))
        return
    print_trials(study, progress)
    finished = finished_trials(study)
    time = "" if not left else f", about {clock(left)} left at {content['jobs']} at a time"
    print(f"{finished} of {len(content['trials'])} trials finished{time}\n")
    if any(run["status"] == BROKEN_OFF for run in runs.values()):
        print(f"{BROKEN_OFF}: killed, or the machine went down; go on with: seedwise resume {folder}\n")
    print_arms(study)


def _state(folder: Path, run: dict[str, Any]) -> str:
    """A run's status; `running` only while a process works on it."""
    return BROKEN_OFF if run["status"] == "running" and not is_held(folder) else str(run["status"])


def _print_run(folder: Path, run: dict[str, Any], as_json: bool) -> None:
    state, epochs = _state(folder, run), len(run["epochs"])
    if as_json:
        print(json.dumps({"status": state, "epochs": epochs}, indent=2))
        return
    why = {
        BROKEN_OFF: " (it was killed, or the machine went down)",
        "failed": f" (why, says {folder / LOG})",
    }.get(state, "")
    then = "" if state in ("running", "finished") else f"; go on with: seedwise resume {folder}"
    print(f"{state}{why}, {epochs} epochs done{then}")


def _words(study: "StudyLike", arm: str, run: dict[str, Any] | None) -> str:
    if run is None:
        return "planned"
    if run["status"] == "finished" and run["final"] is not None:
        averaged = getattr(study.primary, "weights", "raw") == "averaged" and run["ema"] is not None
        scores = run["ema" if averaged else "final"][study.primary.split]
        return "finished" if scores is None else f"{scores['top1']:.4f}"
    return f"{run['status']} {len(run['epochs'])}/{study.arms[arm]['train']['epochs']}"


def _seconds_left(study: "StudyLike", runs: Runs, jobs: int) -> float | None:
    """Seconds left, from finished trials' times, an arm's own where it has any; None before the first."""
    times: dict[str, list[float]] = {}
    for trial in study.trials:
        if trial.status == "finished":
            times.setdefault(trial.arm, []).append(runs[trial.folder]["seconds"]["total"])
    every = [seconds for of in times.values() for seconds in of]
    if not every:
        return None
    left = 0.0
    for trial in study.trials:
        own = times.get(trial.arm, every)
        if trial.status != "finished":
            run = runs.get(trial.folder)
            done = len(run["epochs"]) / study.arms[trial.arm]["train"]["epochs"] if run else 0.0
            left += (1 - done) * sum(own) / len(own)
    return left / jobs
