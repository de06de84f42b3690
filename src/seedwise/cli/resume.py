"""`seedwise resume`."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from seedwise.cli.options import Budget, DataDir, Jobs, Json, begin_in


def resume(
    folder: Annotated[
        Path, typer.Argument(metavar="RUN|STUDY", help="The folder of a run, of a study, or of a bagging.")
    ],
    elsewhere: Annotated[
        bool, typer.Option("--elsewhere", help="Go on although the machine or torch differs, with other bits.")
    ] = False,
    jobs: Jobs = "1",
    budget: Budget = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> int:
    """Complete a run or a study that was stopped; a finished one is left as it is.

    On the machine it began on the result is the same, bit for bit, as without the stop.

    Example:

        seedwise resume runs/cifar100-lite-20261124-101500

        seedwise resume runs/cifar100-reference-ablation -j 2 --budget 90min
    """
    from seedwise.inference.training import budget_of

    begin_in(folder, "a run's or a study's")
    seconds = budget_of(folder, budget)
    from seedwise.cli.print_run import announce_trial, print_finished
    from seedwise.cli.progress import watching
    from seedwise.inference.training import resume as go_on

    broken_off = _is_broken_off(folder)
    how: dict[str, Any] = {"jobs": jobs, "budget": seconds, "data_dir": data_dir, "elsewhere": elsewhere}
    with watching(folder) as control:
        done = go_on(folder, control=control, on_trial=announce_trial, **how)
    if broken_off:
        words = "had been broken off (killed, or the machine went down) and went on from its last checkpoint"
        print(f"{folder}: {words}", file=sys.stderr)
    return print_finished(done, as_json)


def _is_broken_off(folder: Path) -> bool:
    """Whether a run's record says `running` while no process works on it."""
    from seedwise.base.files import is_held
    from seedwise.records.finished import is_ensemble
    from seedwise.records.run import RECORD, read_record

    if not (folder / RECORD).exists() or is_ensemble(folder):
        return False
    return read_record(folder).status == "running" and not is_held(folder)
