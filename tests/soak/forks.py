"""Processes that run `seedwise …`, forked from one that has imported everything: a start takes milliseconds.

Forking is what seedwise itself does for several trials at a time (seedwise.study.local_runner): the process that is
forked from has one thread and has computed nothing, so the bits are those of a process of its own.
"""

import contextlib
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
HELPERS = [HERE, *(HERE.parent / name for name in ("integration", "property", "unit")), HERE.parents[1] / "src"]
"""What the processes import: this folder, what the test suite has for the same purposes, and this seedwise."""


@dataclass(frozen=True)
class Order:
    """What one process does."""

    place: Path
    """Where it stands; its cache is `cache` in there, and calls that write below it are watched."""
    arguments: Sequence[Any] = ()
    """Of `seedwise`."""
    call: tuple[str, str, dict[str, Any]] | None = None
    """Instead of a command line: module, function and named arguments (as JSON)."""
    plan: Mapping[str, Any] | None = None
    """What is disturbed, as in `hooks.Watcher`; None watches nothing."""
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ended:
    """How it went."""

    code: int
    """Negative: the signal that ended it."""
    out: str
    err: str
    seconds: float
    notes: dict[str, Any]
    """What the watcher saw: calls, hit, failed; and `returned` of a function."""

    def __str__(self) -> str:
        return f"exit code {self.code}, stdout {self.out[-300:]!r}, stderr {self.err[-1500:]!r}"


@contextlib.contextmanager
def shim() -> Iterator[Path]:
    """shim.c, compiled."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise SystemExit("soak: needs a C compiler (cc, or the variable CC)")
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder) / "shim.so"
        subprocess.run([compiler, "-O1", "-shared", "-fPIC", HERE / "shim.c", "-o", built, "-ldl"], check=True)
        yield built


def environment(shim: Path) -> dict[str, str]:
    """Of all processes: one thread, the shim, the helpers, and nothing of the user's that would change results."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SEEDWISE_", "SOAK_"))}
    paths = [*map(str, HELPERS), *filter(None, [kept.get("PYTHONPATH")])]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    quiet = {"OMP_WAIT_POLICY": "passive", "TERM": "dumb", "PYTHONPATH": os.pathsep.join(paths)}
    return kept | threads | quiet | {"LD_PRELOAD": str(shim)}


class Forks:
    """One process that is forked from, and the files that its children leave."""

    def __init__(self, shim: Path) -> None:
        self.plant = ""
        """A function of plants.py that each process calls first."""
        self._files = Path(tempfile.mkdtemp(prefix="soak-"))
        self._server = subprocess.Popen(
            [sys.executable, HERE / "forks.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env=environment(shim), text=True, bufsize=1,
        )  # fmt: skip

    def __enter__(self) -> "Forks":
        return self

    def __exit__(self, *error: object) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait()
        shutil.rmtree(self._files, ignore_errors=True)

    def run(self, order: Order, meanwhile: Callable[[int], None] = lambda pid: None) -> Ended:
        """One process; `meanwhile` gets its number, which is its process group's too."""
        return self.crowd([order], lambda pids: meanwhile(pids[0]))[0]

    def crowd(self, orders: Sequence[Order], meanwhile: Callable[[list[int]], None] = lambda pids: None) -> list[Ended]:
        """Processes that start at once."""
        began = time.monotonic()
        self._send([self._written(order, number) for number, order in enumerate(orders)])
        meanwhile(self._answer())
        codes = self._answer()
        return [self._ended(code, number, time.monotonic() - began) for number, code in enumerate(codes)]

    def _written(self, order: Order, number: int) -> dict[str, Any]:
        for file in self._files.glob(f"{number}.*"):
            file.unlink()
        return {
            "place": str(order.place),
            "arguments": [str(each) for each in order.arguments],
            "call": order.call,
            "plan": order.plan,
            "plant": self.plant,
            "variables": dict(order.variables),
            "files": str(self._files / str(number)),
        }

    def _ended(self, code: int, number: int, seconds: float) -> Ended:
        out, err = ((self._files / f"{number}.{name}").read_text(errors="replace") for name in ("out", "err"))
        notes = self._files / f"{number}.notes"
        return Ended(code, out, err, seconds, json.loads(notes.read_text()) if notes.exists() else {})

    def _send(self, message: Any) -> None:
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(message) + "\n")
        self._server.stdin.flush()

    def _answer(self) -> Any:
        assert self._server.stdout is not None
        line = self._server.stdout.readline()
        if not line:
            raise RuntimeError("the process that is forked from has died")
        return json.loads(line)


def serve() -> None:
    """The process that is forked from."""
    from seedwise.base.machine import prepare_process

    prepare_process()
    for name in (
        *("seedwise.study.preload", "seedwise.study.sweep", "seedwise.ensembles.bagging", "seedwise.cli.app", "hooks"),
        *(
            "seedwise.cli.progress",
            "seedwise.cli.print_run",
            "seedwise.cli.print_study",
            "seedwise.reports",
            "seedwise.run.report_images",
        ),
        *(
            "seedwise.reports.page",
            "seedwise.reports.run_page",
            "seedwise.reports.study_page",
            "seedwise.inference.evaluate",
        ),
        *(
            "seedwise.reports.ensemble_page",
            "seedwise.inference.predict",
            "seedwise.inference.training",
            "seedwise.inference.finished",
            "seedwise.study.compare",
            "seedwise.audits.check",
        ),
        *("scipy.stats", "jinja2", "pyarrow.parquet", "PIL.Image", "command_line", "seedwise.reports.audit_page"),
    ):
        importlib.import_module(name)
    for line in sys.stdin:
        pids = [_fork(order) for order in json.loads(line)]
        print(json.dumps(pids), flush=True)
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        print(json.dumps(codes), flush=True)


def _fork(order: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        files = Path(order["files"])
        for descriptor, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{files}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        code = _obey(order, Path(f"{files}.notes"))
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, AttributeError):
                stream.flush()
        os._exit(code)


def _obey(order: dict[str, Any], notes: Path) -> int:
    import hooks
    import plants

    if order["plant"]:
        getattr(plants, order["plant"])()
    place = Path(order["place"])
    os.chdir(place)
    os.environ.update({"SEEDWISE_CACHE": str(place / "cache"), **order["variables"]})
    watcher = None if order["plan"] is None else hooks.control(place, order["plan"])
    code, returned = 1, None
    try:
        if order["call"] is None:
            from command_line import call

            code = call(*order["arguments"])
        else:
            module, function, named = order["call"]
            code, returned = getattr(importlib.import_module(module), function)(**named)
    except Exception:
        traceback.print_exc()
    finally:
        hooks.leave()
    seen = {} if watcher is None else {"calls": watcher.calls, "hit": sorted(watcher.hit), "failed": watcher.failed}
    notes.write_text(json.dumps({**seen, "returned": returned}))
    return code


def killed(pid: int, seconds: float) -> None:
    """After so many seconds, kill -9 to the process and all that it started."""
    time.sleep(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


if __name__ == "__main__":
    serve()
