"""`seedwise …` in this process, in one of its own, and in one that dies."""

import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import warm

TINY = (
    *("-m", "small", "-s", "data.limit=200", "--epochs", "1", "--img-size", "16", "-b", "64", "--threads", "1"),
    *("-s", "train.insight=false"),
)
"""A run of a second: four steps."""

LEAN = (
    *("digits", "-m", "small", "--epochs", "2", "--img-size", "16", "-b", "20", "--threads", "1", "--seed", "3"),
    *("-s", "data.limit=60", "-s", "data.val=20", "-s", "data.test=20", "-s", "train.checkpoint_every=1"),
    *("-s", "train.insight=false"),
)
"""A run, data included, of two epochs of three steps, with a checkpoint after each step."""


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """What is said about an error: a single line, and nothing on stdout."""
        assert self.out == "", self.out
        assert self.err.count("\n") == 1, self.err
        return self.err.strip()

    @property
    def last_line(self) -> str:
        """The same where a run had begun, which says what it trains on, and before it what takes long."""
        assert self.out == "" and any(" images in " in line for line in self.err.splitlines()), self
        return self.err.splitlines()[-1]


Cli = Callable[..., Answer]


def call(*arguments: Any) -> int:
    """`seedwise …` in this process; the exit code."""
    import seedwise.cli

    before = sys.argv
    sys.argv = ["seedwise", *map(str, arguments)]
    try:
        seedwise.cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    finally:
        sys.argv = before
    raise AssertionError("main() always exits")


def command(*arguments: Any) -> list[str]:
    """`seedwise …` as a process of its own."""
    return [sys.executable, "-c", "from seedwise.cli import main; main()", *map(str, arguments)]


def process(*arguments: Any) -> Answer:
    done = subprocess.run(command(*arguments), capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return Answer(done.returncode, done.stdout, done.stderr)


def forked(*arguments: Any) -> Answer:
    """`seedwise …` in a process that is forked from one that has imported everything."""
    answer = Answer(*warm.server().run(arguments))
    assert "Traceback" not in answer.err, answer.err
    return answer


def killed_at(step: int, *arguments: Any) -> None:
    """`seedwise …` in a process that dies by kill -9 right after an optimizer step."""
    code, _, err = warm.server().run(arguments, die_at=step)
    assert code == -signal.SIGKILL, err
