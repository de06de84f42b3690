"""Mean, spread and interval against scipy's own."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from seedwise.stats import SHARE, summarize


@pytest.mark.filterwarnings("ignore:Precision loss:RuntimeWarning")  # scipy on nearly equal values
@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=30))
def test_against_scipy(values: list[float]) -> None:
    summary = summarize(values)
    assert summary.n == len(values)
    assert summary.mean == pytest.approx(math.fsum(values) / len(values), rel=1e-12, abs=1e-15)
    assert summary.sd == pytest.approx(stats.tstd(values), rel=1e-9, abs=1e-15)
    assert summary.ci95 is not None
    low, high = summary.ci95
    assert low <= summary.mean <= high
    scale = stats.sem(values)
    if scale > 1e-12:  # scipy has no interval of a constant
        expected = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=scale)
        assert (low, high) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_the_issues_own_line() -> None:
    summary = summarize([0.7213 + d for d in (-0.0026, -0.0013, 0.0, 0.0013, 0.0026)])
    assert str(summary) == "0.7213 ± 0.0021 (n=5), 95% CI [0.7187, 0.7239]"


def test_one_value_has_no_spread() -> None:
    summary = summarize([0.5])
    assert (summary.n, summary.mean, summary.sd, summary.ci95) == (1, 0.5, None, None)
    assert str(summary) == "0.5000 (n=1, no spread)"


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_constants(value: float) -> None:
    summary = summarize([value] * 4)
    assert (summary.mean, summary.sd, summary.ci95) == (value, 0.0, (value, value))


def test_a_share_is_never_above_one() -> None:
    low, high = summarize([0.97, 1.0], SHARE).ci95 or (0, 0)
    assert (low, high) == (pytest.approx(0.985 - 12.7062 * 0.015, abs=1e-5), 1.0)
    assert (summarize([0.0, 0.03], SHARE).ci95 or (1, 1))[0] == 0.0


def test_two_values_have_a_wide_interval() -> None:
    summary = summarize([0.7, 0.8])
    assert summary.ci95 == pytest.approx((0.75 - 12.7062 * 0.05, 0.75 + 12.7062 * 0.05), abs=1e-5)


def test_arrays_are_values_too() -> None:
    assert summarize(np.array([0.25, 0.75])).mean == 0.5  # type: ignore[arg-type]


def test_nothing_can_be_said_of_nothing() -> None:
    with pytest.raises(ValueError, match="no values"):
        summarize([])
