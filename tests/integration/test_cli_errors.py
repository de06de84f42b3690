"""`seedwise errors` on runs made from given logits: which images are wrong, the most confident first."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from command_line import Cli
from made_runs import CLASSES, answers_for, make_run, make_study

from seedwise.base.files import sha256_of
from seedwise.cli.errors import print_errors
from seedwise.ensembles.build import build
from seedwise.ensembles.model import Ensemble
from seedwise.records.finished import read_finished
from seedwise.records.predictions import Predictions, write_arrays
from seedwise.records.run import read_record, write_record

TARGETS = np.arange(40) % 4
WRONG = [3, 17, 21, 38]
SURE = dict(zip(WRONG, (2.0, 5.0, 3.0, 5.0)))
"""How far above all others the wrong class is; of two equals the first comes first."""
NAMES = [f"{CLASSES[label]}/사진 {row}, original.jpg" for row, label in enumerate(TARGETS)]


def logits_of(sure: dict[int, float] = SURE) -> np.ndarray:
    right = np.isin(np.arange(40), WRONG, invert=True)
    logits = answers_for(TARGETS, right)
    for row, height in sure.items():
        logits[row] *= height / 3
    return logits


@pytest.fixture
def run(tmp_path: Path) -> Path:
    logits = {"val": answers_for(TARGETS, np.ones(40)), "test": logits_of()}
    return make_run(tmp_path / "a run", TARGETS, logits, files={"val": NAMES, "test": NAMES})


def row(number: int) -> tuple[str, str, str, float, float]:
    """What is to be said of an image."""
    weights = np.exp([SURE[number], 0, 0, 0])
    sure, given = (weights / weights.sum())[:2]
    return NAMES[number], CLASSES[TARGETS[number]], CLASSES[(TARGETS[number] + 1) % 4], sure, given


def test_errors_are_listed_the_most_confident_first_with_both_probabilities(run: Path, cli: Cli) -> None:
    answer = cli("errors", run)
    first, head, *lines = answer.out.splitlines()
    assert answer.code == 0 and first == "test: 36 of 40 right, 4 wrong"
    assert head.split("  ")[0] == "file" and lines[-1] == "files are relative to /made/ffff"
    for line, number in zip(lines, (17, 38, 21, 3)):
        name, given, said, sure, of_given = row(number)
        assert line.split()[-4:] == [given, said, f"{sure:.3f}", f"{of_given:.3f}"] and line.startswith(name + "  ")
    assert "all" not in answer.out and len(lines) == 5
    few = cli("errors", run, "--limit", 1).out
    assert NAMES[17] in few and NAMES[38] not in few and "3 more: --limit 4, or --csv for all" in few


def test_csv_and_json_hold_the_same_for_programs(run: Path, cli: Cli) -> None:
    found = json.loads(cli("errors", run, "--json").out)
    assert {name: found[name] for name in ("data", "split", "images", "right", "wrong")} == {
        **{"data": "/made/ffff", "split": "test"},
        **{"images": 40, "right": 36, "wrong": 4},
    }
    table = list(csv.DictReader(io.StringIO(cli("errors", run, "--csv").out)))
    for one, other, number in zip(found["errors"], table, (17, 38, 21, 3), strict=True):
        name, given, said, sure, of_given = row(number)
        assert one == {
            **{"file": name, "given": given, "predicted": said},
            **{"probability": pytest.approx(sure), "probability_given": pytest.approx(of_given)},
        }
        assert {key: str(value) for key, value in one.items()} == other
    assert len(json.loads(cli("errors", run, "--json", "--limit", 2).out)["errors"]) == 2


def test_a_split_without_errors_says_so(run: Path, cli: Cli) -> None:
    assert cli("errors", run, "--split", "val").out == "val: 40 of 40 right, 0 wrong\n"
    assert cli("errors", run, "--split", "val", "--csv").out == "file,given,predicted,probability,probability_given\n"


def test_a_run_without_test_images_lists_those_of_validation(tmp_path: Path, cli: Cli) -> None:
    make_run(tmp_path / "untested", TARGETS, {"val": logits_of()}, files={"val": NAMES})
    assert cli("errors", "untested").out.startswith("val: 36 of 40 right")
    assert "no answers on 'test' images" in cli("errors", "untested", "--split", "test").line


def test_a_run_that_did_not_keep_names_is_listed_without_them(tmp_path: Path, cli: Cli) -> None:
    make_run(tmp_path / "old", TARGETS, {"test": logits_of()})
    answer = cli("errors", "old")
    assert answer.code == 0 and answer.out.count("unknown") == 4 and "did not keep which file is which" in answer.err
    assert "relative" not in answer.out
    assert [it["file"] for it in json.loads(cli("errors", "old", "--json").out)["errors"]] == [None] * 4


def test_an_ensemble_has_the_names_of_its_members(tmp_path: Path, cli: Cli) -> None:
    files = {"val": NAMES, "test": NAMES}
    logits = {"val": answers_for(TARGETS, np.ones(40)), "test": logits_of()}
    make_run(tmp_path / "old", TARGETS, logits, seed=1)
    make_run(tmp_path / "new", TARGETS, logits, seed=2, files=files)
    build([read_finished(tmp_path / name) for name in ("old", "new")], tmp_path / "both")
    found = json.loads(cli("errors", "both", "--json").out)
    assert [it["file"] for it in found["errors"]] == [NAMES[number] for number in (17, 38, 21, 3)]
    rows = Ensemble(tmp_path / "both").table()
    assert [it["file"] for it in rows] == NAMES and [it["correct"] for it in rows].count(False) == 4


def test_a_study_says_which_run_to_name(tmp_path: Path, cli: Cli) -> None:
    make_study(tmp_path / "study", TARGETS, {"base": {1: {"test": logits_of()}, 2: {"test": logits_of()}}})
    answer = cli("errors", "study")
    assert answer.code == 2 and "one of its 2 runs" in answer.line
    assert cli("errors", answer.line.rpartition("seedwise errors ")[2]).out.startswith("test: 36 of 40 right")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "nowhere: no such folder"),
        (["a run", "--split", "train"], "--split: there is no 'train'; give val or test"),
        (["a run", "--csv", "--json"], "--csv and --json: give one of them"),
        (["unfinished"], "unfinished: not finished (status: running); `seedwise resume` it first"),
    ],
)
def test_a_mistake_is_one_line(run: Path, tmp_path: Path, cli: Cli, words: list[str], said: str) -> None:
    make_run(tmp_path / "unfinished", TARGETS, {"test": logits_of()}, status="running")
    answer = cli("errors", *words)
    assert answer.code == 2 and answer.line.startswith(said)


@pytest.mark.parametrize("names", [np.arange(40), np.array(NAMES[:-1]), np.array(NAMES).reshape(4, 10)])
def test_names_that_do_not_fit_are_damage(run: Path, cli: Cli, names: np.ndarray) -> None:
    with np.load(run / "predictions.npz") as stored:
        arrays = dict(stored) | {"test_files": names}
    write_arrays(run / "predictions.npz", arrays)
    record = read_record(run)
    record.files["predictions.npz"] = sha256_of(run / "predictions.npz")
    write_record(run, record)
    answer = cli("errors", run)
    assert answer.code == 2 and answer.line.startswith(f"{run}/predictions.npz: damaged")


def test_an_answer_is_right_where_top_1_counts_it_so() -> None:
    """Equal logits count against the network, so another class is its answer then."""
    logits = np.array([[0, 0, 0], [1, 1, 0], [0, 1, 1], [2, 1, 0], [0, 0, 3]], np.float32)
    found = Predictions(np.arange(5), np.array([0, 1, 0, 0, 2]), logits)
    said = found.predicted
    assert np.array_equal(said == found.targets, found.correct())
    assert said.tolist() == [1, 0, 1, 0, 2]


def test_the_end_of_a_run_counts_and_names_the_most_confused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_errors(run)
    counts, confused, where = capsys.readouterr().out.splitlines()
    assert counts == "36 of 40 right, 4 wrong; 95% interval over test images [0.7695, 0.9604]"
    assert confused == "most confused: cod taken for rose (2), rose taken for trout (1), trout taken for bear (1)"
    assert where == f"which images: seedwise errors '{run}'"
    (run / "predictions.npz").unlink()  # which one may do
    print_errors(run)
    assert capsys.readouterr().out == ""
