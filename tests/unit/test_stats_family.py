"""Holm against a slow loop, and intervals that agree with it."""

import math

import numpy as np
import pytest
from scipy import stats

from seedwise.stats import decide, holm, paired
from seedwise.stats.images import ImageDifference


def slow_holm(ps: list[float], alpha: float) -> list[bool]:
    """Holm 1979 as it is told: go through the p's from the smallest, and stop at the first above alpha/(m - i + 1)."""
    rejected = [False] * len(ps)
    for step, place in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        if ps[place] >= alpha / (len(ps) - step):
            break
        rejected[place] = True
    return rejected


@pytest.mark.parametrize("m", [1, 2, 3, 8, 100])
@pytest.mark.parametrize("seed", range(5))
def test_holm_as_a_slow_loop(m: int, seed: int) -> None:
    rng = np.random.default_rng([m, seed])
    ps = [float(p) for p in rng.random(m) ** 4]
    if m > 2:
        ps[1] = ps[0]
    adjusted = [p for p in holm(ps) if p is not None]
    assert len(adjusted) == m
    for alpha in (0.01, 0.025, 0.05, 0.2, 0.5, 0.9):
        assert [p < alpha for p in adjusted] == slow_holm(ps, alpha)
    for p, original in zip(adjusted, ps, strict=True):
        assert original <= p <= min(1.0, m * original)


def test_holm_on_paper() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.01, None]) == [0.02, None]  # one that has no p yet is a member all the same
    assert holm([]) == []
    with pytest.raises(ValueError, match="in \\[0, 1\\]"):
        holm([1.5])


def test_where_bonferroni_suffices_the_interval_is_bonferronis() -> None:
    rng = np.random.default_rng(0)
    pairs = [paired(rng.normal(shift, 1, 6), np.zeros(6)) for shift in (20, 0, 0.5)]
    for pair, decision in zip(pairs, decide(pairs), strict=True):
        sem = (pair.sd or 0) / math.sqrt(6)
        assert decision.interval == pytest.approx(stats.t.interval(1 - 0.05 / 3, 5, pair.mean, sem), rel=1e-9)


def test_where_holm_finds_more_the_interval_is_cut_at_zero() -> None:
    strong = ImageDifference(10, 100, 0.5, 0.1, 0.0, 9.0, 0.1)
    weak = ImageDifference(10, 100, -0.24, 0.1, 0.0, 9.0, 0.1)  # p = 0.040: below 0.05, not below 0.025
    assert 0.025 < weak.p_decision < 0.05
    first, second = decide([strong, weak])
    assert first.significant and second.significant
    assert second.interval is not None and first.interval is not None
    low, high = second.interval
    assert low < -0.4 and high == -5e-324
    alone, _ = decide([weak, ImageDifference(10, 100, 0.0, 0.1, 0.0, 9.0, 0.1)])
    assert not alone.significant and alone.interval is not None and alone.interval[1] > 0


def test_members_without_a_p_have_no_decision_but_count() -> None:
    one, two = paired([0.7], [0.6]), paired([0.72, 0.71, 0.74], [0.7, 0.7, 0.7])
    none, found = decide([one, two], size=4)
    assert (none.p_holm, none.significant, none.interval) == (None, False, None)
    assert found.p_holm == pytest.approx(4 * (two.p_t or 0))
    with pytest.raises(ValueError, match="family of 1"):
        decide([one, two], size=1)


def test_without_spread_zero_is_left_out_only_with_enough_seeds() -> None:
    few, many = ([paired([0.5] * n, [0.25] * n)] for n in (5, 6))
    assert decide(few)[0].interval == (0.0, 0.25)  # 2/2⁵ is above 0.05
    assert decide(many)[0].interval == (0.25, 0.25)
