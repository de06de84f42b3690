"""Evaluations after training, a line each in evaluations.jsonl, so that every later evaluation on test is counted."""

import contextlib
import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from seedwise.base.errors import UserError
from seedwise.base.files import WINDOWS, Unwritable, demand_writable, one_at_a_time, write_error
from seedwise.base.notebook import html_table
from seedwise.records.run import RecordPart, Scores

EVALUATIONS = "evaluations.jsonl"

Share = Annotated[float, Field(ge=0, le=1)]


class ClassScore(RecordPart):
    """Accuracy on one class of the evaluated images."""

    name: str
    images: int
    top1: Share
    """Share of the class's images that are right."""


class TtaGain(RecordPart):
    """Top-1 with and without test-time augmentation, on the same images."""

    without: Share
    """Top-1 without test-time augmentation."""
    won: int
    """Images that are right only with it."""
    lost: int
    """Images that are right only without it."""
    ci95: tuple[float, float]
    """95% interval of the difference in top-1, over images (`stats.mcnemar`)."""
    p: Share
    """McNemar's exact test, two-sided."""


class Evaluation(RecordPart):
    """Result of one evaluation; also a line of evaluations.jsonl, there without `classes`."""

    data: str
    """Path or name of the data."""
    fingerprint: str
    """SHA-256 of the data, as in a run's record."""
    own: bool
    """Whether it is the data that the run was trained on."""
    split: Literal["val", "test", "all"]
    weights: Literal["raw", "ema"]
    tta: str | None
    """The test-time augmentation; null without."""
    images: int
    scores: Scores
    top1_interval: tuple[Share, Share]
    """Wilson's 95% interval over images: for other images of the kind. Seeds are another source of spread."""
    agrees: bool | None
    """Whether logits and scores equal those stored by the training bit for bit; null where none are stored."""
    largest_difference: float | None
    """Largest absolute difference to the stored logits."""
    gain: TtaGain | None = None
    """Against the same network on the same images without test-time augmentation; null where there is none."""
    trained: int | None = None
    """Images equal in every pixel to one that the run, or a member of the ensemble, was trained on: on these the score
    is no estimate for new images. Null where the run's record doesn't tell its training images."""
    new_top1: Share | None = None
    """Top-1 of the images that aren't `trained`; null where that is all or none."""
    missing: list[str]
    """Classes of the run without images in the data."""
    classes: list[ClassScore] = []
    """The classes with images, worst first."""

    def table(self) -> list[dict[str, Any]]:
        """A row for each class with images, worst first: name, images, top1."""
        return [each.to_dict() for each in self.classes]

    def _repr_html_(self) -> str:
        low, high = self.top1_interval
        row = {"images": self.images} | self.scores.to_dict() | {"top1 low": low, "top1 high": high}
        worst = "worst classes: " + ", ".join(f"{each.name} {each.top1:.3f}" for each in self.classes[:5])
        return html_table([row], f"{self.data}: {self.split}", [worst])


def demand_appendable(folder: Path) -> None:
    """Raise a UserError, before images are scored, where the run's evaluations.jsonl can't be written."""
    path = folder / EVALUATIONS
    try:
        if path.exists():
            os.close(os.open(path, os.O_RDWR | os.O_APPEND))
        else:
            demand_writable(path, "a file")
    except OSError as error:
        raise _uncounted(write_error(path, error)) from error
    except Unwritable as error:
        raise _uncounted(error) from error


def append_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Add a line to the run's evaluations.jsonl in a single write, so that two processes at once lose none. A UserError
    where it can't be written."""
    path = folder / EVALUATIONS
    line = evaluation.model_dump_json(exclude={"classes"}) + "\n"
    try:
        # Windows appends in two steps, which must not be two processes'.
        alone = one_at_a_time(path.with_suffix(".lock")) if WINDOWS else contextlib.nullcontext()
        with alone, path.open("a+b", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 1))
            torn = size > 0 and file.read(1) != b"\n"  # a machine that lost power while writing
            file.write(("\n" if torn else "").encode() + line.encode())
            os.fsync(file.fileno())
    except OSError as error:
        raise _uncounted(write_error(path, error)) from error


def _uncounted(error: Unwritable) -> UserError:
    return UserError(f"{error} (evaluations are counted there)")


def read_evaluations(folder: Path) -> list[Evaluation]:
    """Read the evaluations of a run, oldest first; incomplete lines are skipped. A UserError where it can't be read."""
    try:
        lines = (folder / EVALUATIONS).read_bytes().splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{folder / EVALUATIONS}: can't be read ({error.strerror})") from error
    found = []
    for line in lines:
        try:
            found.append(Evaluation.model_validate(json.loads(line)))
        except (ValidationError, ValueError, RecursionError):
            continue
    return found


def later_test_reads(folder: Path) -> int:
    """How often the run's own test images were scored after its training, not counted in record.test_evaluations."""
    return sum(each.own and each.split == "test" for each in read_evaluations(folder))
