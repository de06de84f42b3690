"""`seedwise resume`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from seedwise.cli.options import Budget, DataDir, Jobs, Json, begin_in


def resume(
    folder: Annotated[
        Path, typer.Argument(metavar="RUN|STUDY", help="The folder of a run, of a study, or of a bagging.")
    ],
    elsewhere: Annotated[
        bool, typer.Option("--elsewhere", help="Go on although the machine or torch differs, with other bits.")
    ] = False,
    jobs: Jobs = 1,
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
    from seedwise.base.durations import seconds_of
    from seedwise.base.errors import UserError
    from seedwise.records.run import BAGGING, STUDY

    begin_in(folder, "a run's or a study's")
    seconds = seconds_of("--budget", budget)
    if seconds is not None and not (folder / STUDY).exists():
        raise UserError(f"--budget {budget}: is for studies, and {folder} is none; drop it")
    from seedwise.cli.print_run import announce_trial, print_study
    from seedwise.cli.progress import watching

    if (folder / STUDY).exists():
        from seedwise.cli.print_study import print_done
        from seedwise.study.execute import Conduct, resume_study

        with watching(folder) as watch:
            conduct = Conduct(watch, announce_trial, data_dir, jobs, budget_seconds=seconds, elsewhere=elsewhere)
            done = resume_study(folder, conduct)
        if len(done.study.arms) > 1:
            return print_done(folder, done, as_json)
        done.demand_complete()
        return print_study(folder, done.study, as_json)
    if (folder / BAGGING).exists():
        from seedwise.cli.ensemble import print_ensemble
        from seedwise.ensembles.bagging import resume_bagging

        with watching(folder) as watch:
            voted = resume_bagging(
                folder, data_dir=data_dir, watch=watch, on_member=announce_trial, elsewhere=elsewhere
            )
        print_ensemble(folder, voted, as_json)
        return 0
    return _resume_run(folder, data_dir, elsewhere, as_json)


def _resume_run(folder: Path, data_dir: Path | None, elsewhere: bool, as_json: bool) -> int:
    from seedwise.base import machine
    from seedwise.base.files import is_held
    from seedwise.cli.print_run import print_run
    from seedwise.cli.progress import watching
    from seedwise.records.run import RECORD, read_record
    from seedwise.run.train import resume as resume_run

    broken_off = (folder / RECORD).exists() and read_record(folder).status == "running" and not is_held(folder)
    with watching(folder) as watch:
        run = resume_run(folder, watch=watch, data_dir=data_dir, elsewhere=elsewhere)
    if broken_off:
        words = "had been broken off (killed, or the machine went down) and went on from its last checkpoint"
        print(f"{folder}: {words}", file=sys.stderr)
    return print_run(folder, run.record, as_json) if machine.rank() == 0 else 0
