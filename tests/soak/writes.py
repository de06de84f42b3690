"""A disk that is full, read-only or closed to us at every line that writes: one line is said, and nothing is lost."""

import re
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from forks import Ended, Forks
from hooks import FAULTS, Place
from parts import Outcome, Soak, demand, place
from results import bits, differences
from scenes import SCENES, Scene
from sites import sites

PROGRESS = re.compile(
    r"(epoch +\d|\[\d+/\d+\] |resuming at step |left out, not finished: |no report: "
    r"|\d[\d,]* images? in |passed over: |doubt: |  |.*: had been broken off "  # what the run trains on
    r"|(decoding|scoring|looking|features|rates|downloading|reading|comparing|making|Grad).* \d+(\.\d MB)?/\d+)"
)
ADVICE = re.compile(r"free|clear |choose|give|set |check|delete|resume|try again|restore|put |are counted there")
TEMPORARY = re.compile(r"(^|/)\.[^/]+\.tmp$")
UNREACHED: Mapping[tuple[str, str], str] = {
    ("data/cache.py", "dump"): "its bytes leave with the flush in the next line",
    ("ensembles/bagging.py", "discard"): "the member that didn't begin has taken the folders above it along",
    ("study/execute.py", "discard"): "likewise, the trial",
    ("study/ray_runner.py", "write_text"): "Ray's: the token is a file like any other",
    ("study/ray_runner.py", "unlink"): "Ray's",
    ("study/ray_runner.py", "receive"): "Ray's: `a run from a node` calls it",
}
"""Lines that write and are not reached here, and why."""
FRAMES = 6
"""Lines that tell one way to a write from another."""


@dataclass(frozen=True)
class Fault:
    """One call of a scene that fails."""

    scene: str
    key: str
    kind: str
    number: int


def soak(session: Soak, kinds: int = 2, named: str = "") -> Outcome:
    """So many kinds of faults at each way to each write of the scenes whose names match.

    Of all scenes, a line that writes and was never met by a fault is a failure.
    """
    scenes = {name: scene for name, scene in SCENES.items() if re.search(named, name)}
    outcome = Outcome("a full, a read-only and a closed disk at every write; then the same command")
    with Templates(session.lanes[0], scenes) as templates:
        faults = _faults(session, templates, kinds)
        met: set[Place] = set()

        def check(lane: Forks, number: int, fault: Fault) -> None:
            met.update(one(lane, fault, templates, outcome))

        session.each("writes", faults, check, outcome)
    if not named and session.only is None:
        _demand_all(met, outcome)
    return outcome


class Templates:
    """The scenes' folders as they are before, each prepared once, and what the scenes come to undisturbed."""

    def __init__(self, lane: Forks, scenes: Mapping[str, Scene]) -> None:
        self.scenes = scenes
        self.calls: dict[str, Sequence[str]] = {}
        """By scene, the keys of its calls that write."""
        self.bits: dict[str, dict[str, str]] = {}
        self.out: dict[str, Ended] = {}
        self._lane, self._folders = lane, dict[str, Path]()

    def __enter__(self) -> "Templates":
        self._held = [place() for _ in self.scenes]
        for (name, scene), held in zip(self.scenes.items(), self._held, strict=True):
            self._folders[name] = folder = held.__enter__()
            scene.prepare(self._lane, folder)
            for _ in range(2):
                with place() as copy:
                    self.fill(name, copy)
                    ended = self._lane.run(scene.order(copy, {}))
                    demand(ended.code == scene.code, f"{name}, undisturbed: {ended}")
                    found = left(copy)
                    known = self.bits.setdefault(name, found)
                    demand(known == found, f"{name}, undisturbed twice: {differences(known, found)}")
                    self.calls[name] = ended.notes["calls"]
        return self

    def __exit__(self, *error: object) -> None:
        for held in self._held:
            held.__exit__(None, None, None)

    def fill(self, name: str, folder: Path) -> None:
        """Put a copy of the scene's folder there."""
        shutil.rmtree(folder)
        shutil.copytree(self._folders[name], folder, symlinks=True)
        self.scenes[name].arrive(folder)


def left(folder: Path) -> dict[str, str]:
    """What a command left, but for the cache, which may be deleted at any time."""
    return {name: digest for name, digest in bits(folder, folder).items() if not name.startswith("cache")}


def _faults(session: Soak, templates: Templates, kinds: int) -> list[Fault]:
    """For each way to each write, in one of the scenes that go it, a full disk and others."""
    ways: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for scene, calls in templates.calls.items():
        for key in dict.fromkeys(calls):
            if ".py:" in key:  # not a library's own file, which no line of ours has asked for
                ways[" ".join(key.split(" ")[: FRAMES + 1])].append((scene, key))
    faults = []
    for way in sorted(ways):
        draws = session.random("writes", way)
        others = draws.sample(sorted(set(FAULTS) - {"full"}), len(FAULTS) - 1)
        for kind in [draws.choice(sorted(FAULTS))] if kinds == 1 else ["full", *others][:kinds]:
            scene, key = draws.choice(ways[way])
            faults.append(Fault(scene, key, kind, draws.randint(1, templates.calls[scene].count(key))))
    return faults


def one(lane: Forks, fault: Fault, templates: Templates, into: Outcome) -> set[Place]:
    """Let a call fail, then do the same without; returns the lines from which calls failed."""
    scene, said = templates.scenes[fault.scene], f"{fault.scene}: {fault.kind} disk at {fault.key} ({fault.number})"
    with place() as folder:
        templates.fill(fault.scene, folder)
        plan = {"fault": fault.kind, "key": fault.key, "number": fault.number}
        ended = lane.run(scene.order(folder, plan))
        met = {(file, line) for file, line in ended.notes.get("hit", [])}
        demand(met, f"{said}: the call was not made again: {ended}")
        into.count(fault.scene, "faults", fault.kind)
        demand("Traceback" not in ended.err, f"{said}: {ended}")
        lines = [line for line in ended.err.splitlines() if not PROGRESS.match(line)]
        if ended.code == 0 and scene.code == 0:
            demand(not lines, f"{said}: {ended}")
            found = _without_stuck(left(folder), fault)
            demand(found == templates.bits[fault.scene], f"{said}: {differences(templates.bits[fault.scene], found)}")
            into.count(fault.scene, "went on without the file")
        else:
            demand(ended.code == 2 and len(lines) == 1, f"{said}: not one line and exit code 2, but {ended}")
            demand(scene.code == 2 or ADVICE.search(lines[0]), f"{said}: says nothing of what to do: {lines[0]}")
            into.count(fault.scene, "one line, exit code 2")
        again = lane.run(scene.order(folder, None))
        there = scene.once and again.code == 2 and "exists already" in again.err
        demand(again.code == scene.code or there, f"{said}; the same command again: {again}")
        found = _without_stuck(left(folder), fault)
        demand(found == templates.bits[fault.scene], f"{said}: {differences(templates.bits[fault.scene], found)}")
        into.count(fault.scene, "then the same bits")
    return met


def _without_stuck(found: dict[str, str], fault: Fault) -> dict[str, str]:
    """Without temporary files where the fault let nothing be removed."""
    return {name: digest for name, digest in found.items() if fault.kind == "full" or not TEMPORARY.search(name)}


def _demand_all(met: set[Place], into: Outcome) -> None:
    """Every line of seedwise that writes was met by a fault."""
    found = sites()
    for file, name in UNREACHED.keys() - {(site.file, site.name) for site in found}:
        into.fail(f"writes: {file} {name} is excused, and isn't there any more; take it out of UNREACHED")
    for site in found:
        reached = site.has(met)
        excused = (site.file, site.name) in UNREACHED
        into.count("lines that write", "in the source", *(["met by a fault"] if reached else []))
        if excused and not reached:
            into.count("lines that write", "excused")
        elif not reached:
            into.fail(f"writes: {site} was never met by a fault; give scenes.py a command that reaches it")
