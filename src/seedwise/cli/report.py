"""`seedwise report`, and the report that train and resume leave behind."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from seedwise.cli.options import Lang


def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN|STUDY|ENSEMBLE", help="The folder of one of them.")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="HTML file to write.", show_default="report.html in the folder")
    ] = None,
    lang: Lang = "en",
) -> None:
    """Make one HTML file that shows a run, a study or an ensemble: verdicts, curves, confusion, gains, calibration.

    It needs no network and nothing beside it. `train`, `resume` and `ensemble` make it by themselves at their end.

    Examples:

        seedwise report runs/demo -o demo.html --lang ko

        seedwise report runs/bagged
    """
    from seedwise.reports import write_report

    print(write_report(folder, out, lang))


def leave_report(folder: Path) -> Path | None:
    """The report of a folder that has just been completed. What keeps it from being made must not fail the run."""
    from seedwise.base.errors import UserError
    from seedwise.reports import write_report

    try:
        return write_report(folder)
    except UserError as error:
        print(f"no report: {error}", file=sys.stderr)
        return None
