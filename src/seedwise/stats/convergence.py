"""Whether a validation curve still rose at its end, and whether a gap between two accuracies is more than noise."""

import math
from collections.abc import Sequence

SIGMAS = 2.0
"""Standard errors that a rise or a gap must exceed: chance alone does so once in 44 runs."""
PROBED = 5000
"""Training images that are scored at most."""
END = 0.1
"""Share of the epochs that is a run's end. In the last tenth of a one-cycle or cosine schedule the rate is below 4% of
its peak: what annealing gains has been gained, and what still rises there rises for want of training."""


def standard_error(share: float, count: int) -> float:
    """Of a share of so many images (at least one); of (x + 1) / (n + 2), lest all or none right be free of noise."""
    count = max(1, count)
    fair = (share * count + 1) / (count + 2)
    return math.sqrt(fair * (1 - fair) / count)


def noise(first: float, first_count: int, second: float, second_count: int) -> float:
    """What a difference of two shares must exceed to be more than the chance of which images were taken.

    Both as independent binomials: for one network on the same images at two times that is more than their real noise,
    which errs on the quiet side.
    """
    return SIGMAS * math.hypot(standard_error(first, first_count), standard_error(second, second_count))


def gap_noise(train: float, train_images: int, held: float, held_images: int) -> float:
    """The same for a gap between accuracies on training images, of which 5,000 at most are scored, and on others."""
    return noise(train, min(train_images, PROBED), held, held_images)


def end_rise(tops: Sequence[float], images: int) -> tuple[float, float] | None:
    """By how much the last accuracy exceeds the best one before the end, and the noise of that; None for one epoch.

    `tops`: after each epoch, on the same `images`. The end is the last epoch, or the last tenth of them.
    """
    before = tops[: len(tops) - max(1, round(END * len(tops)))]
    if not before:
        return None
    best = max(before)
    return tops[-1] - best, noise(tops[-1], images, best, images)
