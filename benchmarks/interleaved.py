"""Sides that take turns, each in a process of its own, one piece of work each: a busy neighbor meets all alike."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import IO, Any, Self, cast

Work = Callable[[], Any]


class Side:
    """A worker process that does one piece of work whenever it is asked, and answers in JSON."""

    def __init__(self, script: str, arguments: Sequence[object]) -> None:
        command = [sys.executable, script, *map(str, arguments)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, what: str) -> Any:
        """Have it done now; the answer."""
        stdin, stdout = cast("IO[str]", self.process.stdin), cast("IO[str]", self.process.stdout)
        stdin.write(f"{what}\n")
        stdin.flush()
        line = stdout.readline()
        if not line:
            sys.exit(f"a worker ended: {' '.join(map(str, self.process.args))}")  # type: ignore[arg-type]
        return json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Let the process go."""
        cast("IO[str]", self.process.stdin).close()
        self.process.wait()


def serve(works: dict[str, Work]) -> None:
    """The worker's life: a line names a piece of work, a line of JSON answers."""
    for line in sys.stdin:
        print(json.dumps(works[line.strip()]()), flush=True)


HOPELESS = 5.0
"""A side that takes this many times as long as the fastest has made its point after one turn."""


def alternate(
    sides: Mapping[str, Side], what: str, rounds: int, *, hopeless: float = HOPELESS
) -> dict[str, list[list[float]]]:
    """Every side's answers, turn by turn, each a list of seconds; a first turn warms up and is not counted."""
    for side in sides.values():
        side.ask(what)
    answers: dict[str, list[list[float]]] = {name: [] for name in sides}
    for turn in range(rounds):
        fastest = min((sum(times[0]) for times in answers.values() if times), default=0.0)
        for name, side in sides.items():
            if turn < 1 or sum(answers[name][0]) < hopeless * fastest:
                answers[name].append(side.ask(what))
    return answers


def spread(values: Sequence[float]) -> dict[str, float]:
    """Minimum, median and maximum."""
    return {"min": min(values), "median": median(values), "max": max(values)}


def ratios(slow: Sequence[float], fast: Sequence[float]) -> dict[str, float]:
    """How many times as long the first took, turn by turn."""
    return spread([a / b for a, b in zip(slow, fast, strict=False)])


def peak_bytes() -> int:
    """This process's largest resident memory so far."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
