"""Which implementation computes what: timed once on the real tensors, then remembered by the run and by the machine."""

import contextlib
import fcntl
import json
import time
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

from seedwise import native
from seedwise.errors import UserError
from seedwise.files import write_json

Candidates = Mapping[str, Callable[[int], object]]
"""By name, what computes on the first so many images."""

_CLOSE = 4.0
"""A candidate that takes longer than the best one by this factor on a part of the images is out. A neighbor on the same
machine easily doubles a time, and what a probe gets wrong is slow for good."""
_PART = 8
_ROUNDS = 5


class Choices:
    """What was chosen, by key. Answers come from those given, then from the machine's file, then from a probe.

    - `given`: choices as a run's record has them (`as_dict`); a run that is resumed with them computes the same bits.
    - `path`: the machine's JSON file; None keeps nothing. A damaged file counts as empty and is written anew.

    Processes that share the file probe one after the other, and each sees what those before it chose: the ranks of a
    distributed run on one machine agree.
    """

    def __init__(self, given: Mapping[str, str] | None = None, path: Path | None = None) -> None:
        self.path = path
        self._given = dict(given or {})
        self._used: dict[str, str] = {}
        self._tried: dict[str, str] = {}  # what only a probe of something larger used
        self._at: dict[tuple[Hashable, ...], str] = {}
        self._machine: dict[str, str] | None = None
        self._is_alone = self._is_trying = False

    def as_dict(self) -> dict[str, str]:
        """What was used so far, sorted by key, for the run's record; includes what was given."""
        return dict(sorted({**self._given, **self._used}.items()))

    def pick(self, key: str, allowed: Callable[[str], bool], probe: Callable[[], str]) -> str:
        """The choice for `key`. A remembered name that isn't `allowed` is as good as none; `probe` is then called."""
        known = self._used.get(key)
        if known is None:
            before = self._given.get(key), self._tried.get(key)
            known = next((name for name in before if name is not None and allowed(name)), None)
            if known is None:
                known = self._from_machine(key, allowed, lambda: self._try(probe))
            (self._tried if self._is_trying else self._used)[key] = known
        return known

    def pick_at(self, place: tuple[Hashable, ...], choose: Callable[[], str]) -> str:
        """What `choose` picked when it was last asked for the same place: without putting a key together each time."""
        known = None if self._is_trying else self._at.get(place)
        if known is None:
            known = choose()
            if not self._is_trying:
                self._at[place] = known
        return known

    def _try(self, probe: Callable[[], str]) -> str:
        """A probe's answer. What it picks itself is no choice of the run's: another run wouldn't probe."""
        was, self._is_trying = self._is_trying, True
        try:
            with native.at_once():
                return probe()
        finally:
            self._is_trying = was

    def __deepcopy__(self, memo: Any) -> "Choices":
        """A copied model shares them."""
        return self

    def _from_machine(self, key: str, allowed: Callable[[str], bool], probe: Callable[[], str]) -> str:
        if self.path is None:
            return probe()
        if self._machine is None:
            self._machine = _read(self.path)
        known = self._machine.get(key)
        if known is not None and allowed(known):
            return known
        with self._alone(self.path):
            self._machine = _read(self.path)
            known = self._machine.get(key)
            if known is None or not allowed(known):
                known = self._machine[key] = probe()
                with contextlib.suppress(OSError, UserError):  # a full or read-only cache costs a probe each time
                    write_json(self.path, dict(sorted(self._machine.items())))
        return known

    @contextlib.contextmanager
    def _alone(self, path: Path) -> Iterator[None]:
        """Hold the file's lock, once though a probe may pick in turn; without one (a read-only cache) go on."""
        if self._is_alone:
            yield
            return
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):
                path.parent.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context(path.with_suffix(".lock").open("a+"))
                fcntl.flock(file, fcntl.LOCK_EX)
            self._is_alone = True
            stack.callback(setattr, self, "_is_alone", False)
            yield


def seconds_of(candidates: Candidates, images: int) -> dict[str, float]:
    """Seconds of each candidate that is near the best: the shortest of a few runs, taken in turns.

    All first run on an eighth of the images, and those far behind are left out: some of PyTorch's are a hundred times
    slower than the others.
    """
    part = max(1, images // _PART)
    for run in candidates.values():
        run(part)  # memory, caches, what is built at first use
    first = _shortest(candidates, part, 2)
    limit = _CLOSE * min(first.values())
    near = {name: candidates[name] for name, seconds in first.items() if seconds <= limit}
    if len(near) == 1:
        return {name: first[name] * images / part for name in near}
    return _shortest(near, images, _ROUNDS)


def _shortest(candidates: Candidates, images: int, rounds: int) -> dict[str, float]:
    """In turns: whatever else the machine does meanwhile then meets all of them."""
    taken = [{name: _seconds(run, images) for name, run in candidates.items()} for _ in range(rounds)]
    return {name: min(seconds[name] for seconds in taken) for name in candidates}


def fastest(seconds: Mapping[str, float]) -> str:
    """The name with the fewest seconds."""
    return min(seconds, key=lambda name: seconds[name])


def one_of(names: Collection[str]) -> Callable[[str], bool]:
    """For `pick`: these names are allowed."""
    return lambda name: name in names


def _seconds(run: Callable[[int], object], images: int) -> float:
    began = time.perf_counter()
    run(images)
    return time.perf_counter() - began


def _read(path: Path) -> dict[str, str]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {key: name for key, name in content.items() if isinstance(name, str)}
