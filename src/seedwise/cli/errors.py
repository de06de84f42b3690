"""`seedwise errors`, and a summary of a finished run's errors."""

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seedwise.cli.options import Json, Split
from seedwise.cli.output import print_table

if TYPE_CHECKING:
    from seedwise.records.finished import Finished
    from seedwise.run.image_predictions import ImagePredictions

SHOWN, PAIRS = 20, 3
"""Errors printed by default, and confused pairs at the end of a training."""
COLUMNS = ("file", "given", "predicted", "probability", "probability_given")


def errors(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run or of an ensemble.")],
    split: Split = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="List so many, the most confident.", show_default=f"{SHOWN}; all as CSV or JSON"),
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print a table with commas, for a spreadsheet.")] = False,
    as_json: Json = False,
) -> None:
    """List the images that a finished run gets wrong: file, given label, prediction, and the probabilities of both.

    The most confident errors come first: they are often ambiguous, or mislabeled. Files are relative to the data's
    folder; an image without a file has the row of its table. Nothing is computed: the answers are those that the
    training stored.

    Examples:

        seedwise errors runs/photos

        seedwise errors runs/photos --csv > errors.csv

        seedwise errors runs/photos --split val --limit 5
    """
    from seedwise.base.errors import UserError
    from seedwise.run.image_predictions import read_image_predictions

    if split not in (None, "val", "test"):
        raise UserError(f"--split: there is no {split!r}; give val or test")
    if as_csv and as_json:
        raise UserError("--csv and --json: give one of them")
    stored = _find(folder)
    chosen = split or ("test" if has_test(stored) else "val")
    found = read_image_predictions(stored, chosen)
    rows = found.errors()
    shown = rows[: limit if limit or as_csv or as_json else SHOWN]
    if as_json:
        counts = {"images": len(found.targets), "right": int(found.right.sum()), "wrong": len(rows)}
        print(json.dumps({"data": stored.data.source, "split": chosen} | counts | {"errors": shown}, indent=2))
    elif as_csv:
        _print_csv(shown)
    else:
        print(f"{chosen}: {count_said(found)}")
        _print_table(shown)
        if len(shown) < len(rows):
            print(f"{len(rows) - len(shown)} more: --limit {len(rows)}, or --csv for all")
        if shown and found.files is not None:
            print(f"files are relative to {stored.data.source}")
    if found.files is None and rows:
        print(
            f"{folder}: made by a version that did not keep which file is which; train again to know", file=sys.stderr
        )


def _find(folder: Path) -> "Finished":
    """The run or the ensemble in a folder; a UserError for a study names its runs."""
    from seedwise.records.finished import read_finished
    from seedwise.records.which_run import demand_run

    demand_run(folder, "a run's or an ensemble's", lambda run: shlex.join(["seedwise", "errors", run]))
    return read_finished(folder)


def has_test(stored: "Finished") -> bool:
    """Whether test images were scored."""
    from seedwise.records.run import RunRecord

    record = stored.record
    return bool(record.final and record.final.test) if isinstance(record, RunRecord) else record.test is not None


def count_said(found: "ImagePredictions") -> str:
    """Numbers of right and wrong images, in words."""
    right, images = int(found.right.sum()), len(found.right)
    return f"{right} of {images} right, {images - right} wrong"


def _print_csv(rows: list[dict[str, Any]]) -> None:
    import csv

    out = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    out.writeheader()
    out.writerows(rows)


def _print_table(rows: list[dict[str, Any]]) -> None:
    from seedwise.data.source import visible

    if not rows:
        return
    lines = [["file", "given", "predicted", "probability", "of given"]]
    for row in rows:
        words = [visible(row[name] or "unknown") for name in COLUMNS[:3]]
        lines.append([*words, *(f"{row[name]:.3f}" for name in COLUMNS[3:])])
    print_table(lines, right=(3, 4))


def print_errors(folder: Path) -> None:
    """Print a summary of a run's errors: how many, what is confused most, and how certain that is."""
    from seedwise.data.source import visible
    from seedwise.records.finished import read_finished
    from seedwise.records.run import PREDICTIONS
    from seedwise.run.image_predictions import read_image_predictions
    from seedwise.stats.proportion import wilson

    stored = read_finished(folder)
    split = "test" if has_test(stored) else "val"
    if not stored.data.splits.get(split) or not (folder / PREDICTIONS).exists():  # which one may delete
        return
    found = read_image_predictions(stored, split)
    low, high = wilson(int(found.right.sum()), len(found.right))
    print(f"{count_said(found)}; 95% interval over {split} images [{low:.4f}, {high:.4f}]")
    pairs = found.most_confused(PAIRS)
    if pairs:
        said = ", ".join(f"{visible(given)} taken for {visible(other)} ({count})" for given, other, count in pairs)
        print(f"most confused: {said}")
        print(f"which images: seedwise errors {shlex.quote(str(folder))}")
