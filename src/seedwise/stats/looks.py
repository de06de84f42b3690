"""Alpha spending: the significance level of each look at a study that gets more seeds."""


def spent(look: int | None, alpha: float = 0.05) -> float:
    """The significance level of look k = 1, 2, …: α/2ᵏ; α for `look=None`, a study that is looked at once.

    The levels of all looks sum to less than α, so by Bonferroni's inequality the chance of a false claim at any of
    them is at most α, whenever one stops and whatever made one look again. A spending schedule in the sense of Lan &
    DeMets 1983 (Biometrika 70, 659-663), without use of the looks' correlation, which makes it stricter than needed.
    A ValueError for a look below 1.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be between 0 and 1, not {alpha}")
    if look is None:
        return alpha
    if look < 1:
        raise ValueError(f"looks count from 1, not {look}")
    return alpha / 2.0**look
