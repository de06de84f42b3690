"""Live progress, and the signals that stop a run in an orderly way."""

import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from seedwise import machine
from seedwise.engine.protocols import Silent
from seedwise.errors import Interrupted, UserError
from seedwise.files import discard
from seedwise.record import BAGGING, RECORD, STUDY, EpochRow
from seedwise.watch import Watch

PLAIN_SECONDS = 10.0
"""At most one line of running loss in this time when the output is not a terminal."""


@contextmanager
def watching(folder: Path) -> Iterator[Watch]:
    """A Watch that shows progress on stderr and stops at Ctrl-C or SIGTERM; how to go on is said with the stop."""
    stop = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt  # asked twice: at once, back to the last checkpoint
        stop.set()

    alone = threading.current_thread() is threading.main_thread()  # no other may have signals
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM) if alone}
    console = Console(stderr=True, highlight=False)
    observer = _Quiet() if machine.rank() else _Live(console) if console.is_terminal else _Plain()
    try:
        with observer:
            yield Watch(observer, stop.is_set)
    except (Interrupted, KeyboardInterrupt) as error:
        words = str(error) or "stopped at once, back to the last checkpoint"
        raise Interrupted(f"{words}; go on with: {_command(folder)}") from None
    except UserError:
        raise
    except Exception as error:
        error.add_note(f"{folder}: this should not happen, please report it; go on with: {_command(folder)}")
        raise
    finally:
        discard(folder)  # made for a run that could not begin
        for number, handler in before.items():
            signal.signal(number, handler)


def _command(folder: Path) -> str:
    """What goes on with the work of a folder."""
    began = any((folder / name).exists() for name in (RECORD, STUDY, BAGGING))
    return f"seedwise resume {shlex.quote(str(folder))}" if began else "the same command; nothing is lost"


@contextmanager
def phases() -> Iterator[Callable[[str, int, int], None]]:
    """A progress for long work that leaves nothing half done: it is shown on stderr, and Ctrl-C ends it at once."""
    console = Console(stderr=True, highlight=False)
    with _Live(console) if console.is_terminal else _Plain() as observer:
        yield observer.on_phase


class _Quiet(Silent):
    """The other processes of torchrun."""

    def __enter__(self) -> "_Quiet":
        return self

    def __exit__(self, *error: Any) -> None:
        pass


class _Plain:
    """Lines for logs and pipes."""

    def __init__(self) -> None:
        self._shown = self._began = time.monotonic()
        self._total = self._first = 0
        self._said: list[str] = []

    def __enter__(self) -> "_Plain":
        return self

    def __exit__(self, *error: Any) -> None:
        pass

    def on_data(self, lines: Sequence[str]) -> None:
        if lines != self._said[: len(lines)]:  # the runs of a study have the same data
            self._said = list(lines)
            _line("\n".join(lines))

    def on_start(self, epochs: int, steps_per_epoch: int, steps_done: int) -> None:
        self._total, self._first = epochs * steps_per_epoch, steps_done
        self._began = time.monotonic()
        if steps_done:
            _line(f"resuming at step {steps_done} of {self._total}")

    def on_step(self, epoch: int, step: int, loss: float, top1: float, images_per_second: float) -> None:
        if time.monotonic() - self._shown >= PLAIN_SECONDS:
            self._shown = time.monotonic()
            left = (self._shown - self._began) / (step - self._first) * (self._total - step)
            rate = f"{images_per_second:.0f} images/s, {timedelta(seconds=round(left))} left"
            _line(f"epoch {epoch}  step {step}/{self._total}  loss {loss:.3f}  top-1 {top1:.3f}  {rate}")

    def on_epoch(self, row: EpochRow, rows: Sequence[EpochRow]) -> None:
        self._shown = time.monotonic()
        _line(describe(row))

    def on_phase(self, name: str, done: int, total: int) -> None:
        if time.monotonic() - self._shown >= PLAIN_SECONDS:
            self._shown = time.monotonic()
            _line(f"{name} {amount(name, done)}/{amount(name, total)}")


class _Live:
    """A bar that moves, with finished epochs as lines above it."""

    def __init__(self, console: Console) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[done]}"),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self._progress = Progress(*columns, console=console)
        self._total = 0
        self._said: list[str] = []
        self._train: TaskID | None = None
        self._phase: TaskID | None = None

    def __enter__(self) -> "_Live":
        self._progress.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._progress.stop()

    def on_data(self, lines: Sequence[str]) -> None:
        self._drop_phase()
        if lines != self._said[: len(lines)]:
            self._said = list(lines)
            self._progress.console.print("\n".join(lines), markup=False, soft_wrap=True)

    def on_start(self, epochs: int, steps_per_epoch: int, steps_done: int) -> None:
        self._drop_phase()
        if self._train is not None:
            self._progress.remove_task(self._train)
        total = self._total = epochs * steps_per_epoch
        self._train = self._progress.add_task(
            "training", total=total, completed=steps_done, done=f"{steps_done}/{total}", note=""
        )

    def on_step(self, epoch: int, step: int, loss: float, top1: float, images_per_second: float) -> None:
        self._drop_phase()
        if self._train is not None:
            note = f"epoch {epoch}  loss {loss:.3f}  top-1 {top1:.3f}  {images_per_second:.0f} images/s"
            self._progress.update(self._train, completed=step, done=f"{step}/{self._total}", note=note)

    def on_epoch(self, row: EpochRow, rows: Sequence[EpochRow]) -> None:
        self._drop_phase()
        self._progress.console.print(describe(row), markup=False)

    def on_phase(self, name: str, done: int, total: int) -> None:
        if self._phase is None:
            self._phase = self._progress.add_task(name, total=total, done="", note="")
        words = f"{amount(name, done)}/{amount(name, total)}"
        self._progress.update(self._phase, description=name, completed=done, total=total, done=words)

    def _drop_phase(self) -> None:
        if self._phase is not None:
            self._progress.remove_task(self._phase)
            self._phase = None


def amount(phase: str, number: int) -> str:
    """A phase's progress in its unit: downloads count bytes, everything else images."""
    return f"{number / 1e6:.1f} MB" if phase.startswith("downloading") else str(number)


def describe(row: EpochRow) -> str:
    """An epoch in a line."""
    val = "" if row.val is None else f"  val loss {row.val.loss:.3f} top-1 {row.val.top1:.4f}"
    speed = f"{row.images_per_second:.0f} images/s"
    return f"epoch {row.epoch:>3}  loss {row.train_loss:.3f} top-1 {row.train_top1_mixed:.3f}{val}  {speed}"


def _line(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
