"""Many processes that start the same at once: one trains, the others wait or say in one line that it does."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from forks import Ended, Forks, Order
from parts import PLAIN, TINY, Outcome, Soak, demand, place
from results import bits, differences, epochs_twice, runs_in

TAKEN = re.compile(r"another process is writing this folder( \(process \d+ on \S+\))?; wait for it, or stop it$")


@dataclass(frozen=True)
class Rush:
    """What all of them start."""

    arguments: Sequence[Any]
    out: str | None = "out"
    """The folder that all of them name; None: each makes its own."""


RUSHES = {
    "a study": Rush(("train", *PLAIN, "--seeds", "3,4", "-o", "out")),
    "a run": Rush(("train", *TINY, "--seed", 3, "-o", "out")),
    "a sweep": Rush(("sweep", *PLAIN, "-s", "optim.lr=1e-3,3e-3", "--seeds", "3,", "-o", "out")),
    "bagging": Rush(("train", *PLAIN, "--bagging", 2, "-o", "out")),
    "runs in folders of their own, on data that is decoded first": Rush(("train", *PLAIN, "--seed", 3), None),
}


def soak(session: Soak, processes: int, names: Sequence[str] = tuple(RUSHES)) -> Outcome:
    """So many processes start each of these at once."""
    outcome = Outcome(f"{processes} processes that start the same at once")

    def check(lane: Forks, _: int, name: str) -> None:
        one(lane, name, processes, outcome)

    session.each("crowd", names, check, outcome)
    return outcome


def one(lane: Forks, name: str, processes: int, into: Outcome) -> None:
    """A rush, and the same command once more, alone; against the same command that nobody disturbed."""
    rush = RUSHES[name]
    with place() as folder:
        quiet = lane.run(Order(folder, rush.arguments))
        demand(quiet.code == 0, f"{name}, undisturbed: {quiet}")
        (expected,) = [folder / rush.out] if rush.out else list((folder / "runs").iterdir())
        known = bits(expected)
    with place() as folder:
        ended = lane.crowd([Order(folder, rush.arguments)] * processes)
        words = Counter(map(_word, ended))
        into.count(name, "processes", number=processes)
        for word, number in words.items():
            into.count(name, word, number=number)
        wrong = next((each for each in ended if _word(each) == "neither"), None)
        demand(wrong is None, f"{name}: {wrong}")
        if rush.out is None:
            found = sorted((folder / "runs").iterdir())
            demand(len(found) == processes == words["done"], f"{name}: {len(found)} folders, {words}")
        else:
            demand(words["done"], f"{name}: none of them did it")
            again = lane.run(Order(folder, rush.arguments))
            demand(again.code == 0, f"{name}, again: {again}")
            found = [folder / rush.out]
        for out in found:
            demand(bits(out) == known, f"{name}: {out.name}: {differences(known, bits(out))}")
            demand(not epochs_twice(out), f"{name}: {epochs_twice(out)}")
            for run in runs_in(out):
                times = (run / "train.log").read_text().count(" finished: ")
                demand(times == 1, f"{name}: {run.name} was trained {times} times")
        into.count(name, "trained once, with the same bits")


def _word(ended: Ended) -> str:
    if ended.code == 0 and "Traceback" not in ended.err:
        return "done"
    line = ended.err.strip()
    return "told to wait, in one line" if ended.code == 2 and TAKEN.search(line) and "\n" not in line else "neither"
