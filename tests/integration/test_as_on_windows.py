"""Every verb with what Python on Windows has, and under what Windows refuses (tests/as_windows); on Linux, where alone
this was run."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from command_line import TINY, command

if sys.platform != "linux":
    pytest.skip("plays Windows on Linux", allow_module_level=True)

AS_WINDOWS = Path(__file__).parents[1] / "as_windows"
DIGITS = ("digits", *TINY)
LEAN = (
    *("digits", "-m", "small", "--img-size", "16", "-b", "20", "--threads", "1", "-s", "train.checkpoint_every=1"),
    *("-s", "data.limit=60", "-s", "data.val=20", "-s", "data.test=20"),
)
BASE = ("-s", "augment.cutmix=default")
WORK: tuple[tuple[str, ...], ...] = (
    ("train", *DIGITS, "-o", "run", "-s", "augment.cutmix=default"),
    ("train", *DIGITS, "--dry-run"),
    ("train", *DIGITS, "--bagging", "2", "-o", "bag"),
    ("train", *DIGITS, "--seeds", "2", "-o", "seeds", "-s", "optim.ema=default"),
    ("resume", "run"),
    ("ablate", *DIGITS, *BASE, "--toggle", "cutmix", "--seeds", "2", "-j", "2", "-o", "study"),
    ("sweep", *DIGITS, "--seeds", "1", "-s", "optim.lr=1e-3,2e-3", "-o", "sweep"),
    *(("status", "study"), ("compare", "study"), ("compare", "run", "bag"), ("report", "study", "-o", "study.html")),
    *(("report", "run", "-o", "run.html"), ("ensemble", "run", "seeds", "-o", "vote"), ("report", "vote")),
    *(("evaluate", "run"), ("evaluate", "vote"), ("errors", "run"), ("predict", "run", "zero.png")),
    *(("audit", "digits", "-s", "data.limit=200", "-o", "audit.html"), ("augment", "digits", "-o", "grid.png")),
    ("lr-find", "digits", "-m", "small", "--img-size", "16", "-b", "64", "--threads", "1", "-o", "lr.svg"),
    *(("doctor",), ("doctor", "--json"), ("recipes", "ls"), ("recipes", "cp", "lite", "my.yaml")),
    *(("recipes", "validate", "my.yaml"), ("techniques", "ls"), ("techniques", "show", "mixup"), ("cache", "ls")),
    *(("cache", "clear", "digits", "--yes"), ("train", *DIGITS, "-o", "again")),
)
VERBS = """
import contextlib, io, json, sys
from seedwise.cli import main

if __name__ == "__main__":
    answers = []
    for words in json.loads(sys.argv[1]):
        sys.argv[1:] = words
        out, err = io.StringIO(), io.StringIO()
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                main()
        except SystemExit as stop:
            answers.append((stop.code, out.getvalue(), err.getvalue()))
    print(json.dumps(answers))
"""


@pytest.fixture
def windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The variables that make a process take itself to be on Windows; returns the file of refusals."""
    refused = tmp_path / "refused.txt"
    inherited = [path for path in [os.environ.get("PYTHONPATH")] if path]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(AS_WINDOWS), *inherited]))
    monkeypatch.setenv("AS_WINDOWS_LOG", str(refused))
    monkeypatch.setenv("AS_WINDOWS_ROOT", str(tmp_path))
    return refused


def run(words: Sequence[Sequence[str]]) -> list[tuple[int, str, str]]:
    # a session of its own: files that its processes hold are what Windows would not let go
    done = subprocess.run(
        [sys.executable, "-c", VERBS, json.dumps(words)],
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
    )
    assert done.returncode == 0, done.stderr
    return [(code, out, err) for code, out, err in json.loads(done.stdout)]


@pytest.mark.slow
def test_every_verb_works(windows: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    monkeypatch.setenv("SEEDWISE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "kernels").symlink_to((cache / "kernels").resolve())
    Image.new("RGB", (8, 8)).save("zero.png")
    for words, (code, out, err) in zip(WORK, run(WORK), strict=True):
        assert code == 0 and "Traceback" not in err, (words, out[-800:], err[-3000:])
    assert not windows.exists(), windows.read_text(encoding="utf-8")


def test_ctrl_c_stops_trials_at_their_next_step(windows: Path, tmp_path: Path) -> None:
    """Windows has no signal that a child could heed: the study tells its trials through a pipe."""
    words = [*LEAN, "--seeds", "2", "-j", "2", "--toggle", "color_jitter", "-o", "study", "-s", "train.epochs=2000"]
    with subprocess.Popen(
        command("ablate", *words), stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stderr is not None
        deadline = time.monotonic() + 100
        while len(list(Path("study").glob("runs/*/*/checkpoint.json"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        os.kill(process.pid, signal.SIGINT)
        err = process.stderr.read()
    assert process.returncode == 130 and "go on with: seedwise resume study" in err, err
    records = [json.loads(path.read_text(encoding="utf-8")) for path in Path("study").glob("runs/*/*/record.json")]
    assert [record["status"] for record in records] == ["interrupted"] * 2
    assert not windows.exists(), windows.read_text(encoding="utf-8")
