"""Live progress, and signals that stop a run in an orderly way."""

import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import FrameType

from rich.console import Console

from seedwise import cli
from seedwise.base import machine
from seedwise.base.errors import Interrupted, UserError
from seedwise.base.files import discard
from seedwise.cli.live import Live, Pace, describe, left_in_words, reached
from seedwise.cli.settled import saying_nothing_trained
from seedwise.engine.control import RunControl
from seedwise.engine.protocols import Observer
from seedwise.records.run import BAGGING, RECORD, STUDY, EpochRow

PLAIN_SECONDS = 10.0
"""Least seconds between two lines of running loss when the output is not a terminal."""


@contextmanager
def watching(folder: Path) -> Iterator[RunControl]:
    """A RunControl that shows progress on stderr and stops at Ctrl-C or SIGTERM; says how to continue, or that nothing
    was left to do."""
    stop = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt  # asked twice: at once, back to the last checkpoint
        stop.set()

    alone = threading.current_thread() is threading.main_thread()  # no other may have signals
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM) if alone}
    try:
        with saying_nothing_trained(folder), _on_stderr() as observer:
            yield RunControl(observer, stop.is_set, cli.BEGAN)
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
    """The command that continues the work of a folder."""
    began = any((folder / name).exists() for name in (RECORD, STUDY, BAGGING))
    return f"seedwise resume {shlex.quote(str(folder))}" if began else "the same command; nothing is lost"


@contextmanager
def phases() -> Iterator[Callable[[str, int, int], None]]:
    """A progress callback for long work that leaves nothing half done: shown on stderr, and ended at once by Ctrl-C."""
    with _on_stderr() as observer:
        yield observer.on_phase


def _on_stderr() -> AbstractContextManager[Observer]:
    """What shows progress: a bar on a terminal, lines elsewhere, nothing in the other processes of torchrun."""
    if machine.rank():
        return nullcontext(Observer())
    console = Console(stderr=True, highlight=False)
    return Live(console) if console.is_terminal else nullcontext(_Plain())


class _Plain(Observer):
    """An observer that prints lines, for logs and pipes."""

    def __init__(self) -> None:
        self._shown = time.monotonic()
        self._total, self._pace = 0, Pace(0, 0)
        self._said: list[str] = []

    def on_data(self, lines: Sequence[str]) -> None:
        if lines != self._said[: len(lines)]:  # the runs of a study have the same data
            self._said = list(lines)
            _line("\n".join(lines))

    def on_start(self, epochs: int, steps_per_epoch: int, steps_done: int) -> None:
        self._total = epochs * steps_per_epoch
        self._pace = Pace(self._total, steps_done)
        if steps_done:
            _line(f"resuming at step {steps_done} of {self._total}")

    def on_step(self, epoch: int, step: int, loss: float, top1: float, images_per_second: float) -> None:
        self._pace.reach(step)
        if time.monotonic() - self._shown >= PLAIN_SECONDS:
            self._shown = time.monotonic()
            rate = f"{images_per_second:.0f} images/s, {left_in_words(self._pace.seconds_left())}"
            _line(f"epoch {epoch}  step {step}/{self._total}  loss {loss:.3f}  top-1 {top1:.3f}  {rate}")

    def on_epoch(self, row: EpochRow, rows: Sequence[EpochRow]) -> None:
        self._shown = time.monotonic()
        _line(describe(row))

    def on_phase(self, name: str, done: int, total: int) -> None:
        if time.monotonic() - self._shown >= PLAIN_SECONDS:
            self._shown = time.monotonic()
            _line(f"{name} {reached(name, done, total)}".rstrip())


def _line(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
