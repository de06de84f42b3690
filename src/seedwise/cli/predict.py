"""`seedwise predict`."""

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seedwise.cli.options import Top, begin_with_run

if TYPE_CHECKING:
    from seedwise.inference.predict import Predicted


def predict(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run or of an ensemble.")],
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGE...", help="Images, folders of images, or - for paths on stdin.")
    ],
    top: Top = 5,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain", help="Write a picture an image: where the network looked (Grad-CAM), and its answer."
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="Folder for the pictures of --explain.", show_default="explained"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print an image a line as JSON.")] = False,
) -> None:
    """Classify images with a finished run, prepared as in its own evaluation.

    What can't be read is named on stderr, the others go on, and the exit code is 2.

    Examples:

        seedwise predict runs/lite photo.jpg

        seedwise predict runs/lite ./photos --json > predictions.jsonl

        seedwise predict runs/lite photo.jpg --explain -o explained
    """
    from seedwise.base.errors import UserError

    if out is not None and not explain:
        raise UserError(f"-o {out}: is the folder for the pictures of --explain; add it, or drop -o")
    begin_with_run(folder, "a run's or an ensemble's", lambda run, of=images: _command(run, of), images)
    from seedwise.ensembles.model import load
    from seedwise.inference.predict import Note, Unreadable, predict_files
    from seedwise.run.run import Run

    run = load(folder)
    if explain and not isinstance(run, Run):
        raise UserError(f"{folder}: an ensemble has no single network to explain; name one of its members")
    explainer = None
    if explain and isinstance(run, Run):
        from seedwise.inference.explain import Explainer

        explainer = Explainer(run, out or Path("explained"), top)
    problems = 0
    for found in predict_files(run, _paths(images)):
        if isinstance(found, Unreadable):
            problems += 1
            print(found.reason, file=sys.stderr, flush=True)
        elif isinstance(found, Note):
            print(found.line, file=sys.stderr, flush=True)
        else:
            picture = None if explainer is None else str(explainer.explain(found))
            show = _as_json if as_json else _as_text
            print(show(run.classes, found, top, picture), flush=True)
    if problems:
        raise typer.Exit(2)


def _command(run: str, images: list[str]) -> str:
    return shlex.join(["seedwise", "predict", run, *images])


def _paths(given: list[str]) -> Iterator[str]:
    """The paths as given, and in place of `-` those on stdin, one a line."""
    for path in given:
        if path == "-":
            sys.stdin.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
            yield from (line.rstrip("\n") for line in sys.stdin if line.strip())
        else:
            yield path


def _as_json(classes: list[str], found: "Predicted", top: int, picture: str | None) -> str:
    import json

    best = [{"class": classes[i], "probability": float(found.probabilities[i])} for i in found.top(top)]
    explained = {} if picture is None else {"explained": picture}
    return json.dumps({"path": found.path, "top": best} | explained)


def _as_text(classes: list[str], found: "Predicted", top: int, picture: str | None) -> str:
    from seedwise.data.source import visible

    best = "   ".join(f"{visible(classes[i])} {found.probabilities[i]:.3f}" for i in found.top(top))
    return f"{found.path}\t{best}" + ("" if picture is None else f"\t{picture}")
