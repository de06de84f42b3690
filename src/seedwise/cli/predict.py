"""`seedwise predict`."""

import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from seedwise.cli.options import DeviceAtHand, Top, begin_with_run


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
    device: DeviceAtHand = None,
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
    from seedwise.inference.predict import Note, Unreadable, classify

    pictures = (out or Path("explained")) if explain else None
    problems = 0
    for found in classify(load(folder), _paths(images), top=top, explained=pictures, device=device):
        if isinstance(found, Unreadable):
            problems += 1
            print(found.reason, file=sys.stderr, flush=True)
        elif isinstance(found, Note):
            print(found.line, file=sys.stderr, flush=True)
        else:
            print(json.dumps(found) if as_json else _as_text(found), flush=True)
    if problems:
        raise typer.Exit(2)


def _command(run: str, images: list[str]) -> str:
    return shlex.join(["seedwise", "predict", run, *images])


def _paths(given: list[str]) -> Iterator[str]:
    """Yield the paths as given, and for `-` those on stdin, one a line."""
    for path in given:
        if path == "-":
            sys.stdin.reconfigure(errors="surrogateescape")  # type: ignore[union-attr]
            yield from (line.rstrip("\n") for line in sys.stdin if line.strip())
        else:
            yield path


def _as_text(found: dict[str, Any]) -> str:
    from seedwise.data.source import visible

    best = "   ".join(f"{visible(each['class'])} {each['probability']:.3f}" for each in found["top"])
    return f"{found['path']}\t{best}" + (f"\t{found['explained']}" if "explained" in found else "")
