"""Places that can't be written: said before any work, with what helps there; what is finished needs no writing."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from bad_input import Place, photos, read_only
from command_line import LEAN, Cli

from seedwise import inference
from seedwise.audits import findings
from seedwise.base.files import Unwritable, demand_writable, demand_writable_folder


@pytest.fixture
def place(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole_once: Path, halfway_once: Path
) -> Iterator[Place]:
    with ExitStack() as undo:
        yield Place(tmp_path, monkeypatch, undo, whole_once, halfway_once)


ELSEWHERE = "choose another folder with -o"
FIRST = [
    (["lr-find", "digits", "-o", "disk/lr.png"], "run.lr_finder.find_learning_rate", "lr.png"),
    (["augment", "digits", "-o", "disk/grid.png"], "run.data.open_for", "grid.png"),
    (["report", "run", "-o", "disk/page.html"], "reports.page.render", "page.html"),
    (["audit", "digits", "-o", "disk/audit.html"], "audits.check.audit", "audit.html"),
    (["ensemble", "run", "other", "-o", "disk/both"], "ensembles.build.build", "both"),
    (["predict", "run", "d", "--explain", "-o", "disk/seen"], "inference.predict.predict_files", "seen"),
    (["train", "digits", "-o", "disk/a/b"], "run.train.fitted", "a/b"),
    (["train", "digits", "--bagging", "2", "-o", "disk/a"], "ensembles.bagging.fitted", "a"),
    (["ablate", "digits", "--toggle", "rotation", "-o", "disk/a"], "study.execute.TrialOptions.fitted", "a"),
]


@pytest.mark.parametrize(("words", "work", "written"), FIRST, ids=[words[0] for words, *_ in FIRST])
def test_it_is_said_before_the_work(cli: Cli, place: Place, words: list[str], work: str, written: str) -> None:
    def worked(*_: Any, **__: Any) -> None:
        raise AssertionError("the work came first")

    place.finished("run"), place.finished("other"), photos(place)
    read_only(place)
    place.patch.setattr(f"seedwise.{work}", worked)
    said = cli(*words).line
    assert said.startswith(f"disk/{written}: can't be written: ") and said.endswith(ELSEWHERE)
    assert not any((place.root / "disk").iterdir())


def test_a_run_that_can_not_count_its_evaluations_is_not_evaluated(cli: Cli, place: Place) -> None:
    run = read_only(place, lambda _: place.finished("disk/run")) / "run"
    place.patch.setattr(inference.finished, "_loaded", lambda run: pytest.fail("it was loaded first"))
    said = cli("evaluate", run).line
    assert said.startswith(f"{run}/evaluations.jsonl: can't be written: ")
    assert f"copy {run} to where it can be written, and give that folder" in said and "-o" not in said.split()


@pytest.mark.parametrize("words", [["resume", "disk/run"], ["train", *LEAN, "-o", "disk/run"]], ids=["resume", "train"])
def test_a_finished_run_needs_no_writing(cli: Cli, place: Place, words: list[str]) -> None:
    read_only(place, lambda _: place.finished("disk/run"))
    answer = cli(*words)
    assert answer.code == 0 and "files: disk/run" in answer.out and "can't be written" not in answer.err


def test_a_stopped_run_is_to_be_copied(cli: Cli, place: Place) -> None:
    read_only(place, lambda _: place.stopped("disk/run"))
    said = cli("resume", "disk/run").line
    assert said.endswith("; copy disk/run to where it can be written, and give that folder")
    shutil.copytree("disk/run", "copy")
    assert cli("resume", "copy").code == 0


def test_a_finished_study_needs_no_writing(cli: Cli, place: Place) -> None:
    def fill(folder: Path) -> None:
        lean = [word for word in LEAN if word not in ("--seed", "3")]
        words = [*lean, "--seeds", "3,"]
        assert cli("train", *words, "-s", "train.epochs=1", "-o", folder / "study").code == 0

    read_only(place, fill)
    answer = cli("resume", "disk/study")
    assert answer.code == 0 and "can't be written" not in answer.err


def test_a_recipe_is_copied_to_another_place(cli: Cli, place: Place) -> None:
    read_only(place)
    said = cli("recipes", "cp", "lite", "disk/x.yaml").line
    assert said.startswith("disk/x.yaml: can't be written: ") and said.endswith("; choose another place")


def test_a_cache_that_can_not_be_used_says_why(cli: Cli, place: Place) -> None:
    place.file("file", "")
    place.patch.setenv("SEEDWISE_CACHE", "file")
    said = cli("train", photos(place), "-m", "small").line
    assert "images cannot be kept there (file is a file): set SEEDWISE_CACHE to a folder that can be written" in said
    place.patch.setenv("SEEDWISE_CACHE", str(read_only(place)))
    said = cli("train", "d", "-m", "small").line
    assert said.endswith("): set SEEDWISE_CACHE to a folder that can be written") and "free some space" not in said
    with pytest.raises(Unwritable, match=r"; set SEEDWISE_CACHE to a folder that can be written$"):
        demand_writable_folder(place.root / "disk/audits/x")


def test_an_audit_that_the_cache_can_not_keep_is_written_all_the_same(cli: Cli, place: Place) -> None:
    photos(place)
    place.patch.setattr(findings, "cache_root", lambda: read_only(place))
    answer = cli("audit", "d")
    assert answer.code == 0 and Path("audit.html").exists() and Path("audit.json").exists()
    assert "not kept for reports of runs on this data: " in answer.err


def test_trying_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("old")
    demand_writable(tmp_path / "page.html", "an HTML file")
    demand_writable_folder(tmp_path / "a" / "b")
    demand_writable_folder(tmp_path / ("x" * 250))
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert (tmp_path / "page.html").read_text() == "old"
