"""A progress bar on the terminal: one line that always fits, with the time left at its end."""

import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.progress import Progress, ProgressColumn, Task, TaskID
from rich.text import Text

from seedwise.base.durations import clock
from seedwise.engine.protocols import Observer
from seedwise.records.run import EpochRow

BAR, LONGEST_NAME = 16, 34
"""Widths in characters of the bar, and of a phase's name."""


class Pace:
    """Estimates the time left from the pace since the beginning."""

    def __init__(self, total: int, done: int) -> None:
        self._total, self._first, self._done = total, done, done
        self._began = self._at = time.monotonic()

    def reach(self, done: int) -> None:
        """Set how much is done now."""
        self._done, self._at = done, time.monotonic()

    def seconds_left(self) -> float | None:
        """Seconds left, minus those since the last step; None before the first and after the last."""
        if not self._first < self._done < self._total:
            return None
        each = (self._at - self._began) / (self._done - self._first)
        return max(0.0, each * (self._total - self._done) - (time.monotonic() - self._at))


def left_in_words(seconds: float | None) -> str:
    """The time left: `0:01:23 left`; empty while unknown."""
    return "" if seconds is None else f"{clock(seconds)} left"


class Live(Observer):
    """An observer that shows a run on a terminal: finished epochs as lines, and a bar below until all is done."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(_Line(console), console=console, transient=True)
        self._total = 0
        self._said: list[str] = []
        self._train: TaskID | None = None
        self._phase: TaskID | None = None
        self._pace = Pace(0, 0)

    def __enter__(self) -> "Live":
        self._progress.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._progress.stop()

    def on_data(self, lines: Sequence[str]) -> None:
        """Print the description of the data, once."""
        self._drop_phase()
        if lines != self._said[: len(lines)]:  # the runs of a study have the same data
            self._said = list(lines)
            self._progress.console.print("\n".join(lines), markup=False, soft_wrap=True)

    def on_start(self, epochs: int, steps_per_epoch: int, steps_done: int) -> None:
        """Start a bar."""
        self._drop_phase()
        if self._train is not None:
            self._progress.remove_task(self._train)
        self._total = epochs * steps_per_epoch
        self._pace = Pace(self._total, steps_done)
        done = f"{steps_done}/{self._total}"
        self._train = self._progress.add_task(
            "training", total=self._total, completed=steps_done, done=done, notes=[], pace=self._pace
        )

    def on_step(self, epoch: int, step: int, loss: float, top1: float, images_per_second: float) -> None:
        """Advance the bar."""
        self._drop_phase()
        if self._train is not None:
            self._pace.reach(step)
            notes = [f"epoch {epoch}", f"top-1 {top1:.3f}", f"loss {loss:.3f}", f"{images_per_second:.0f} images/s"]
            self._progress.update(self._train, completed=step, done=f"{step}/{self._total}", notes=notes)

    def on_epoch(self, row: EpochRow, rows: Sequence[EpochRow]) -> None:
        """Print a line above the bar."""
        self._drop_phase()
        self._progress.console.print(describe(row), markup=False)

    def on_phase(self, name: str, done: int, total: int) -> None:
        """Show a second bar until training goes on."""
        if self._phase is None:
            self._phase = self._progress.add_task(name, total=total, done="", notes=[], pace=None)
        words = reached(name, done, total)
        self._progress.update(self._phase, description=name, completed=done, total=total, done=words)

    def _drop_phase(self) -> None:
        if self._phase is not None:
            self._progress.remove_task(self._phase)
            self._phase = None


class _Line(ProgressColumn):
    """Renders a task in one line; drops what doesn't fit, the least telling first, the time left last."""

    def __init__(self, console: Console) -> None:
        self._console = console
        super().__init__()

    def render(self, task: Task) -> Text:
        """Name, bar, steps, scores of the epoch so far, and the time left."""
        name = task.description if len(task.description) <= LONGEST_NAME else task.description[: LONGEST_NAME - 1] + "…"
        pace: Pace | None = task.fields["pace"]
        left, notes = left_in_words(pace.seconds_left() if pace else None), list(task.fields["notes"])
        width, bar = self._console.width - 1, BAR

        def parts() -> list[str]:
            return [part for part in (name, "━" * bar, task.fields["done"], *notes, left) if part]

        while len("  ".join(parts())) > width and (notes or bar):
            if notes:
                notes.pop()
            else:
                bar = 0
        whole = "  ".join(parts())
        room = width - len(left) - 2  # a very narrow terminal cuts the rest
        text = Text(whole if len(whole) <= width else f"{whole[:room]}  {left}", no_wrap=True, overflow="crop")
        if bar and len(whole) <= width:
            begins = len(name) + 2
            filled = begins + round(bar * (task.completed / task.total if task.total else 0))
            text.stylize("bar.complete", begins, filled)
            text.stylize("bar.back", filled, begins + bar)
            if self._console.no_color or self._console.color_system is None:
                text = Text(whole[:filled] + "─" * (begins + bar - filled) + whole[begins + bar :], no_wrap=True)
        return text


def reached(phase: str, done: int, total: int) -> str:
    """Progress of a phase: `120/2062`; empty for one without parts."""
    return "" if total <= 1 else f"{amount(phase, done)}/{amount(phase, total)}"


def amount(phase: str, number: int) -> str:
    """Progress of a phase in its unit: bytes for downloads, else images."""
    return f"{number / 1e6:.1f} MB" if phase.startswith("downloading") else str(number)


def describe(row: EpochRow) -> str:
    """An epoch's scores in a line."""
    val = "" if row.val is None else f"  val loss {row.val.loss:.3f} top-1 {row.val.top1:.4f}"
    speed = f"{row.images_per_second:.0f} images/s"
    return f"epoch {row.epoch:>3}  loss {row.train_loss:.3f} top-1 {row.train_top1_mixed:.3f}{val}  {speed}"
