"""Student's t and the normal distribution: the few functions of scipy the package needs, imported when first called."""

import math


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


def t_interval(mean: float, se: float, df: float, level: float = 0.95) -> tuple[float, float]:
    """`mean` ± the t quantile times the standard error `se`."""
    half = t_quantile(0.5 + level / 2, df) * se
    return mean - half, mean + half
