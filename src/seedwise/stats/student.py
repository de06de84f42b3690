"""Student's t and the normal distribution: the few functions of scipy the package needs, imported when first called."""

import math

Interval = tuple[float, float]
ANYWHERE: Interval = (-math.inf, math.inf)
SHARE: Interval = (0.0, 1.0)
"""Where a share of images can be."""
DIFFERENCE: Interval = (-1.0, 1.0)
"""Where the difference of two of them can be."""


def t_quantile(p: float, df: float) -> float:
    """The p-quantile of Student's t with df > 0 degrees of freedom, which needn't be whole."""
    from scipy import special

    return float(special.stdtrit(df, p))


def t_upper(t: float, df: float) -> float:
    """P(T > t) for Student's t with df degrees of freedom."""
    from scipy import special

    return float(special.stdtr(df, -t))


def t_both(t: float, df: float) -> float:
    """P(|T| > |t|): the two-sided p."""
    return min(1.0, 2 * t_upper(abs(t), df))


def normal_both(z: float) -> float:
    """P(|Z| > |z|) for the standard normal distribution."""
    return math.erfc(abs(z) / math.sqrt(2))


def t_interval(
    mean: float, se: float, df: float, level: float = 0.95, bounds: Interval = ANYWHERE
) -> tuple[float, float]:
    """`mean` ± the t quantile times the standard error `se`, as far as it is within what is possible at all."""
    half = t_quantile(0.5 + level / 2, df) * se
    return within((mean - half, mean + half), bounds)


def within(interval: Interval, bounds: Interval) -> Interval:
    """What of an interval is possible: of a share nothing below 0 or above 1. It covers the truth as often."""
    (low, high), (least, most) = interval, bounds
    return min(max(low, least), most), max(min(high, most), least)


def of_equal(value: float, count: int, level: float = 0.95) -> Interval:
    """Interval of a mean in [-1, 1] of which `count` images all show the same value: a spread of zero is no certainty.

    At most 1 - (1 - level)^(1/count) of all images can be others (Clopper & Pearson 1934, Biometrika 26, 404-413, of no
    success in so many, one-sided; 3/count for many), and these may be anywhere.
    """
    others = 1 - (1 - level) ** (1 / count)
    return value - others * (1 + value), value + others * (1 - value)
