"""Paired differences against scipy, and sign flips against scipy and brute force."""

import itertools
import math
import warnings
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from seedwise.stats import paired, sign_flip
from seedwise.stats.paired import EXACT_UP_TO, signflip_floor

IMAGES = 500


def outcomes(n: int, kind: str) -> tuple[list[float], list[float]]:
    """Two arms: of continuous outcomes, of multiples of 1/images (many ties), or a constant apart."""
    rng = np.random.default_rng([n, len(kind)])
    base = rng.integers(300, 400, n) / IMAGES
    if kind == "continuous":
        return (base + rng.normal(0.004, 0.01, n)).tolist(), base.tolist()
    shift = rng.integers(-2, 4, n) / IMAGES if kind == "ties" else np.full(n, 3 / IMAGES)
    return (base + shift).tolist(), base.tolist()


def brute_force(arm: list[float], base: list[float]) -> float:
    """The sign-flip p in exact arithmetic of whole images, or of the floats as they are."""
    steps = [Fraction(a) - Fraction(b) for a, b in zip(arm, base, strict=True)]
    rounded = [Fraction(round(step * IMAGES), IMAGES) for step in steps]
    if all(abs(a - b) < Fraction(1, 10**12) for a, b in zip(steps, rounded, strict=True)):
        steps = [step * IMAGES for step in rounded]
    scale = math.lcm(*(step.denominator for step in steps))
    whole = np.array([int(step * scale) for step in steps], dtype=object)
    if all(abs(value) < 2**55 for value in whole):
        whole = whole.astype(np.int64)
    signs = np.array(list(itertools.product((1, -1), repeat=len(whole))), dtype=whole.dtype)
    sums = np.abs(signs @ whole)
    return float((sums >= abs(whole.sum())).mean())


@pytest.mark.parametrize("n", range(2, 31))
@pytest.mark.parametrize("kind", ["continuous", "ties", "constant"])
def test_as_scipy(n: int, kind: str) -> None:
    arm, base = outcomes(n, kind)
    found = paired(arm, base)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # scipy, of nearly equal values
        expected = stats.ttest_rel(arm, base)
        interval = expected.confidence_interval()
    assert found.n == n
    assert found.mean == pytest.approx(np.mean(np.subtract(arm, base)), rel=1e-12, abs=1e-15)
    assert found.sd == pytest.approx(np.std(np.subtract(arm, base), ddof=1), rel=1e-9, abs=1e-12)
    assert found.p_t == pytest.approx(float(expected.pvalue), rel=1e-9, abs=1e-9)
    assert found.interval() == pytest.approx((interval.low, interval.high), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("n", range(2, 15))
@pytest.mark.parametrize("kind", ["continuous", "ties", "constant"])
def test_sign_flips_as_brute_force(n: int, kind: str) -> None:
    arm, base = outcomes(n, kind)
    assert sign_flip(np.subtract(arm, base)) == pytest.approx(brute_force(arm, base), abs=1e-12)


@pytest.mark.parametrize("n", [2, 5, 9, 12])
def test_sign_flips_as_scipy(n: int) -> None:
    differences = np.random.default_rng(n).normal(0.3, 1, n)
    expected = stats.permutation_test(  # type: ignore[call-overload]
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    assert sign_flip(differences) == pytest.approx(float(expected.pvalue), abs=1e-12)


def counted(steps: list[int]) -> float:
    """The sign-flip p of whole numbers by counting how often each sum occurs: exact for any n."""
    ways = {0: 1}
    for step in steps:
        grown: dict[int, int] = {}
        for total, count in ways.items():
            for new in (total + step, total - step):
                grown[new] = grown.get(new, 0) + count
        ways = grown
    return sum(count for total, count in ways.items() if abs(total) >= abs(sum(steps))) / 2 ** len(steps)


@pytest.mark.parametrize("n", [15, 20, 24, 29, 30, EXACT_UP_TO])
def test_sign_flips_of_many_seeds_by_counting(n: int) -> None:
    steps = [int(step) for step in np.random.default_rng(n).integers(-3, 5, n)]
    assert sign_flip([step / IMAGES for step in steps]) == pytest.approx(counted(steps), rel=1e-12)


def test_beyond_the_exact_range_the_normal_approximation_is_near() -> None:
    steps = [int(step) for step in np.random.default_rng(3).integers(-30, 50, EXACT_UP_TO + 14)]
    assert sign_flip(steps) == pytest.approx(counted(steps), abs=0.002)


@pytest.mark.parametrize("n", [1, 2, 5, 6])
def test_the_floor_is_what_equal_signs_reach(n: int) -> None:
    assert sign_flip(np.arange(1, n + 1)) == signflip_floor(n) == 2 / 2**n
    assert signflip_floor(5) == 0.0625


def test_one_pair_has_a_mean_and_no_more() -> None:
    found = paired([0.7], [0.6])
    assert found.mean == pytest.approx(0.1)
    assert (found.n, found.sd, found.p_t, found.p_decision, found.interval(), found.effect_size) == (1, *[None] * 5)


def test_two_pairs_have_one_degree_of_freedom() -> None:
    found = paired([0.72, 0.74], [0.7, 0.7])
    assert found.df == 1
    assert found.interval() == pytest.approx((0.03 - 12.7062 * 0.01, 0.03 + 12.7062 * 0.01), abs=1e-6)


def constants() -> Iterator[tuple[list[float], list[float], float]]:
    yield [0.7, 0.8, 0.3], [0.6, 0.7, 0.2], 0.1  # equal but for rounding
    yield [0.1 + 0.2] * 3, [0.3] * 3, 0.0  # equal but for rounding
    yield [0.5] * 3, [0.5] * 3, 0.0


@pytest.mark.parametrize(("arm", "base", "mean"), list(constants()))
def test_without_spread_the_decision_rests_on_the_signs_alone(arm: list[float], base: list[float], mean: float) -> None:
    found = paired(arm, base)
    assert (found.mean, found.sd, found.constant) == (pytest.approx(mean, abs=1e-15), 0.0, True)
    assert found.interval() == (found.mean, found.mean)
    assert found.p_t == (0.0 if mean else 1.0)
    assert found.p_decision == (0.25 if mean else 1.0)
    assert found.effect_size is None


def test_effect_size_is_in_units_of_the_differences_spread() -> None:
    assert paired([3, 4, 5], [1, 1, 1]).effect_size == pytest.approx(3.0)


@pytest.mark.parametrize(("arm", "base"), [([], []), ([1.0], [1.0, 2.0]), ([math.nan, 1.0], [1.0, 2.0])])
def test_refusals(arm: list[float], base: list[float]) -> None:
    with pytest.raises(ValueError, match=r"at least one|as many|finite"):
        paired(arm, base)
