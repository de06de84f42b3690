"""The one loop over a study's trials: which is next, what a failure means, and when time is up. No torch."""

import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from seedwise.base.errors import UserError
from seedwise.base.machine import says_out_of_memory

if TYPE_CHECKING:
    from seedwise.study.trial import Task  # imports torch

ATTEMPTS = 2
"""Number of attempts at a trial that fails, other than for want of memory: there it would fail again."""


@dataclass(frozen=True)
class TrialResult:
    """A trial that has ended."""

    task: "Task"
    error: str | None = None
    began: bool = True
    """False where it could not begin, for a reason that would stop the others too."""


class Runner(Protocol):
    """Runs trials somewhere, up to `slots` at a time."""

    slots: int

    def start(self, task: "Task") -> None:
        """Begin a trial; called while fewer than `slots` are running."""

    def wait(self) -> TrialResult:
        """Wait for one to end. Raises Interrupted when the user asks to stop: none is running then."""

    def close(self) -> None:
        """Stop all running trials at once."""


@dataclass
class Budget:
    """Time for a study's trials, which decides whether another seed is begun."""

    seconds: float | None
    """Wall seconds; None: unlimited."""
    measured: dict[str, list[float]] = field(default_factory=dict)
    """Wall seconds of trials, by arm."""
    began: float = field(default_factory=time.monotonic)

    def fits(self, arms: Sequence[str], slots: int) -> bool:
        """Whether trials of these arms, `slots` at a time, would end in time; True while nothing was measured."""
        times = [seconds for of in self.measured.values() for seconds in of]
        if self.seconds is None or not times:
            return True
        needed = 0.0
        for arm in arms:
            own = self.measured.get(arm) or times
            needed += sum(own) / len(own)
        return time.monotonic() - self.began + needed / min(slots, len(arms)) <= self.seconds


@dataclass(frozen=True)
class Report:
    """Failures and omissions of a study's trials."""

    failures: list[str]
    """Last error of each trial that failed for good."""
    left: int
    """Trials not begun for lack of time."""


def run_all(
    tasks: Mapping[int, Sequence["Task"]],
    runner: Runner,
    budget: Budget,
    *,
    open_seeds: Collection[int] = (),
    on_start: Callable[["Task"], None],
    on_end: Callable[["Task"], None],
) -> Report:
    """Run the trials, all of a seed before the next seed; a seed that would not fit is not begun, nor any after it.

    tasks: by seed. open_seeds: those of which some trials ended before, which are completed whatever time is left. A
    trial that fails for good is reported, and the others go on; one that can't even begin raises its UserError.
    """
    queue = deque(task for of_seed in tasks.values() for task in of_seed)
    entered, running = set(open_seeds), dict[str, tuple["Task", float]]()
    attempts, failures, left = Counter[str](), list[str](), 0
    try:
        while queue or running:
            while queue and len(running) < runner.slots:
                task = queue[0]
                arms = [each.arm for each in tasks[task.seed]]
                if task.seed not in entered and not budget.fits(arms, runner.slots):
                    if not running:
                        left = len(queue)
                        queue.clear()
                    break  # those that run may end sooner than it seems
                entered.add(task.seed)
                queue.popleft()
                on_start(task)
                running[str(task)] = task, time.monotonic()
                runner.start(task)
            if not running:
                break
            result = runner.wait()
            task, began = running.pop(str(result.task))
            if result.error is None:
                budget.measured.setdefault(task.arm, []).append(time.monotonic() - began)
            on_end(task)
            if result.error is not None and not result.began:
                raise UserError(result.error)
            attempts[str(task)] += 1
            if result.error is None:
                continue
            if attempts[str(task)] < ATTEMPTS and not says_out_of_memory(result.error):
                queue.appendleft(task)
            else:
                failures.append(f"{task}: {result.error}")
        return Report(failures, left)
    finally:
        runner.close()
