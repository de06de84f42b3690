"""Whether a validation curve still rose at its end, and whether two accuracies differ by more than noise."""

import math
from collections.abc import Sequence

SIGMAS = 2.0
"""Number of standard errors that a rise or a gap must exceed: chance alone does so once in 44 runs."""
PROBED = 5000
"""Largest number of training images that are scored."""
END = 0.1
"""Share of the epochs that counts as a run's end. In the last tenth of a one-cycle or cosine schedule the rate is below
4% of its peak: what annealing gains has been gained, and what still rises there rises for want of training."""


def standard_error(share: float, count: int) -> float:
    """Standard error of a share of `count` images, by (x + 1) / (n + 2): above 0 also where all or none are right."""
    count = max(1, count)
    fair = (share * count + 1) / (count + 2)
    return math.sqrt(fair * (1 - fair) / count)


def noise(first: float, first_count: int, second: float, second_count: int) -> float:
    """Two standard errors of the difference between two shares in [0, 1]: a difference above it is more than noise.

    The shares count as independent binomials: for one network on the same images at two times that overestimates their
    noise, which errs on the quiet side.
    """
    return SIGMAS * math.hypot(standard_error(first, first_count), standard_error(second, second_count))


def gap_noise(train: float, train_images: int, held: float, held_images: int) -> float:
    """`noise` of the gap between accuracies on training images (5,000 at most are scored) and on held-out ones."""
    return noise(train, min(train_images, PROBED), held, held_images)


def end_rise(tops: Sequence[float], images: int) -> tuple[float, float] | None:
    """The rise of the last accuracy above the best one before the end, and its `noise`; None for one epoch.

    `tops`: top-1 after each epoch, on the same `images`. The end is the last epoch, or the last tenth of them.
    """
    before = tops[: len(tops) - max(1, round(END * len(tops)))]
    if not before:
        return None
    best = max(before)
    return tops[-1] - best, noise(tops[-1], images, best, images)
