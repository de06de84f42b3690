"""What is meant by a path that isn't there, said before tensors are imported."""

import subprocess
import sys
from pathlib import Path

import pytest

from seedwise.base.errors import UserError
from seedwise.base.nearest import demand_folder, nearest

VERBS = [
    ["train", "phtos"],
    ["train", "./photos/goood"],
    ["train", "photos", "-r", "./recipes/min.yaml"],
    ["ablate", "phtos", "--toggle", "cutmix"],
    ["ablate", "recipes/stud.yaml"],
    ["sweep", "phtos", "-s", "optim.lr=1e-3,1e-4"],
    ["lr-find", "phtos"],
    ["augment", "phtos"],
    ["audit", "phtos"],
    ["audit", "photos", "--run", "runs/frist"],
    ["evaluate", "runs/frist"],
    ["predict", "runs/frist", "x.png"],
    ["resume", "runs/frist"],
    ["status", "runs/frist"],
    ["report", "runs/frist"],
    ["compare", "runs/frist"],
    ["ensemble", "runs/frist"],
    ["recipes", "show", "recipes/min.yaml"],
]
ALL_AT_ONCE = """
import contextlib, io, sys
from seedwise.cli import main
for words in {verbs!r}:
    sys.argv, err = ["seedwise", *words], io.StringIO()
    with contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as stop:
            assert stop.code == 2, words
    print(err.getvalue().strip())
    loaded = {{"torch", "timm", "sklearn", "matplotlib"}} & set(sys.modules)
    assert not loaded, (words, loaded)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEEDWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SEEDWISE_DATA", raising=False)
    for folder in ("photos/cat", "photos/dog", "photos/good", "runs/first", "recipes", "Other Things"):
        Path(folder).mkdir(parents=True)
    for file in ("recipes/mine.yaml", "recipes/study.yaml", "photos/labels.csv", "runs/first/record.json"):
        Path(file).write_text("")
    return tmp_path


def test_every_verb_says_what_was_meant_and_imports_no_tensors_for_it(place: Path) -> None:
    script = ALL_AT_ONCE.format(verbs=VERBS)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(VERBS)
    for words, line in zip(VERBS, lines, strict=True):
        assert "did you mean '" in line, (words, line)
    assert lines[0] == "phtos: no such data: did you mean 'photos'?"
    assert lines[2] == "./recipes/min.yaml: no such recipe; did you mean './recipes/mine.yaml'?"
    assert lines[-2] == "runs/frist: no such folder; did you mean 'runs/first'?"


def test_every_part_that_is_missing_is_the_likest_of_its_folder(place: Path) -> None:
    assert nearest("Photos/cats") == "photos/cat"
    assert nearest("./fotos/labels.csv") == "./photos/labels.csv"
    assert nearest(f"{place}/phots/dgo") == f"{place}/photos/dog"
    assert nearest("other things") == "Other Things"
    assert nearest("photos/../phots") == "photos/../photos"


@pytest.mark.parametrize(
    "name", ["photos", "elsewhere", "photos/zebra", "x" * 5000, "a\0b", "", "/", "..", "labels.csv/x"]
)
def test_nothing_is_made_up(place: Path, name: str) -> None:
    assert nearest(name) is None


def test_a_hidden_folder_is_suggested_for_a_hidden_one_alone(place: Path) -> None:
    Path(".phots").mkdir()
    assert nearest("phots") == "photos" and nearest(".photos") == ".phots"


def test_otherwise_it_is_said_what_to_give(place: Path) -> None:
    demand_folder(Path("runs"), "a run's")
    with pytest.raises(UserError, match=r"^elsewhere: no such folder; give a run's$"):
        demand_folder(Path("elsewhere"), "a run's")


def test_a_local_copy_is_meant_too(place: Path) -> None:
    from seedwise.data.find import find_source

    Path("copies/flowers102").mkdir(parents=True)
    with pytest.raises(UserError, match=r"^flower102: no such data: did you mean 'copies/flowers102'\?"):
        find_source("flower102", Path("copies"))


SEEN_FIRST = """
import sys
from seedwise.cli import main

class Seen(BaseException):
    pass

class Terminal:
    encoding, errors = "utf-8", "strict"
    def isatty(self): return True
    def flush(self): pass
    def write(self, text):
        if text.strip():
            raise Seen(text)

for words in {verbs!r}:
    sys.argv, sys.stderr = ["seedwise", *words], Terminal()
    try:
        main()
    except Seen as seen:
        print(seen)
    finally:
        sys.stderr = sys.__stderr__
    assert not {{"torch", "timm", "sklearn", "matplotlib"}} & set(sys.modules), words
"""
WITH_TENSORS = {
    "reading digits …": [
        ["train", "digits"],
        ["train", "digits", "--seeds", "3", "--dry-run"],
        ["ablate", "digits", "--toggle", "cutmix"],
        ["sweep", "digits", "-s", "optim.lr=1e-3,1e-4"],
        ["lr-find", "digits"],
        ["augment", "digits"],
        ["audit", "digits"],
    ],
    "reading runs/first …": [
        ["evaluate", "runs/first"],
        ["predict", "runs/first", "x.png"],
        ["resume", "runs/first"],
    ],
    "looking at this machine …": [["doctor"]],
}


def test_on_a_terminal_something_is_said_before_tensors_are_imported(place: Path) -> None:
    verbs = [words for of in WITH_TENSORS.values() for words in of]
    done = subprocess.run(
        [sys.executable, "-c", SEEN_FIRST.format(verbs=verbs)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [line for line, of in WITH_TENSORS.items() for _ in of]
