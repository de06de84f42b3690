"""`seedwise status`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seedwise.cli.options import Json

if TYPE_CHECKING:
    from seedwise.record import RunRecord
    from seedwise.study.plan import StudyRecord


def status(
    folder: Annotated[Path, typer.Argument(metavar="STUDY", help="A study folder.")],
    as_json: Json = False,
) -> None:
    """Show how far a study is, what its arms have come to, and how long it will take.

    Nothing is written, and a study that is running isn't disturbed.

    Example: `seedwise status runs/digits-demo-ablation`
    """
    from seedwise.cli.show_study import as_json as to_json
    from seedwise.cli.show_study import duration, print_arms, print_trials
    from seedwise.record import RECORD, read_record
    from seedwise.study.plan import read_study, trial_folder

    study = read_study(folder)
    records, trials = {}, []
    for seed in study.seeds:
        for arm in study.arms:
            path = trial_folder(arm, seed)
            trial = next((it for it in study.trials if (it.arm, it.seed) == (arm, seed)), None)
            record = read_record(folder / path) if (folder / path / RECORD).exists() else None
            if record is not None:
                records[path.as_posix()] = record
            if trial is not None:
                trials.append(trial.model_copy(update={"status": record.status if record else "planned"}))
    study = study.model_copy(update={"trials": trials})
    progress = {trial.folder: _words(study, trial.arm, records.get(trial.folder)) for trial in trials}
    left = _seconds_left(study, records)
    if as_json:
        print(to_json(study, progress, left))
        return
    print_trials(study, progress)
    finished = sum(trial.status == "finished" for trial in trials)
    time = "" if not left else f", about {duration(left)} left at {study.jobs} at a time"
    print(f"{finished} of {len(trials)} trials finished{time}\n")
    print_arms(study)


def _words(study: "StudyRecord", arm: str, record: "RunRecord | None") -> str:
    if record is None:
        return "planned"
    if record.status == "finished" and record.final is not None:
        scores = getattr(record.final, study.primary.split)
        return "finished" if scores is None else f"{scores.top1:.4f}"
    return f"{record.status} {len(record.epochs)}/{study.recipe(arm).train.epochs}"


def _seconds_left(study: "StudyRecord", records: "dict[str, RunRecord]") -> float | None:
    """From what finished trials took, an arm's own where there are any; None before the first."""
    times: dict[str, list[float]] = {}
    for trial in study.trials:
        if trial.status == "finished":
            times.setdefault(trial.arm, []).append(records[trial.folder].seconds["total"])
    every = [seconds for of in times.values() for seconds in of]
    if not every:
        return None
    left = 0.0
    for trial in study.trials:
        own = times.get(trial.arm, every)
        if trial.status != "finished":
            record = records.get(trial.folder)
            done = len(record.epochs) / study.recipe(trial.arm).train.epochs if record else 0.0
            left += (1 - done) * sum(own) / len(own)
    return left / study.jobs
