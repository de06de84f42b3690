"""Which answers are right is one definition: every verb and page agrees on every image, ties included."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from command_line import Cli
from made_runs import CLASSES, make_run, make_study
from numpy.typing import NDArray

from seedwise.audits.check import _accuracy
from seedwise.audits.findings import Leak
from seedwise.ensembles.build import build
from seedwise.inference.evaluate import _by_class
from seedwise.records.finished import read_finished
from seedwise.records.predictions import score
from seedwise.reports.read import read_run
from seedwise.reports.run_page import run_context
from seedwise.reports.words import Words
from seedwise.run import report_images
from seedwise.run.image_predictions import read_image_predictions
from seedwise.run.run import Run
from seedwise.study.compare import compare
from seedwise.study.record import read_study
from seedwise.study.results import Results

GENERATOR = np.random.default_rng(5)
COUNT = 200
TARGETS = GENERATOR.integers(0, 4, COUNT)


def flat() -> NDArray[np.float32]:
    """The same logit for every class: nothing is right, though the first class is the first of equals."""
    return np.zeros((COUNT, 4), np.float32)


def rounded() -> NDArray[np.float32]:
    """Logits as bf16 leaves them, which has many ties."""
    logits = torch.from_numpy(GENERATOR.normal(size=(COUNT, 4)).astype(np.float32) * 0.05 + 3)
    return logits.bfloat16().float().numpy()


def expected(logits: NDArray[np.float32]) -> list[bool]:
    """By a loop: right where the target's logit is above every other."""
    return [
        all(row[target] > other for k, other in enumerate(row) if k != target) for row, target in zip(logits, TARGETS)
    ]


def test_an_epochs_scores_are_those_of_the_validation_images(finished: Path) -> None:
    """Test images have other scores, so that training can't have looked at them."""
    run = Run(finished)
    final, last = run.record.final, run.record.epochs[-1]
    assert final is not None and final.val is not None and final.val != final.test
    assert last.val == final.val == score(run.predictions("val"))


@pytest.mark.parametrize("logits", [flat(), rounded()], ids=["flat", "bf16"])
def test_every_reader_of_a_run_agrees(tmp_path: Path, cli: Cli, logits: NDArray[np.float32]) -> None:
    right = expected(logits)
    first_of_equals = (logits.argmax(axis=1) == TARGETS).sum()
    assert first_of_equals > sum(right), "the case has no ties"
    folder = make_run(
        tmp_path / "run", TARGETS, {"val": logits, "test": logits}, files={"test": list(map(str, TARGETS))}
    )
    run, top1 = Run(folder), sum(right) / COUNT
    assert run.record.final is not None and run.record.final.test is not None
    assert run.record.final.test.top1 == top1
    assert run.predictions().correct().tolist() == right
    assert [row["correct"] for row in run.table()] == right
    assert read_image_predictions(read_finished(folder), "test").right.tolist() == right
    assert len(json.loads(cli("errors", folder, "--json").out)["errors"]) == COUNT - sum(right)
    assert sum(each.top1 * each.images for each in _by_class(CLASSES, run.predictions())) == pytest.approx(sum(right))
    leaks = {"test": Leak(images=1, of=COUNT, rows=[0])}
    assert _accuracy(run, leaks).top1 == top1
    page = run_context(read_run(folder), Words("en"))
    assert page["wrong"] == COUNT - sum(right)
    assert page["calibration"]["before"].accuracy[page["calibration"]["before"].count > 0].max() <= max(right)
    shown: Any = SimpleNamespace(pixels=lambda rows: [np.zeros((2, 2, 3), np.uint8)] * len(rows))
    pictures = report_images._errors_and_pairs(shown, run.predictions())
    assert not any(right[row] for row in pictures["errors_rows"])


@pytest.mark.parametrize("logits", [flat(), rounded()], ids=["flat", "bf16"])
def test_studies_comparisons_and_ensembles_agree_with_the_runs(
    tmp_path: Path, cli: Cli, logits: NDArray[np.float32]
) -> None:
    right, clear = expected(logits), np.eye(4, dtype=np.float32)[TARGETS]
    both = {"val": logits, "test": logits}
    study = make_study(
        tmp_path / "study", TARGETS, {"base": {0: both, 1: both}, "clear": {0: {"val": clear, "test": clear}}}
    )
    found = compare([study])
    assert found.correct[found.base][0].tolist() == right and all(found.correct[found.arms[1].name][0])
    results = Results(study)
    results.refresh(read_study(study))
    assert results.scored["base", 0].correct["test"].right.tolist() == right
    members = [read_finished(path) for path in sorted(study.glob("**/seed-*")) if "clear" not in str(path)]
    record = build(members, tmp_path / "ensemble")
    assert record.test is not None and record.test.scores.top1 == pytest.approx(sum(right) / COUNT)
    said = cli("report", study, "-o", tmp_path / "page.html")
    assert said.code == 0
    assert re.search(rf"{100 * sum(right) / COUNT:.2f}", (tmp_path / "page.html").read_text(encoding="utf-8"))
