"""Whether a run was trained long enough, by its curves: enough steps, and validation no longer rising. No torch."""

import math

from seedwise.records.run import Convergence, EpochRow, Final
from seedwise.stats.convergence import end_rise

FEW_STEPS = 100
"""Fewer optimizer steps than this are few, unless the training images are learned. docs/photos.md: `lite`, with 3 to 6
steps, is 12 to 36 points below runs of 100 and more, of which every one had learned its training images to 95% or more.
BiT gives its smallest sets 500 steps of 512 images (arXiv 1912.11370)."""
LEARNED = 0.99
"""Top-1 on training images, without augmentation, above which nothing is left to learn from them."""


def convergence_of(rows: list[EpochRow], final: Final, val_images: int, lag: float | None) -> Convergence:
    """Diagnose a finished run from its curves. `lag`: as in Convergence."""
    learned = final.train.top1 >= LEARNED
    tops = [row.val.top1 for row in rows if row.val is not None]
    rise = end_rise(tops, val_images) if val_images and len(tops) == len(rows) else None
    return Convergence(
        steps=rows[-1].steps,
        few_steps=rows[-1].steps < FEW_STEPS and not learned,
        rising=rise is not None and rise[0] > rise[1] and not learned,
        rise=None if rise is None else rise[0],
        noise=None if rise is None else rise[1],
        lag=lag,
    )


def longer(rows: list[EpochRow]) -> int:
    """Epochs to try after a run that was too short: twice as many, and at least enough for 100 steps."""
    each = rows[-1].steps / len(rows)
    return max(2 * len(rows), math.ceil(FEW_STEPS / each))


def sentence(found: Convergence, rows: list[EpochRow]) -> str | None:
    """`not converged: …; give more epochs: --epochs 6`; None for a run that was long enough."""
    why = []
    if found.few_steps:
        why.append(f"{found.steps} optimizer steps are few")
    if found.rising and found.rise is not None and found.noise is not None:
        gained = f"{100 * found.rise:.1f} points, noise {100 * found.noise:.1f}"
        why.append(f"validation was still rising at the end ({gained})")
    return f"not converged: {' and '.join(why)}; give more: --epochs {longer(rows)}" if why else None
