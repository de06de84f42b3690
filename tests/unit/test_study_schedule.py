"""The order of trials, retries, and the budget: on a runner that only pretends, with a clock of its own."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from seedwise.base.errors import UserError
from seedwise.study import schedule
from seedwise.study.schedule import Budget, Report, TrialResult, run_all


@dataclass(frozen=True)
class Task:
    arm: str
    seed: int

    def __str__(self) -> str:
        return f"{self.arm}, seed {self.seed}"


@dataclass
class Pretended:
    """Each trial takes a minute of `clock`; those in `fails` fail so many times."""

    slots: int = 1
    fails: dict[str, int] = field(default_factory=dict)
    began: bool = True
    clock: float = 0.0
    running: list[Any] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    closed: int = 0
    error: str = "it broke"

    def start(self, task: Any) -> None:
        assert len(self.running) < self.slots
        self.running.append(task)
        self.log.append(str(task))

    def wait(self) -> TrialResult:
        task = self.running.pop(0)
        self.clock += 60 / self.slots
        left = self.fails.get(str(task), 0)
        self.fails[str(task)] = left - 1
        return TrialResult(task, self.error if left > 0 else None, self.began)

    def close(self) -> None:
        self.closed += 1


def go(runner: Pretended, monkeypatch: pytest.MonkeyPatch, seconds: float | None = None, **more: Any) -> Report:
    monkeypatch.setattr(schedule.time, "monotonic", lambda: runner.clock)
    tasks: Any = {seed: [Task(arm, seed) for arm in ("base", "x", "y")] for seed in (7, 8, 9)}
    report = run_all(
        tasks, runner, Budget(seconds, began=0.0, **more.pop("budget", {})), on_start=id, on_end=id, **more
    )
    assert runner.closed == 1
    return report


def test_all_arms_of_a_seed_come_before_the_next_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = Pretended(slots=2)
    assert go(runner, monkeypatch) == Report([], 0)
    assert [line.split()[-1] for line in runner.log] == ["7"] * 3 + ["8"] * 3 + ["9"] * 3


@pytest.mark.parametrize(("fails", "left"), [(1, []), (2, ["x, seed 8: it broke"])])
def test_a_failure_is_tried_once_more_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, fails: int, left: list[str]
) -> None:
    runner = Pretended(fails={"x, seed 8": fails})
    assert go(runner, monkeypatch) == Report(left, 0)
    assert runner.log.count("x, seed 8") == 2 and len(runner.log) == 10


def test_want_of_memory_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = Pretended(fails={"x, seed 8": 2}, error="run: out of memory (1 GiB more were wanted); lower it")
    assert go(runner, monkeypatch) == Report([f"x, seed 8: {runner.error}"], 0)
    assert len(runner.log) == 9


def test_what_keeps_a_trial_from_beginning_ends_the_study(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="it broke"):
        go(Pretended(fails={"base, seed 7": 1}, began=False), monkeypatch)


@pytest.mark.parametrize("slots", [1, 2, 3])
@pytest.mark.parametrize(("minutes", "seeds"), [(1, 1), (5.9, 1), (6.1, 2), (9.1, 3)])
def test_a_budget_stops_between_seeds(monkeypatch: pytest.MonkeyPatch, slots: int, minutes: float, seeds: int) -> None:
    runner = Pretended(slots=slots)
    report = go(runner, monkeypatch, 60 * minutes / slots)
    done = len(runner.log)
    assert done % 3 == 0 and report.left == 9 - done  # whenever it stops, all arms have the same seeds
    if slots == 1:
        assert done == 3 * seeds


def test_a_seed_that_was_begun_is_completed_whatever_time_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = Pretended()
    report = go(runner, monkeypatch, 1.0, open_seeds={7}, budget={"measured": {"base": [60.0]}})
    assert len(runner.log) == 3 and report.left == 6
