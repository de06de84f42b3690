"""Equivalence test: is the difference certainly smaller than what matters?"""

from seedwise.stats.difference import Difference


def tost(difference: Difference, margin: float) -> float | None:
    """p of the two one-sided tests (TOST) that the difference is at or beyond -margin or +margin: the larger one.

    Below α, "no difference that matters" is a finding and not a lack of data; equal to the (1 - 2α) t-interval lying
    inside the margin. Schuirmann 1987, J. Pharmacokin. Biopharm. 15, 657-680; Lakens 2017, Soc. Psychol. Pers. Sci. 8.
    1 for a margin finer than the step between two outcomes (`Difference.grain`), which no outcome can show. None with
    one value a side; a ValueError for a margin that isn't positive.
    """
    if not margin > 0:
        raise ValueError(f"the margin must be above 0, not {margin}")
    above, below = difference.p_beyond(margin), difference.p_beyond(-margin)
    if above is None or below is None:
        return None
    return 1.0 if margin < difference.grain else max(above, below)
