"""A folder that is no run, where one is wanted: refused before anything heavy, with the runs there and what to type."""

import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import Cli, call
from made_runs import answers_for, make_run, make_study

from seedwise.base.errors import UserError
from seedwise.records.run import read_record

TARGETS = np.arange(8) % 4
LOGITS = {"test": answers_for(TARGETS, np.ones(8))}


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_study(tmp_path / "a study", TARGETS, {arm: {1: LOGITS, 2: LOGITS, 3: LOGITS} for arm in ("base", "x")})
    make_run(tmp_path / "runs" / "one", TARGETS, LOGITS)
    make_run(tmp_path / "half", TARGETS, LOGITS, status="interrupted")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photo.jpg").write_bytes(b"a photo")
    for heavy in (
        "seedwise.ensembles.model",
        "seedwise.inference.predict",
        "seedwise.inference.evaluate",
        "seedwise.audits.check",
    ):
        monkeypatch.setitem(sys.modules, heavy, None)  # whoever imports it fails


VERBS = {
    "predict": (["photo.jpg"], "seedwise predict '{}' photo.jpg"),
    "evaluate": ([], "seedwise evaluate '{}'"),
    "errors": ([], "seedwise errors '{}'"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_study_names_its_runs_and_the_command(places: None, cli: Cli, verb: str) -> None:
    behind, typed = VERBS[verb]
    answer = cli(verb, "a study", *behind)
    named = ", ".join(f"a study/runs/{arm}/seed-{seed}" for arm, seed in (("base", 1), ("base", 2), ("base", 3)))
    assert answer.code == 2 and f"a study: is a study; name one of its 6 runs ({named}, " in answer.line
    assert answer.line.endswith(": " + typed.format("a study/runs/base/seed-1")) and " and 2 more)" in answer.line


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("runs", "runs: is no run, but holds some; name its only run (runs/one): seedwise "),
        ("half", "half: not finished (status: interrupted); `seedwise resume` it first"),
        ("photos", "photos: not a run folder (it has no record.json)"),
        ("photo.jpg", "photo.jpg: is a file; give a run's or an ensemble's folder in its place"),
        ("run/one", "run/one: no such folder; did you mean 'runs/one'?"),
    ],
)
def test_what_is_no_finished_run_is_a_line(places: None, cli: Cli, verb: str, given: str, said: str) -> None:
    answer = cli(verb, given, *VERBS[verb][0])
    assert answer.code == 2 and answer.line.startswith(said)


@pytest.mark.parametrize(
    ("words", "given"),
    [
        (["predict", "photo.jpg", "runs/one"], ["predict", "runs/one", "photo.jpg"]),
        (["predict", "photos", "other.jpg", "runs/one"], ["predict", "runs/one", "other.jpg", "photos"]),
        (["predict", "photo.jpg", "a study"], ["predict", "a study", "photo.jpg"]),
        (["evaluate", "photos", "--data", "runs/one"], ["evaluate", "runs/one", "--data", "photos"]),
    ],
)
def test_swapped_arguments_are_said_to_be(places: None, cli: Cli, words: list[str], given: list[str]) -> None:
    answer = cli(*words)
    assert answer.code == 2 and "they are swapped; give: seedwise " in answer.line
    assert sorted(shlex.split(answer.line.partition("give: seedwise ")[2])) == sorted(given)
    assert shlex.split(answer.line.partition("give: seedwise ")[2])[:2] == given[:2]


def test_an_audit_by_a_study_says_which_run(places: None, cli: Cli) -> None:
    answer = cli("audit", "digits", "--run", "a study")
    assert answer.code == 2 and answer.line.endswith(": seedwise audit digits --run 'a study/runs/base/seed-1'")


def test_a_study_is_as_clear_from_python(places: None) -> None:
    with pytest.raises(UserError, match=r"^a study: is a study; name one of its 6 runs \(a study/runs/base/seed-1, .*"):
        read_record(Path("a study"))
    shutil.rmtree("a study/runs")
    with pytest.raises(UserError, match=r"^a study: not a run folder \(it has no record\.json\)$"):
        read_record(Path("a study"))


def test_a_run_itself_is_gone_on_with(places: None) -> None:
    with pytest.raises(ImportError):
        call("predict", "runs/one", "photo.jpg")
