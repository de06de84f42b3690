"""Wilson's interval of a share of images."""

from scipy.stats import binomtest


def wilson(successes: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval (1927) of the proportion successes / count; within [0, 1], for all or none too."""
    interval = binomtest(successes, count).proportion_ci(confidence, method="wilson")
    return max(0.0, float(interval.low)), min(1.0, float(interval.high))
