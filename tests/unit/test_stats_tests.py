"""Welch, McNemar, the bootstrap and the ratio against scipy; equivalence against its definition."""

import math
import warnings

import numpy as np
import pytest
from scipy import stats

from seedwise.stats import bootstrap, mcnemar, paired, ratio, spent, tost, welch


@pytest.mark.parametrize("m", [2, 3, 10, 30])
@pytest.mark.parametrize("n", [2, 5, 30])
@pytest.mark.parametrize("tied", [False, True])
def test_welch_as_scipy(m: int, n: int, tied: bool) -> None:
    rng = np.random.default_rng([m, n])
    arm, base = rng.normal(0.72, 0.01, m), rng.normal(0.7, 0.03, n)
    if tied:
        arm, base = np.round(arm, 2), np.round(base, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # scipy, of nearly equal values
        found, expected = welch(arm, base), stats.ttest_ind(arm, base, equal_var=False)
    interval = expected.confidence_interval()
    assert found.p_t == pytest.approx(float(expected.pvalue), rel=1e-9, abs=1e-9)
    assert found.df == pytest.approx(float(expected.df), rel=1e-9)
    assert found.interval() == pytest.approx((interval.low, interval.high), rel=1e-9, abs=1e-9)


def test_welch_with_one_side_constant_as_scipy() -> None:
    arm, base = [0.5, 0.5, 0.5], [0.4, 0.45, 0.47, 0.43]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        expected = stats.ttest_ind(arm, base, equal_var=False)
    assert welch(arm, base).p_t == pytest.approx(float(expected.pvalue), rel=1e-9)


def test_welch_without_spread_or_with_one_seed() -> None:
    both = welch([0.5, 0.5, 0.5], [0.4, 0.4])
    assert (both.p_t, both.p_decision, both.sd) == (0.0, 2 / 10, 0.0)
    same = welch([0.5, 0.5], [0.5, 0.5])
    assert (same.p_t, same.p_decision, same.mean) == (1.0, 1.0, 0.0)
    one = welch([0.5], [0.4, 0.45])
    assert (one.kind, one.mean, one.p_t, one.interval()) == ("single", pytest.approx(0.075), None, None)


@pytest.mark.parametrize("images", [1, 20, 400])
@pytest.mark.parametrize("seed", range(5))
def test_mcnemar_as_scipy(images: int, seed: int) -> None:
    rng = np.random.default_rng([images, seed])
    arm, base = rng.random(images) < 0.7, rng.random(images) < 0.6
    found = mcnemar(arm, base)
    apart = found.only_arm + found.only_base
    assert (found.only_arm, apart) == (int((arm > base).sum()), int((arm != base).sum()))
    expected = stats.binomtest(found.only_arm, apart).pvalue if apart else 1.0
    assert found.p == pytest.approx(expected, rel=1e-9)
    assert found.mean == pytest.approx(arm.mean() - base.mean())
    assert -1 <= found.ci95[0] <= found.mean <= found.ci95[1] <= 1


def test_mcnemars_interval_by_hand() -> None:
    arm, base = np.zeros((2, 100), dtype=bool)
    arm[:12], base[8:13] = True, True  # 8 only in arm, 1 only in base
    middle, half = 7 / 102, 1.959964 * math.sqrt((11 / 102 - (7 / 102) ** 2) / 102)
    assert mcnemar(arm, base).ci95 == pytest.approx((middle - half, middle + half), abs=1e-7)


def test_two_equal_networks_do_not_differ() -> None:
    found = mcnemar([True, False], [True, False])
    assert (found.p, found.mean) == (1.0, 0.0)
    with pytest.raises(ValueError, match="same images"):
        mcnemar([True], [True, False])


@pytest.mark.parametrize("n", [20, 25, 30])
@pytest.mark.parametrize("kind", ["normal", "skewed", "ties"])
def test_bootstrap_as_scipy(n: int, kind: str) -> None:
    rng = np.random.default_rng(n)
    values = {"normal": rng.normal(0, 1, n), "skewed": rng.exponential(1, n), "ties": rng.integers(-1, 2, n) / 10}[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        expected = stats.bootstrap(
            (values,), np.mean, method="BCa", n_resamples=9999, random_state=np.random.default_rng(0)
        ).confidence_interval
    assert bootstrap(values) == pytest.approx((expected.low, expected.high), rel=1e-9, abs=1e-9)


def test_bootstrap_is_for_many_seeds_only() -> None:
    assert bootstrap(np.arange(19)) is None
    assert bootstrap([0.25] * 20) == (0.25, 0.25)


@pytest.mark.parametrize("n", [2, 6, 30])
def test_ratio_is_the_paired_test_of_logarithms(n: int) -> None:
    rng = np.random.default_rng(n)
    base = rng.uniform(50, 60, n)
    arm = base * rng.lognormal(0.2, 0.05, n)
    expected = stats.ttest_rel(np.log(arm), np.log(base))
    interval = expected.confidence_interval()
    found = ratio(arm, base)
    assert found.ratio == pytest.approx(float(stats.gmean(arm / base)), rel=1e-9)
    assert found.p_t == pytest.approx(float(expected.pvalue), abs=1e-9)
    assert found.ci95 == pytest.approx((math.exp(interval.low), math.exp(interval.high)), rel=1e-9)


def test_ratio_without_pairs_and_of_one_run() -> None:
    unpaired = ratio([10.0, 11.0, 12.0], [5.0, 5.5], pairs=False)
    expected = stats.ttest_ind(np.log([10.0, 11, 12]), np.log([5, 5.5]), equal_var=False)
    assert unpaired.p_t == pytest.approx(float(expected.pvalue), abs=1e-9)
    one = ratio([3.0], [2.0])
    assert (one.ratio, one.ci95, one.p_t) == (pytest.approx(1.5), None, None)
    with pytest.raises(ValueError, match="above 0"):
        ratio([0.0], [1.0])


@pytest.mark.parametrize("n", [2, 5, 30])
@pytest.mark.parametrize("margin", [0.1, 0.5])
def test_equivalence_as_two_scipy_tests(n: int, margin: float) -> None:
    rng = np.random.default_rng(n)
    arm, base = rng.normal(0.05, 0.2, n), rng.normal(0, 0.2, n)
    lower = stats.ttest_1samp(arm - base, -margin, alternative="greater").pvalue
    upper = stats.ttest_1samp(arm - base, margin, alternative="less").pvalue
    found = paired(arm, base)
    p = tost(found, margin)
    assert p == pytest.approx(max(lower, upper), abs=1e-9)
    assert p is not None
    inside = found.interval(1 - 2 * p)  # the interval that just fits
    assert inside is not None
    if p < 0.5:
        assert max(-inside[0], inside[1]) == pytest.approx(margin)


def test_equivalence_without_spread_rests_on_the_number_of_seeds() -> None:
    assert tost(paired([0.5] * 5, [0.5] * 5), 0.01) == 1 / 32
    assert tost(paired([0.5] * 5, [0.4] * 5), 0.01) == 1.0
    assert tost(paired([0.5], [0.5]), 0.01) is None
    with pytest.raises(ValueError, match="margin"):
        tost(paired([0.5], [0.5]), 0.0)


def test_looks_spend_less_than_alpha_together() -> None:
    assert [spent(look) for look in (None, 1, 2, 3)] == [0.05, 0.025, 0.0125, 0.00625]
    assert sum(spent(look, 0.1) for look in range(1, 50)) <= 0.1
    with pytest.raises(ValueError, match="from 1"):
        spent(0)
    with pytest.raises(ValueError, match="alpha"):
        spent(1, 1.0)
