"""`seedwise resume`."""

from pathlib import Path
from typing import Annotated

import typer

from seedwise.cli.options import DataDir, Json


def resume(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder or a study folder.")],
    elsewhere: Annotated[
        bool, typer.Option("--elsewhere", help="Go on although the machine or torch differs, with other bits.")
    ] = False,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Complete a run or a study that was stopped; a finished one is left as it is.

    On the machine it began on the result is the same, bit for bit, as without the stop.

    Example:

        seedwise resume runs/cifar100-lite-20261124-101500
    """
    from seedwise import machine
    from seedwise.cli.show import announce_trial, print_run, print_study
    from seedwise.cli.watch import watching
    from seedwise.errors import UserError
    from seedwise.record import STUDY

    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give a run's or a study's")
    if (folder / STUDY).exists():
        from seedwise.study.run import resume_study

        with watching(folder) as watch:
            study = resume_study(folder, data_dir=data_dir, watch=watch, on_trial=announce_trial, elsewhere=elsewhere)
        print_study(folder, study, as_json)
    else:
        from seedwise.training import resume as resume_run

        with watching(folder) as watch:
            run = resume_run(folder, watch=watch, data_dir=data_dir, elsewhere=elsewhere)
        if machine.rank() == 0:
            print_run(folder, run.record, as_json)
