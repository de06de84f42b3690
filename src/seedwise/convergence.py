"""Whether a run has converged, from its record: too few steps, or validation that still rises. No torch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from seedwise.record import RunRecord

State = Literal["yes", "no", "unknown"]
Reason = Literal["level", "few steps", "rising", "no validation images", "one epoch"]

FEW_STEPS = 100
"""Optimizer steps below which nobody should speak of convergence: 36 steps of Lite0 on 2,062 photos of ten classes gave
92.5%, 120 gave 95.2%."""
END = 0.2
"""Share of the epochs, the last ones, over which validation must not rise any more."""
NOISE = 2.0
"""Standard errors that a rise must exceed. They are those of two independent draws of the validation images, which is
too cautious for the same images twice: a rise that is called one is one."""


@dataclass(frozen=True)
class Convergence:
    """A judgement, and why."""

    state: State
    reason: Reason
    steps: int | None = None
    """Optimizer steps of the run."""
    rise: float | None = None
    """How much the validation top-1 rose over the last epochs, as a fraction."""

    @property
    def said(self) -> str:
        """The reason in words."""
        if self.reason == "few steps":
            return f"{self.steps} optimizer steps are few"
        if self.reason == "rising":
            return f"validation still rose at the end, by {100 * (self.rise or 0.0):.1f} points"
        if self.reason == "level":
            return "validation no longer rises"
        return {"no validation images": "no validation images", "one epoch": "one epoch shows no curve"}[self.reason]


def converged(record: "RunRecord") -> Convergence:
    """The judgement on a run. It has not converged with fewer than `FEW_STEPS` optimizer steps, or if its validation
    top-1 rose over the last fifth of its epochs (one at least) by more than `NOISE` binomial standard errors."""
    steps = record.epochs[-1].steps if record.epochs else None
    if steps is not None and steps < FEW_STEPS:
        return Convergence("no", "few steps", steps)
    curve = [row.val.top1 for row in record.epochs if row.val is not None]
    images = record.data.splits.get("val", 0)
    if not curve or images < 1:
        return Convergence("unknown", "no validation images", steps)
    if len(curve) < 2:
        return Convergence("unknown", "one epoch", steps)
    rise, noise = _rise(curve, images)
    return Convergence("no" if rise > noise else "yes", "rising" if rise > noise else "level", steps, rise)


def _rise(curve: Sequence[float], images: int) -> tuple[float, float]:
    """How much a curve of top-1 rose at its end, and what chance could explain of it."""
    last, before = curve[-1], curve[-1 - max(1, round(END * len(curve)))]
    return last - before, NOISE * math.sqrt((last * (1 - last) + before * (1 - before)) / images)
