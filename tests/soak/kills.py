"""kill -9 at random moments, in time and inside of writes; the same command or `resume` then completes the work."""

import shutil
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from forks import Ended, Forks, Order, killed
from hooks import DEATHS
from parts import PLAIN, TINY, Outcome, Soak, demand, place
from results import bits, checkpoints, differences, epochs_twice, finished
from torchrun import Pair

OUT = "out"
RESUMABLE = ("record.json", "study.json", "bagging.json")
MOST = 3
"""Kills of one and the same work."""


@dataclass(frozen=True)
class Work:
    """What is killed."""

    arguments: Sequence[Any]
    share: int
    """Of a hundred kills."""
    processes: int = 1
    """Under torchrun, if two."""
    threads_of_its_own: bool = False
    """Trials in processes of their own, which end a moment after the one that is killed."""


WORKS = {
    "a run": Work(("train", *TINY, "--seed", 3, "-s", "optim.ema=default", "-o", OUT), 25),
    "a study": Work(("train", *PLAIN, "--seeds", "3,4", "-o", OUT), 25),
    "a sweep": Work(("sweep", *PLAIN, "-s", "optim.lr=1e-3,3e-3", "--seeds", "3,", "-o", OUT), 20),
    "a sweep, two trials at once": Work(
        ("sweep", *PLAIN, "-s", "optim.lr=1e-3,3e-3", "--seeds", "3,", "-j", 2, "-o", OUT), 5, threads_of_its_own=True
    ),
    "bagging": Work(("train", *PLAIN, "--bagging", 2, "-o", OUT), 15),
    "a run of two processes": Work(("train", *PLAIN, "--seed", 3, "-o", OUT), 10, processes=2),
}


@dataclass(frozen=True)
class Whole:
    """What undisturbed work comes to."""

    bits: dict[str, str]
    seconds: float
    calls: int
    """That write."""


def soak(session: Soak, kills: int, works: Sequence[str] = tuple(WORKS)) -> Outcome:
    """So many kills of these works."""
    outcome = Outcome("kill -9 at random moments; then the same command, or `seedwise resume`")
    wholes = {name: whole(session, name) for name in works}
    total = sum(WORKS[name].share for name in works)
    cases: list[tuple[str, int]] = []
    for name in works:
        left = max(1, round(kills * WORKS[name].share / total))
        draws = session.random("kills", name)
        while left:
            cases.append((name, count := draws.randint(1, min(MOST, left))))
            left -= count

    def check(lane: Forks, number: int, case: tuple[str, int]) -> None:
        with place() as folder:
            one(session, lane, number, *case, wholes[case[0]], folder, outcome)

    session.each("kills", cases, check, outcome)
    return outcome


def whole(session: Soak, name: str) -> Whole:
    """The work without any kill, twice: the second time with its calls counted, and to see that it repeats itself."""
    found = []
    for plan in (None, {}):
        with place() as folder:
            ended = start(session, session.lanes[0], WORKS[name], folder, plan)
            demand(ended.code == 0, f"{name}, undisturbed: {ended}")
            calls = ended.notes.get("calls", [])
            found.append(Whole(bits(folder / OUT), ended.seconds, calls if isinstance(calls, int) else len(calls)))
    demand(found[0].bits == found[1].bits, f"{name}, undisturbed twice: {differences(found[0].bits, found[1].bits)}")
    return found[1]


def start(
    session: Soak, lane: Forks, work: Work, folder: Path, plan: Any, *, resume: bool = False, after: float | None = None
) -> Ended:
    """Do the work, or complete it; kill -9 after so many seconds."""
    arguments = ("resume", OUT) if resume else work.arguments
    if work.processes > 1:
        return Pair(session.shim, folder, arguments, plan).run(after)
    order = Order(folder, arguments, plan=plan)
    return lane.run(order, lambda pid: None if after is None else killed(pid, after))


def one(
    session: Soak, lane: Forks, number: int, name: str, kills: int, known: Whole, folder: Path, into: Outcome
) -> None:
    """Kill a work several times, then let it complete."""
    draws, work, out = session.random("kills", number, name), WORKS[name], folder / OUT
    story: list[str] = []
    done = 0
    for _ in range(20 * kills):
        if done == kills:
            break
        resume = draws.random() < 0.5 and any((out / record).exists() for record in RESUMABLE)
        plan, after, words = moment(draws, known, work)
        before, steps = finished(out), checkpoints(out)
        story.append(f"{'resume' if resume else 'the command'}, killed {words}")
        ended = start(session, lane, work, folder, plan, resume=resume, after=after)
        if work.threads_of_its_own:
            time.sleep(1)
        demand_kept(f"{name}: {'; '.join(story)}", before, steps, ended, out)
        if ended.code == -signal.SIGKILL:
            done += 1
            into.count(name, "kills", "inside a write" if plan else "at a time")
        else:  # the moment came too late
            demand(ended.code == 0, f"{name}: {'; '.join(story)}: {ended}")
            shutil.rmtree(out)
            story.clear()
    resume = draws.random() < 0.5 and any((out / record).exists() for record in RESUMABLE)
    story.append("resume" if resume else "the command")
    before, steps = finished(out), checkpoints(out)
    ended = start(session, lane, work, folder, None, resume=resume)
    said = f"{name}: {'; '.join(story)}"
    demand(ended.code == 0 and "Traceback" not in ended.err, f"{said}: {ended}")
    demand_kept(said, before, steps, ended, out)
    if work.arguments[0] == "sweep" and resume:  # which trains what is missing; who won is the sweep's to say
        ended = start(session, lane, work, folder, None)
        demand(ended.code == 0, f"{said}; the command: {ended}")
    demand(bits(out) == known.bits, f"{said}: {differences(known.bits, bits(out))}")
    demand(not epochs_twice(out), f"{said}: {epochs_twice(out)}")
    into.count(name, "completed, with the same bits")
    into.count(name, "finished trials left alone", number=len(before))


def moment(draws: Random, known: Whole, work: Work) -> tuple[Any, float | None, str]:
    """The plan of a death inside a write, or seconds until the kill; and in words."""
    if known.calls and not work.threads_of_its_own and draws.random() < 0.6:
        number, death = draws.randint(1, known.calls), draws.choice(sorted(DEATHS))
        return {"death": death, "number": number}, None, f"at write {number} of {known.calls} ({death})"
    after = draws.uniform(0, known.seconds)
    return None, after, f"after {after:.2f} s of {known.seconds:.2f}"


def demand_kept(
    said: str, before: dict[Path, tuple[int, int]], steps: dict[Path, int], ended: Ended, out: Path
) -> None:
    """Raise Failed unless runs that were finished are as they were, and the others went on from their checkpoints."""
    after = finished(out)
    for run, state in before.items():
        demand(after.get(run) == state, f"{said}: {run.name} was finished, and has been trained again")
    if ended.code == 0 and len(steps) == 1:
        (step,) = steps.values()
        demand(f"resuming at step {step} of" in ended.err, f"{said}: its checkpoint of step {step} was passed over")
