"""A thousand wrong files of each kind: never a traceback, a file elsewhere, or memory without end."""

import json
from dataclasses import replace
from pathlib import Path

from forks import Forks, Order
from kinds import KINDS
from parts import PLAIN, Outcome, Soak, demand, place
from results import checkpoints
from scenes import did

BATCH = 25
"""Files that one process reads: what one of them broke in it would be found by the next."""


def soak(session: Soak, count: int, kinds: tuple[str, ...] = tuple(KINDS)) -> Outcome:
    """So many files of each of these kinds."""
    outcome = Outcome("wrong files: cut, flipped, swapped, nested, with huge numbers and hostile names")
    with place() as template:
        if any(KINDS[kind].of_a_run for kind in kinds):
            prepare(session.lanes[0], template)
        numbers = [session.only] if session.only is not None else list(range(count))
        batches = [(kind, numbers[at : at + BATCH]) for kind in kinds for at in range(0, len(numbers), BATCH)]

        def check(lane: Forks, _: int, batch: tuple[str, list[int]]) -> None:
            one(session, lane, *batch, template, outcome)

        replace(session, only=None).each("mutants", batches, check, outcome)
    return outcome


def prepare(lane: Forks, folder: Path) -> None:
    """Sound folders: two finished runs, one that was killed, and a study."""
    plain = (*PLAIN, "-s", "optim.ema=default")
    did(lane, folder, "train", *plain, "--seed", 3, "-o", "run")
    did(lane, folder, "train", *plain, "--seed", 4, "-o", "other")
    did(lane, folder, "ablate", *PLAIN, "--toggle", "smoothing", "--seeds", "3,4", "-o", "study")
    did(lane, folder, "train", *PLAIN, "--bagging", 2, "-o", "bagging")
    killed = ("train", *plain, "--seed", 3, "-o", "stopped")
    ended = lane.run(Order(folder, killed, plan={"death": "after", "number": 250}))
    demand(ended.code == -9 and checkpoints(folder / "stopped"), f"to be killed: {ended}")


def one(session: Soak, lane: Forks, kind: str, numbers: list[int], template: Path, into: Outcome) -> None:
    """A batch; what kills the process that reads it is told by the last number that it printed."""
    left = list(numbers)
    while left:
        with place() as folder:
            named = {"kind": kind, "numbers": left, "seed": session.seed, "template": str(template)}
            ended = lane.run(Order(folder, call=("kinds", "batch", named)))
        results = ended.notes.get("returned") or [json.loads(line) for line in ended.out.splitlines()]
        for number, verdict, words, megabytes in results:
            into.count(kind, "files", verdict)
            with into._lock:
                row = into.rows[kind]
                row["most MB taken"] = max(row["most MB taken"], megabytes)
            if verdict == "wrong":
                into.fail(f"{kind} {number}: {words}\n    {repeat(session, kind, number)}")
        left = left[len(results) :]
        if left and ended.code != 0:
            into.count(kind, "files", "wrong")
            into.fail(f"{kind} {left[0]}: its reader died: {ended}\n    {repeat(session, kind, left[0])}")
            left = left[1:]


def repeat(session: Soak, kind: str, number: int) -> str:
    """The command for one file."""
    return f"repeat: python tests/soak mutants --seed {session.seed} --kinds {kind} --only {number}"
