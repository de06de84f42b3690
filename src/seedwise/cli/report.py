"""`seedwise report`, and the report that train and resume leave behind."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN|STUDY", help="A run folder or a study folder.")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="HTML file to write.", show_default="report.html in the folder")
    ] = None,
    lang: Annotated[str, typer.Option("--lang", metavar="en|ko", help="The report's language.")] = "en",
) -> None:
    """Make one HTML file that shows a run or a study: verdicts, curves, confusion, calibration, errors.

    It needs no network and nothing beside it. `train` and `resume` make it by themselves at their end.

    Example:

        seedwise report runs/demo -o demo.html --lang ko
    """
    from seedwise.report import write_report

    print(write_report(folder, out, lang))


def leave_report(folder: Path) -> Path | None:
    """The report of a folder that has just been completed. What keeps it from being made must not fail the run."""
    from seedwise.errors import UserError
    from seedwise.report import write_report

    try:
        return write_report(folder)
    except UserError as error:
        print(f"no report: {error}", file=sys.stderr)
        return None
