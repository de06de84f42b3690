"""A process that has imported what takes seconds, and forks `seedwise …` from there.

Forking is what seedwise itself does for several trials at a time (seedwise.study.local_runner): the process that is
forked from has one thread and has computed nothing, so the bits are those of a process of its own.
"""

import contextlib
import functools
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


class Warm:
    """It lives as long as the tests' own process."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._server = subprocess.Popen(
            [sys.executable, HERE / "warm.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=HERE
        )

    def run(self, arguments: Sequence[Any], die_at: int | None = None) -> tuple[int, str, str]:
        """Exit code (negative: the signal that ended it), stdout and stderr of `seedwise …` here, in this environment.

        `die_at`: an optimizer step after which the process is killed by kill -9.
        """
        assert self._server.stdin is not None and self._server.stdout is not None
        files = [f"{self._folder.name}/{name}" for name in ("out", "err")]
        order = {"arguments": [*map(str, arguments)], "die_at": die_at, "place": str(Path.cwd()), "files": files}
        self._server.stdin.write(json.dumps(order | {"environment": dict(os.environ)}) + "\n")
        self._server.stdin.flush()
        code = int(self._server.stdout.readline())
        out, err = (Path(file).read_text(encoding="utf-8", errors="replace") for file in files)
        return code, out, err


@functools.cache
def server() -> Warm:
    """The one of these tests."""
    return Warm()


def _serve() -> None:
    from seedwise.base.machine import prepare_process

    prepare_process()
    for name in ("seedwise.study.preload", "seedwise.cli.app", "seedwise.inference.training", "seedwise.reports"):
        importlib.import_module(name)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            _obey(json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _obey(order: dict[str, Any]) -> None:
    code = 70
    try:
        for descriptor, file in enumerate(order["files"], 1):
            os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(order["place"])
        os.environ.clear()
        os.environ.update(order["environment"])
        code = _call(order["arguments"], order["die_at"])
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(code)


def _call(arguments: list[str], die_at: int | None) -> int:
    from command_line import call

    from seedwise.cli import progress

    def on_step(self: object, epoch: int, step: int, *rest: float) -> None:
        if step == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    if die_at is not None:
        progress._Plain.on_step = on_step  # type: ignore[assignment]
    return call(*arguments)


if __name__ == "__main__":
    _serve()
