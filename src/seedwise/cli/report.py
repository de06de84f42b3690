"""`seedwise report`."""

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
    from seedwise.inference.finished import report as make_report

    print(make_report(folder, out=out, lang=lang))
