"""Runs trials on this machine: one after the other in this process, or several at once in processes of their own."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any

from seedwise.base.errors import Interrupted, UserError, in_words
from seedwise.base.machine import prepare_process
from seedwise.engine.control import RunControl
from seedwise.engine.protocols import Observer
from seedwise.records.run import RECORD, read_record
from seedwise.study.schedule import TrialResult
from seedwise.study.trial import RunTrial, Task, run_trial

POLL_SECONDS = 0.2
REPORT_SECONDS = 1.0
GRACE_SECONDS = 60.0
"""Seconds from asking a trial to stop to killing it; a step may be long, its checkpoint large."""


def _failed(task: Task, error: str) -> TrialResult:
    path = task.folder
    return TrialResult(task, error, began=(path / RECORD).exists() and read_record(path).status == "failed")


@dataclass
class InProcess:
    """A runner of one trial at a time, in this process."""

    control: RunControl
    run: RunTrial = run_trial
    slots: int = 1
    _next: list[Task] = field(default_factory=list)

    def start(self, task: Task) -> None:
        """Store the trial for `wait`."""
        self._next.append(task)

    def wait(self) -> TrialResult:
        """Run the trial."""
        task = self._next.pop()
        try:
            self.run(task, self.control)
        except Interrupted:
            raise
        except Exception as error:
            result = _failed(task, in_words(error))
            if not (result.began or isinstance(error, UserError)):
                raise
            return result
        return TrialResult(task)

    def close(self) -> None:
        """Do nothing: no trial runs between the calls."""


@dataclass
class _Running:
    task: Task
    gpu: str | None
    process: BaseProcess
    messages: Connection
    stop: Connection
    """What is sent there asks it to stop."""
    progress: float = 0.0
    result: tuple[str, str] | None = None
    """State (finished, failed or stopped) and error."""

    def end(self) -> None:
        """Wait for the process to be gone."""
        self.process.join()
        self.messages.close()
        self.stop.close()


@dataclass
class Processes:
    """A runner with a process for each trial, forked from one that has imported everything and computed nothing, or
    started anew where the system can't fork (Windows).

    Forking takes some milliseconds where starting Python with torch takes seconds, and every trial still begins in the
    same fresh state, so that its bits are those of the same trial alone. The forked-from process has one thread and has
    run no parallel region, which is what makes forking it safe.
    """

    control: RunControl
    slots: int
    threads: int
    """CPU threads for each trial."""
    total: int
    """Number of trials, for display."""
    run: RunTrial = run_trial
    gpus: Sequence[str] = ()
    """GPUs for trials on `cuda`, as CUDA_VISIBLE_DEVICES names them; more trials than GPUs share them."""
    _running: list[_Running] = field(default_factory=list)
    _result: int = 0

    def __post_init__(self) -> None:
        forks = "forkserver" in multiprocessing.get_all_start_methods()
        self._context: BaseContext = multiprocessing.get_context("forkserver" if forks else "spawn")
        threads = str(self.threads)
        self._variables = {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": threads}
        if forks:
            from multiprocessing import forkserver

            self._context.set_forkserver_preload(["seedwise.study.preload"])
            with _environment(self._variables):
                forkserver.ensure_running()

    def start(self, task: Task) -> None:
        """Start a process for the trial."""
        ours, theirs = self._context.Pipe(duplex=False)
        stopped, stop = self._context.Pipe(duplex=False)
        gpu = self._gpu() if self.gpus and task.recipe.compute.device == "cuda" else None
        work = (theirs, stopped, task, self.run, gpu)
        process: BaseProcess = self._context.Process(target=_work, args=work, name=str(task), daemon=False)  # type: ignore[attr-defined]
        with _without_main(), _environment(self._variables):  # a forking server has had them, and passes them on
            process.start()
        theirs.close()
        stopped.close()
        self._running.append(_Running(task, gpu, process, ours, stop))

    def _gpu(self) -> str:
        """The first GPU on which the fewest trials run."""
        used = [each.gpu for each in self._running]
        return min(self.gpus, key=used.count)

    def wait(self) -> TrialResult:
        """Wait for a trial to end, showing progress."""
        while True:
            if self.control.should_stop():
                self._stop()
                raise Interrupted("stopped")
            for each in self._heard():
                self._running.remove(each)
                self._result += 1
                each.end()
                state, error = each.result or ("died", _death(each.process.exitcode))
                if state == "finished":
                    return TrialResult(each.task)
                return _failed(each.task, error) if state == "failed" else TrialResult(each.task, error)
            parts = (f"{each.task} {each.progress:.0%}" for each in self._running)
            self.control.observer.on_phase(f"training {', '.join(parts)}; trials", self._result, self.total)

    def close(self) -> None:
        """Stop running trials as by Ctrl-C, and kill those that don't stop."""
        self._stop()

    def _heard(self) -> Iterator[_Running]:
        """Receive messages; yields the trials whose process has closed its end of the pipe."""
        ready = wait([each.messages for each in self._running], POLL_SECONDS)
        for each in list(self._running):
            if each.messages in ready:
                try:
                    word, value = each.messages.recv()
                except (EOFError, OSError):
                    yield each
                    continue
                if word == "progress":
                    each.progress = value
                else:
                    each.result = word, value

    def _stop(self) -> None:
        for each in self._running:
            with suppress(OSError):  # it has just ended
                each.stop.send(None)  # no signal: Windows's would kill it
        deadline = time.monotonic() + GRACE_SECONDS
        while self._running and time.monotonic() < deadline:
            for each in self._heard():
                self._running.remove(each)
                each.end()
        for each in self._running:
            each.process.kill()
            each.end()
        self._running.clear()


def _death(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        hint = (
            "; the system may have run out of memory" if exit_code == -9 else ""
        )  # SIGKILL, of which Windows has no name
        return f"its process was ended by {signal.Signals(-exit_code).name}{hint}"
    return f"its process ended with exit code {exit_code}"


_swapping = threading.Lock()
"""Held while `__main__` is replaced: studies in two threads would else restore each other's."""


@contextmanager
def _without_main() -> Iterator[None]:
    """Keep multiprocessing from running the program's own file again in each child process."""
    with _swapping:
        before = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = before


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


def _work(messages: Connection, stopped: Connection, task: Task, run: RunTrial, gpu: str | None = None) -> None:
    """Run a trial in its process, which sees no other GPU than its own."""
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # nothing has asked CUDA yet
    prepare_process()  # before torch, in a process that was not forked
    stop = threading.Event()
    _heed_parent(stopped, stop)
    signal.signal(signal.SIGTERM, lambda number, frame: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the parent passes it on
    try:
        run(task, RunControl(Reporter(lambda done: messages.send(("progress", done))), stop.is_set))
        result = ("finished", "")
    except Interrupted as error:
        result = ("stopped", str(error))
    except Exception as error:
        result = ("failed", in_words(error))
    messages.send(result)


def _heed_parent(stopped: Connection, stop: threading.Event) -> None:
    """Stop when the parent asks for it, and end this process as soon as it is gone, however it ended: nobody may write
    on.

    At once, as by kill -9, and not in an orderly way: who resumes the study finds its folders free, and a trial can
    always go on from its last checkpoint.
    """
    parent, server = multiprocessing.parent_process(), os.getppid()

    def control() -> None:
        watched: list[Any] = [stopped] if parent is None else [stopped, parent.sentinel]
        while os.getppid() == server:
            ready = wait(watched, POLL_SECONDS)
            if stopped in ready:
                stop.set()
                watched.remove(stopped)
            if parent is None or parent.sentinel in ready:
                break
        os._exit(1)

    threading.Thread(target=control, daemon=True).start()


class Reporter(Observer):
    """An observer that sends a trial's progress, a share of its steps in [0, 1], to the displaying process."""

    def __init__(self, send: Callable[[float], None], seconds: float = REPORT_SECONDS) -> None:
        self._send, self._seconds, self._steps, self._sent = send, seconds, 1, time.monotonic()

    def on_start(self, epochs: int, steps_per_epoch: int, steps_done: int) -> None:
        """Set the total number of steps."""
        self._steps = epochs * steps_per_epoch

    def on_step(self, epoch: int, step: int, loss: float, top1: float, images_per_second: float) -> None:
        """Send the progress, at most once in `seconds`."""
        if time.monotonic() - self._sent >= self._seconds:
            self._sent = time.monotonic()
            self._send(step / self._steps)
