"""Student's t and the normal distribution: the few functions of scipy that are needed, imported when first called."""

import math

Interval = tuple[float, float]
ANYWHERE: Interval = (-math.inf, math.inf)
SHARE: Interval = (0.0, 1.0)
"""Range of a share of images."""
DIFFERENCE: Interval = (-1.0, 1.0)
"""Range of the difference of two shares."""


def t_quantile(p: float, df: float) -> float:
    """Quantile of Student's t at probability p, with df > 0 degrees of freedom, which needn't be whole."""
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
    """The t-interval `mean` ± quantile · `se`, cut to `bounds`."""
    half = t_quantile(0.5 + level / 2, df) * se
    return within((mean - half, mean + half), bounds)


def within(interval: Interval, bounds: Interval) -> Interval:
    """Cut an interval to `bounds`, such as [0, 1] for a share; it covers the truth as often."""
    (low, high), (least, most) = interval, bounds
    return min(max(low, least), most), max(min(high, most), least)


def of_equal(value: float, count: int, level: float = 0.95) -> Interval:
    """Interval of a mean in [-1, 1] when all of `count` images show the same `value`: no spread is no certainty.

    At most 1 - (1 - level)^(1/count) of all images can be others (Clopper & Pearson 1934, Biometrika 26, 404-413, of no
    success in so many, one-sided; 3/count for many), and these may be anywhere.
    """
    others = 1 - (1 - level) ** (1 / count)
    return value - others * (1 + value), value + others * (1 - value)
