"""Power against scipy's noncentral t and a simulation."""

import numpy as np
import pytest
from scipy import integrate, special, stats

from seedwise.stats import seeds_to_decide
from seedwise.stats.power import power_difference, power_equivalence


@pytest.mark.parametrize("n", [2, 3, 5, 14, 100])
@pytest.mark.parametrize("effect", [0.0, 0.2, 0.8, 3.0])
@pytest.mark.parametrize("alpha", [0.05, 0.00625])
def test_difference_as_the_noncentral_t(n: int, effect: float, alpha: float) -> None:
    critical = stats.t.isf(alpha / 2, n - 1)
    other = stats.nct.cdf(-critical, n - 1, effect * n**0.5)
    expected = stats.nct.sf(critical, n - 1, effect * n**0.5) + np.nan_to_num(other)  # scipy: nan where it is tiny
    assert power_difference(n, -effect * 0.01, 0.01, alpha) == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("n", [3, 8, 40])
@pytest.mark.parametrize("mean", [0.0, 0.2])
def test_equivalence_as_an_integral_over_the_sample_sd(n: int, mean: float) -> None:
    critical, root = stats.t.isf(0.05, n - 1), n**0.5

    def at(sd: float) -> float:
        reach = critical * sd
        chance = special.ndtr(root * (1 - mean) - reach) - special.ndtr(reach - root * (1 + mean))
        return float(max(0.0, chance) * stats.chi.pdf(sd * (n - 1) ** 0.5, n - 1) * (n - 1) ** 0.5)

    expected = integrate.quad(at, 0, 8, limit=200)[0]
    assert power_equivalence(n, mean, 1.0, 1.0) == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize(("effect", "pairs"), [(0.2, 199), (0.5, 34), (0.8, 15), (1.0, 10)])
def test_textbook_numbers_of_pairs(effect: float, pairs: int) -> None:
    """G*Power's numbers for 80% power of the two-sided paired t-test at 0.05 (Faul et al. 2007)."""
    assert seeds_to_decide(2, effect, 1.0, 1e-9) == pairs


def test_so_many_seeds_do_decide_it() -> None:
    mean, sd, margin = 0.001, 0.004, 0.005
    n = seeds_to_decide(4, mean, sd, margin)
    assert n is not None
    draws = np.random.default_rng(0).normal(mean, sd, (20_000, n))
    sem = draws.std(axis=1, ddof=1) / n**0.5
    inside = np.abs(draws.mean(axis=1)) + stats.t.isf(0.05, n - 1) * sem < margin
    assert inside.mean() == pytest.approx(0.83, abs=0.04)  # at the first n past 80%
    assert power_equivalence(n, mean, sd, margin) >= 0.8 > power_equivalence(n - 1, mean, sd, margin)


def test_what_no_number_of_seeds_decides() -> None:
    assert seeds_to_decide(5, 0.01, 0.0, 0.005) is None  # no spread to judge by
    assert seeds_to_decide(5, 0.0001, 0.1, 0.005) is None  # more than a thousand
    assert seeds_to_decide(2000, 0.01, 0.1, 0.005) is None
    assert seeds_to_decide(5, 0.01, 0.001, 0.005) == 6  # more than there are


def test_power_of_a_huge_effect_is_a_number() -> None:
    assert power_difference(5, 1.0, 1e-12) == pytest.approx(1.0)
