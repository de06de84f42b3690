"""Which implementation computes what: by a rule (`rule.py`), or by a stopwatch; and what a run's record says of it.

By the rule a choice follows from the instruction set, the operation, its shapes and the threads alone, so that a run's
bits don't depend on what else the machine did when it began.
"""

import functools
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import torch

from seedwise.kernels import launch, rule

Candidates = Mapping[str, Callable[[int], object]]
"""By name, what computes on the first so many images."""
Clock = Callable[[], float]
Tuning = Callable[[], tuple[Candidates, int]]
"""What could compute something, for a stopwatch, and of how many images."""

_CLOSE = 4.0
"""A candidate that takes longer than the best one by this factor on a part of the images is out. A neighbor on the same
machine easily doubles a time, and what a trial gets wrong is slow for good."""
_PART = 8
_ROUNDS = 5


class Case(NamedTuple):
    """Something to be computed: what a choice may depend on."""

    operation: str
    """One of the rule's `OPERATIONS`."""
    name: str
    """What it is called in a record; it may say more than the operation."""
    inputs: int
    outputs: int
    """Channels."""
    height: int
    width: int
    """Of the maps that come in."""
    images: int
    threads: int
    kernel: int = 1
    stride: int = 1
    padding: tuple[int, int, int, int] | None = None
    """Top, left, bottom, right; None where the name tells."""
    dtype: torch.dtype = torch.float32

    @property
    def rounded(self) -> int:
        """The number of images, rounded up to a power of two: batches of an epoch differ by an image."""
        return 1 << (self.images - 1).bit_length()

    @property
    def key(self) -> str:
        """As a run's record has it."""
        images = f"n{self.rounded}"
        if self.padding is None:
            maps = f"{self.inputs}>{self.outputs} {self.height}x{self.width}"
            return f"{self.name} {maps} {images} t{self.threads}"
        padding, dtype = ".".join(map(str, self.padding)), str(self.dtype).removeprefix("torch.")
        maps = f"{self.kernel}x{self.kernel}/{self.stride} pad {padding} {self.inputs}x{self.height}x{self.width}"
        return f"{self.name} {maps} {images} {dtype} t{self.threads}"

    @property
    def place(self) -> rule.ShapeKey:
        """Where it stands in the rule's table."""
        dtype = "bf16" if self.dtype == torch.bfloat16 else "fp32"
        pixels = self.height * self.width
        return rule.ShapeKey(
            *(self.operation, dtype, min(self.threads, 2), self.kernel, self.stride),
            *(self.inputs, self.outputs, pixels, self.rounded),
        )


class Dispatcher:
    """Chooses what computes a case: as `given` from a run's record (`as_dict`), else by the rule.

    A run that is resumed with its record's computes the same bits, whatever the rule says by then.
    """

    def __init__(self, given: Mapping[str, str] | None = None) -> None:
        self._given = dict(given or {})
        self._used: dict[str, str] = {}
        self._of_case: dict[Case, str] = {}

    def as_dict(self) -> dict[str, str]:
        """What was used so far, sorted by key, for the run's record; includes what was given."""
        return dict(sorted({**self._given, **self._used}.items()))

    def choose(self, case: Case, names: Collection[str], trial: Tuning) -> str:
        """Which of `names` computes the case. A recorded name that isn't one of them is as good as none."""
        known = self._of_case.get(case)
        if known is None:
            known = self._used.get(case.key) or self._recorded(case, names) or self._decide(case, names, trial)
            self._of_case[case] = self._used[case.key] = known
        return known

    def _recorded(self, case: Case, names: Collection[str]) -> str | None:
        name = self._given.get(case.key)
        return name if name in names else None

    def _decide(self, case: Case, names: Collection[str], trial: Tuning) -> str:
        return rule.choose(launch.target(), case.place, names)

    def __deepcopy__(self, memo: Any) -> "Dispatcher":
        """A copied model shares it."""
        return self


class Autotuner(Dispatcher):
    """Chooses what is fastest by the clock where nothing is recorded: each case is timed once, on the real tensors, so
    that another run may choose otherwise."""

    def __init__(self, given: Mapping[str, str] | None = None) -> None:
        super().__init__(given)
        self._tried: dict[str, str] = {}  # what only a trial of something larger used
        self._is_trying = False

    def choose(self, case: Case, names: Collection[str], trial: Tuning) -> str:
        """What a trial picks itself is no choice of the run's: another run wouldn't try."""
        if not self._is_trying:
            return super().choose(case, names, trial)
        known = self._used.get(case.key) or self._recorded(case, names)
        return known or self._decide(case, names, trial)

    def _decide(self, case: Case, names: Collection[str], trial: Tuning) -> str:
        if case.key not in self._tried:
            was, self._is_trying = self._is_trying, True
            try:
                with launch.eager_launches():
                    self._tried[case.key] = fastest(self.measured(case, *trial()))
            finally:
                self._is_trying = was
        return self._tried[case.key]

    def measured(self, case: Case, candidates: Candidates, images: int) -> Mapping[str, float]:
        """Seconds of each candidate for a case; `benchmarks/dispatch.py` keeps them."""
        return seconds_of(candidates, images)


def seconds_of(candidates: Candidates, images: int) -> dict[str, float]:
    """Seconds of each candidate that is near the best: the shortest of a few runs, taken in turns.

    All first run on an eighth of the images, and those much slower are left out: some of PyTorch's are a hundred times
    slower than the others.
    """
    part = max(1, images // _PART)
    for run in candidates.values():
        run(part)  # memory, caches, what is built at first use
    first = shortest(candidates, part, 2)
    limit = _CLOSE * min(first.values())
    near = {name: candidates[name] for name, seconds in first.items() if seconds <= limit}
    if len(near) == 1:
        return {name: first[name] * images / part for name in near}
    return shortest(near, images, _ROUNDS)


def shortest(candidates: Candidates, images: int, rounds: int, clock: Clock | None = None) -> dict[str, float]:
    """Seconds by a clock, in turns: whatever else the machine does meanwhile then meets all of them."""
    now = clock or time.perf_counter
    taken = [{name: _seconds(run, images, now) for name, run in candidates.items()} for _ in range(rounds)]
    return {name: min(seconds[name] for seconds in taken) for name in candidates}


def fastest(seconds: Mapping[str, float]) -> str:
    """The name with the fewest seconds."""
    return min(seconds, key=lambda name: seconds[name])


def whole(runs: Mapping[str, Callable[[], object]]) -> tuple[Candidates, int]:
    """Candidates that take all images whenever they run: for a part of them, layers within would choose anew."""
    return {name: functools.partial(_all, run) for name, run in runs.items()}, 1


def _all(run: Callable[[], object], _images: int) -> object:
    return run()


def _seconds(run: Callable[[int], object], images: int, clock: Clock) -> float:
    began = clock()
    run(images)
    return clock() - began
