"""A clock that is set back, and files from the future: the same bits, no negative time, nothing overwritten."""

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from bad_input import clock_runs_backwards, from_the_future
from command_line import LEAN, TINY, Cli

from seedwise.base.files import sha256_of
from seedwise.data.config import DataConfig
from seedwise.data.open import open_data


def record_of(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "record.json").read_text())
    return content


def demand_same_run(run: Path, whole: Path) -> None:
    for name in ("model.safetensors", "predictions.npz"):
        assert sha256_of(run / name) == sha256_of(whole / name)
    record = record_of(run)
    times = [*record["seconds"].values(), *(row["seconds"] for row in record["epochs"])]
    assert min(times) >= 0 and max(times) < 600
    assert record["images_per_second"] > 0 and all(row["images_per_second"] > 0 for row in record["epochs"])


def test_a_run_while_the_clock_goes_back(
    cli: Cli, whole_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock_runs_backwards(monkeypatch)
    answer = cli("train", *LEAN, "-o", "run")
    assert answer.code == 0 and "-" not in answer.out.split("images/s")[0].rpartition("seed")[2]
    demand_same_run(tmp_path / "run", whole_once)


def test_resume_before_the_run_began(
    cli: Cli, whole_once: Path, halfway_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(shutil.copytree(halfway_once, tmp_path / "run"))
    from_the_future(run)
    clock_runs_backwards(monkeypatch, begin=1e9)
    assert cli("resume", run).code == 0
    demand_same_run(run, whole_once)
    before = cli("resume", run)
    assert before.code == 0 and before.out.endswith(f"files: {run}\n")


def test_default_folders_never_meet(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is set back to the very second of an earlier run."""
    monkeypatch.setattr(time, "strftime", lambda form, *at: "20261124-120000")
    fast = (*TINY, "-s", "data.limit=40", "-s", "data.val=20", "-s", "data.test=20")
    made = []
    for _ in range(3):
        answer = cli("train", "digits", *fast)
        made.append(Path(answer.out.splitlines()[-1].removeprefix("files: ")))
        assert answer.code == 0
        hashes = [sha256_of(run / "record.json") for run in made]
    assert [run.name for run in made] == [f"digits-demo-20261124-120000{end}" for end in ("", "-2", "-3")]
    assert [sha256_of(run / "record.json") for run in made] == hashes
    assert cli("train", "digits", *fast, "-s", "data.limit=3").code == 2
    assert sorted(Path("runs").iterdir()) == sorted(made)


def test_a_cache_from_the_future_is_used_and_a_file_set_back_is_noticed(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEEDWISE_CACHE", str(tmp_path / "cache"))
    clock_runs_backwards(monkeypatch)
    seen: list[str] = []

    def opened() -> str:
        seen.clear()
        report = lambda label, done, total: seen.append(label)  # noqa: E731
        return open_data(str(photos), DataConfig(), short_side=16, progress=report).fingerprint

    first = opened()
    assert seen
    from_the_future(tmp_path / "cache")
    assert opened() == first and not seen
    os.utime(next(photos.rglob("*.png")), (1, 1))
    assert opened() == first and seen


def test_a_lock_from_the_future_holds_nobody_up(cli: Cli, halfway_once: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(halfway_once, tmp_path / "run"))
    (run / ".lock").write_text("1")
    from_the_future(run)
    assert cli("resume", run).code == 0
