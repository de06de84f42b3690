"""The time that `--time` leaves for training; refuses as soon as it is clear that nothing would fit."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from seedwise.base.errors import UserError
from seedwise.data.source import Progress
from seedwise.run import sizing

FIRST_LOOK = 1.0
"""Seconds after which the pace of a phase is reliable."""
DECODING = "decoding "
"""Start of the label of decoding; several parts may be decoded."""
MEASURED = 1 / 40
"""Share of the time after which no step, and no evaluation, is measured again."""


@dataclass(frozen=True)
class Least:
    """The shortest training that is worth it."""

    said: str
    """In words: `4 epochs at 96 px (128 steps)`."""
    seconds: float
    """Wall seconds of one trial."""


@dataclass
class Deadline:
    """The wall seconds that all trials together may take, with what comes before them."""

    limit: float
    """In seconds, for all `trials`."""
    trials: int = 1
    clock: Callable[[], float] = time.monotonic
    since: float | None = None
    """The clock when it began, if before now: starting a program takes long on a busy machine."""
    began: float = field(init=False)

    def __post_init__(self) -> None:
        self.began = self.clock() if self.since is None else self.since

    def elapsed(self) -> float:
        """Seconds since it began, for one trial: reading the data and measuring."""
        return (self.clock() - self.began) / self.trials

    def left(self) -> float:
        """Seconds left for one trial, with a margin."""
        return sizing.MARGIN * (self.limit / self.trials - self.elapsed()) - sizing.SPENT

    @property
    def patience(self) -> float:
        """Seconds that measuring one thing may take."""
        return MEASURED * self.limit

    def watched(self, progress: Progress, images: int = 0, least: Least | None = None) -> Progress:
        """Wrap the progress callback of a phase before training: raises a UserError once its pace is too slow.

        `images`: all that will be decoded, in however many parts; 0 where that is none of it. `least`: what must fit
        behind it; None while unknown.
        """
        current, began, first, size, before = "", 0.0, 0, 0, 0

        def report(label: str, done: int, count: int) -> None:
            nonlocal current, began, first, size, before
            progress(label, done, count)
            if label != current:  # its first images have waited for files to be found, modules to be imported
                before += size if current.startswith(DECODING) else 0
                current, began, first, size = label, self.clock(), done, count
            took = self.clock() - began
            whole = max(count, images - before) if label.startswith(DECODING) else count
            if took >= FIRST_LOOK:
                pace = took / (done - first) if done > first else 0.0
                doing = f"decoding {whole:,} images" if label.startswith(DECODING) else label
                self.demand(doing, pace * (whole - done), pace * done or took, least)

        return report

    def demand(self, doing: str, rest: float, took: float = 0.0, least: Least | None = None) -> None:
        """Raise a UserError unless the rest of this phase (seconds), and then `least`, would end in time."""
        needed = 0.0 if least is None else least.seconds
        if self.left() - sizing.MARGIN * rest / self.trials >= needed:
            return
        alone = " alone" if took + rest > self.limit else ""
        behind = "" if least is None else f", and the least training, {least.said}, about {sizing.about(least.seconds)}"
        whole = rest / self.trials + self.elapsed() + (needed + sizing.SPENT) / sizing.MARGIN
        raise UserError(
            f"--time: {doing}{alone} takes about {sizing.about(took + rest)} here{behind}; "
            f"give {sizing.enough(whole, self.trials)}"
        )
