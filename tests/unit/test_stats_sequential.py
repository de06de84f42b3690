"""Sequential boundaries: the published numbers, and simulated studies that are looked at after every seed."""

import numpy as np
import pytest
from scipy import stats

from seedwise.stats.sequential import Spending

TWELVE = {
    **{3: 0.0025, 4: 0.00235, 5: 0.00327, 6: 0.00454, 7: 0.00611, 8: 0.0080, 9: 0.0102, 10: 0.01277, 11: 0.0156},
    **{12: 0.01892, 13: 0.01082, 14: 0.00751},
}
EIGHT_ARMS = {
    **{3: 0.000313, 4: 0.000268, 5: 0.000364, 6: 0.000492, 7: 0.000642, 8: 0.000827, 9: 0.001029, 10: 0.001277},
    **{11: 0.001546, 12: 0.00184},
}
SIX = {
    **{3: 0.0100, 4: 0.01038, 5: 0.01485, 6: 0.0210, 7: 0.00985, 8: 0.0062, 9: 0.00465, 10: 0.00384, 11: 0.00337},
    **{12: 0.00302},
}


@pytest.mark.parametrize(
    ("planned", "level", "expected"), [(12, 0.05, TWELVE), (12, 0.00625, EIGHT_ARMS), (6, 0.05, SIX)]
)
def test_boundaries(planned: int, level: float, expected: dict[int, float]) -> None:
    found = {n: Spending(planned).boundary(level, n) for n in expected}
    assert found == pytest.approx(expected, rel=0.02)


def test_no_more_than_the_level_is_ever_spent() -> None:
    spending = Spending(6)
    shares = [spending.share(n) for n in range(1, 400)]
    assert shares[:2] == [0, 0] and shares[5] == pytest.approx(0.8) and shares == sorted(shares) and shares[-1] <= 1


@pytest.mark.parametrize("planned", [6, 12])
def test_p_is_the_level_whose_boundary_was_reached(planned: int) -> None:
    spending = Spending(planned)
    for level in (0.001, 0.00625, 0.02, 0.05, 0.3):
        for n in (3, 5, planned, planned + 2):
            ps = [None, *[1.0] * (n - 2), spending.boundary(level, n)]
            assert spending.p(ps)[-1] == pytest.approx(level, rel=0.01)
    assert spending.p([None, 1e-9]) == [None, None]  # two seeds decide nothing
    assert spending.p([None, 0.5, 0.01, 0.9, 0.9])[2:] == [spending.p([None, 0.5, 0.01])[-1]] * 3  # and it never grows


def test_one_who_looks_after_every_seed_is_wrong_as_often_as_said() -> None:
    """20,000 studies of one arm without effect, 6 seeds planned and 12 taken: 4.6% of 5% are spent by then."""
    rng, studies, spending = np.random.default_rng(0), 20_000, Spending(6)
    differences = rng.normal(size=(studies, 12))
    found = np.zeros(studies, bool)
    by_seed = []
    for n in range(3, 13):
        p = stats.ttest_1samp(differences[:, :n], 0.0, axis=1).pvalue
        found |= p < spending.boundary(0.05, n)
        by_seed.append(found.mean())
    for n in (6, 12):
        expected = 0.05 * spending.share(n)
        assert by_seed[n - 3] == pytest.approx(expected, abs=4 * (expected / studies) ** 0.5)


@pytest.mark.slow
@pytest.mark.parametrize("planned", [6, 12])
def test_the_boundary_at_each_seed_spends_its_part(planned: int) -> None:
    rng, studies, spending = np.random.default_rng(planned), 400_000, Spending(planned)
    differences = rng.normal(size=(studies, planned + 2))
    sums, squares = differences.cumsum(axis=1), (differences**2).cumsum(axis=1)
    alive = np.ones(studies, bool)
    for n in range(3, planned + 3):
        mean = sums[:, n - 1] / n
        t = mean / np.sqrt((squares[:, n - 1] / n - mean**2) / (n - 1))
        now = alive & (2 * stats.t.sf(np.abs(t), n - 1) < spending.boundary(0.05, n))
        alive &= ~now
        expected = 0.05 * (spending.share(n) - spending.share(n - 1))
        assert now.mean() == pytest.approx(expected, abs=4.5 * (expected / studies) ** 0.5)


def test_without_a_reserve_seeds_beyond_the_plan_decide_nothing() -> None:
    spending = Spending(4, reserve=0.0)
    assert spending.boundary(0.05, 4) > 0 and spending.boundary(0.05, 5) == 0
    assert spending.p([None, None, 0.5, 0.5, 1e-9])[-1] == spending.p([None, None, 0.5, 0.5])[-1]


@pytest.mark.parametrize("options", [{"planned": 2}, {"planned": 6, "first": 2}, {"planned": 6, "reserve": 1.0}])
def test_a_plan_that_makes_no_sense_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="plan 3 seeds or more"):
        Spending(**options)  # type: ignore[arg-type]
