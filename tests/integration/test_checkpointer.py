"""Progress is saved by time, by a thread, while the training goes on; and what goes wrong there is told."""

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from safetensors import SafetensorError
from test_loop import EPOCHS, STEPS_PER_EPOCH, Killed, Notes, demand_equal, no_fsync, outcome, prepare

from seedwise.base.errors import UserError
from seedwise.engine import checkpoint, checkpointer, loop
from seedwise.engine.loop import fit
from seedwise.engine.protocols import Observer

__all__ = ["no_fsync"]  # a fixture
SECONDS_A_STEP = 25.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock on which a step takes 25 seconds."""
    now = SimpleNamespace(seconds=0.0)
    step = loop.training_step

    def slow(*args: Any, **options: Any) -> Any:
        now.seconds += SECONDS_A_STEP
        return step(*args, **options)

    monkeypatch.setattr(loop, "training_step", slow)
    monkeypatch.setattr(checkpointer, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A write takes no time beside a step, as it does beside a minute."""

    class Thread(threading.Thread):
        def start(self) -> None:
            super().start()
            self.join()

    monkeypatch.setattr(checkpointer, "threading", SimpleNamespace(Thread=Thread))


def saved_steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps after which a checkpoint is written from now on."""
    steps: list[int] = []
    save = checkpoint.save

    def noting(folder: Path, step: int, *rest: Any) -> None:
        save(folder, step, *rest)
        steps.append(step)

    monkeypatch.setattr(checkpoint, "save", noting)
    return steps


@pytest.mark.parametrize(
    ("every", "steps"),
    [
        ("1m", [3, 6, 9, 9]),  # 75 s after the last one; the last is the training's end
        ("50s", [2, 4, 6, 8, 9]),
        ("1h", [9]),
        (2, [2, 3, 4, 6, 6, 8, 9]),  # by steps: every other one, and each epoch's end
    ],
)
@pytest.mark.usefixtures("clock", "at_once")
def test_when(every: str | int, steps: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = saved_steps(monkeypatch)
    fit(prepare(tmp_path, checkpoint_every=every), observer=Observer())
    assert saved == steps


@pytest.mark.usefixtures("clock", "at_once")
@pytest.mark.parametrize("kill_at", range(1, EPOCHS * STEPS_PER_EPOCH + 1))
def test_a_kill_loses_a_minute_at_most_and_no_bits(
    kill_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = prepare(tmp_path / "whole", select="best")
    expected = outcome(whole, fit(whole, observer=Observer()))
    step, calls = loop.training_step, 0

    def dying(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == kill_at:
            raise Killed
        return step(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "training_step", dying)
        with pytest.raises(Killed):
            fit(prepare(tmp_path / "run", select="best"), observer=Observer())
    again, notes = prepare(tmp_path / "run", select="best"), Notes()
    state = fit(again, observer=notes)
    assert (kill_at - 1 - notes.started[0][2]) * SECONDS_A_STEP < 60
    demand_equal(outcome(again, state), expected)


def test_the_training_goes_on_while_a_checkpoint_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer is held until a later step; what it writes is the step of which it was asked."""
    whole = prepare(tmp_path / "whole", checkpoint_every=1000)
    expected = outcome(whole, fit(whole, observer=Observer()))
    goes_on, write = threading.Event(), checkpoint.write_tensors

    def held(*args: Any) -> str:
        assert goes_on.wait(60)
        return write(*args)

    class Ends(Observer):
        def on_step(self, epoch: int, step: int, *rest: float) -> None:
            if step == 3:
                goes_on.set()

        def on_phase(self, name: str, done: int, total: int) -> None:
            raise Killed  # in the first validation, before the next checkpoint

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_tensors", held)
        patch.setattr(loop, "REPORT_SECONDS", 0.0)
        with pytest.raises(Killed):
            fit(prepare(tmp_path / "run", checkpoint_every=2), observer=Ends())
    assert [thread for thread in threading.enumerate() if thread.name == "checkpoint"] == []
    again, notes = prepare(tmp_path / "run", checkpoint_every=1000), Notes()
    state = fit(again, observer=notes)
    assert notes.started[0][2] == 2
    demand_equal(outcome(again, state), expected)


def test_nothing_is_due_while_one_is_being_written(
    clock: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk slower than the training is not made to fall behind further and further."""
    goes_on, write, begun = threading.Event(), checkpoint.write_tensors, []

    def held(path: Path, *rest: Any) -> str:
        begun.append(path)
        assert goes_on.wait(60)
        return write(path, *rest)

    class Ends(Observer):
        def on_step(self, epoch: int, step: int, *rest: float) -> None:
            if step == EPOCHS * STEPS_PER_EPOCH:
                assert len(begun) == 1
                goes_on.set()

    monkeypatch.setattr(checkpoint, "write_tensors", held)
    fit(prepare(tmp_path, checkpoint_every="25s", val=False), observer=Ends())
    assert clock.seconds == EPOCHS * STEPS_PER_EPOCH * SECONDS_A_STEP


@pytest.mark.parametrize("number", [1, 2, 5])
def test_a_full_disk_is_told_and_loses_nothing_that_was_saved(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = prepare(tmp_path / "whole")
    expected = outcome(whole, fit(whole, observer=Observer()))
    save_file, calls = checkpoint.save_file, 0

    def full(*args: Any, **options: Any) -> None:
        nonlocal calls
        calls += 1
        if calls >= number:
            raise SafetensorError("I/O error: No space left on device (os error 28)")
        save_file(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", full)
        with pytest.raises(UserError, match=r"No space left on device .*; free some space and resume"):
            fit(prepare(tmp_path / "run", checkpoint_every=1), observer=Observer())
    again = prepare(tmp_path / "run")
    demand_equal(outcome(again, fit(again, observer=Observer())), expected)
