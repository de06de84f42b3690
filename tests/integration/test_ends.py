"""However a run ends, its record says so and train.log why; the same call afterwards completes it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from command_line import LEAN, Cli

import seedwise
from seedwise.base.errors import UserError
from seedwise.base.files import sole_writer
from seedwise.engine.control import RunControl
from seedwise.engine.protocols import Observer
from seedwise.recipe import library
from seedwise.records.run import EpochRow, read_record, write_record
from seedwise.run import train

RECIPE = library.read(
    "demo",
    [
        *("model.name=small", "train.epochs=2", "train.image_size=16", "train.batch_size=20", "compute.threads=1"),
        *("data.limit=60", "data.val=20", "data.test=20", "train.insight=false"),
    ],
)


class Raising(Observer):
    """An observer that ends the run after its first epoch."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def on_epoch(self, row: EpochRow, rows: Sequence[EpochRow]) -> None:
        raise self.error


NO_MEMORY = RuntimeError(
    "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1073741824 bytes. Error code 12"
)


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (KeyboardInterrupt(), "interrupted", "interrupted: KeyboardInterrupt"),
        pytest.param(SystemExit(3), "interrupted", "interrupted: SystemExit: 3", marks=pytest.mark.slow),
        (RuntimeError("a bug"), "failed", "failed: RuntimeError: a bug"),
        pytest.param(AssertionError(), "failed", "failed: AssertionError: AssertionError", marks=pytest.mark.slow),
        pytest.param(
            MemoryError(),
            "failed",
            "run: out of memory; train.batch_size=10 with train.accumulate=2 fits here",
            marks=pytest.mark.slow,
        ),
        (
            NO_MEMORY,
            "failed",
            "run: out of memory (1 GiB more were wanted); train.batch_size=10 with train.accumulate=2 fits",
        ),
    ],
)
def test_no_end_leaves_a_run_that_says_it_is_running(
    error: BaseException, status: str, words: str, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    with pytest.raises((type(error), UserError)):
        seedwise.train(RECIPE, "digits", out=folder, control=RunControl(Raising(error)))
    record = read_record(folder)
    assert (record.status, len(record.epochs)) == (status, 1)
    assert words in (folder / "train.log").read_text(encoding="utf-8")
    assert seedwise.train(RECIPE, "digits", out=folder).record.status == "finished"


def test_a_stop_when_all_is_written_takes_nothing_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(folder: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("seedwise.run.writer.checkpoint.clear", stop)
    with pytest.raises(KeyboardInterrupt):
        seedwise.train(RECIPE, "digits", out=tmp_path / "run")
    assert read_record(tmp_path / "run").status == "finished"


def test_what_never_began_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(train, "build_model", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        seedwise.train(RECIPE, "digits", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


OWN = """
from torch import nn

class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.layer, self.calls = nn.Linear(3 * 16 * 16, classes), 0

    def forward(self, images):
        self.calls += self.training
        if self.calls == 2:
            raise RuntimeError("my own bug")
        return self.layer(images.flatten(1))

def build(num_classes):
    return Net(num_classes)
"""


def test_a_users_network_that_raises_in_training_is_named(cli: Cli) -> None:
    Path("raising_net.py").write_text(OWN)
    settings = ("-s", "model.factory=raising_net:build", "-s", "compute.kernels=stock")
    arguments = ["digits", *LEAN[3:]]
    said = cli("train", *arguments, *settings, "-o", "run")
    assert said.code == 2
    assert said.last_line == (
        "model.factory raising_net:build: in training its network raised RuntimeError: my own bug (raising_net.py:12)"
    )
    assert read_record(Path("run")).status == "failed"
    assert "Traceback" in Path("run/train.log").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_bug_says_what_becomes_of_the_run(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("seedwise.run.train.outcome_of", fail)
    with pytest.raises(RuntimeError) as raised:
        cli("train", *LEAN, "-o", "run")
    assert raised.value.__notes__ == ["run: this should not happen, please report it; go on with: seedwise resume run"]
    assert read_record(Path("run")).status == "failed"
    status = cli("status", "run")
    assert status.out == "failed (why, says run/train.log), 2 epochs done; go on with: seedwise resume run\n"
    # A trial of a study that fails so is tried again, then reported, and the other trials go on.
    without_seed = [*LEAN[: LEAN.index("--seed")], *LEAN[LEAN.index("--seed") + 2 :]]
    study = cli("train", *without_seed, "--seeds", "3,4", "-o", "study")
    assert study.code == 2 and "RuntimeError: a bug" in study.err


def test_a_killed_run_is_told_from_one_that_runs(cli: Cli) -> None:
    assert cli("train", *LEAN, "-o", "run").code == 0
    assert cli("status", "run").out == "finished, 2 epochs done\n"
    record = read_record(Path("run"))
    record.status = "running"
    write_record(Path("run"), record)
    words = "broken off (it was killed, or the machine went down), 2 epochs done; go on with: seedwise resume run\n"
    assert cli("status", "run").out == words
    assert json.loads(cli("status", "run", "--json").out)["status"] == "broken off"
    with sole_writer(Path("run")):
        assert cli("status", "run").out == "running, 2 epochs done\n"
    resumed = cli("resume", "run")
    assert resumed.code == 0
    assert "run: had been broken off (killed, or the machine went down) and went on from its last" in resumed.err
