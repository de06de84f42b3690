"""A top-1 moves in steps of one image: what outcomes that agree may claim, and which runs are pairs at all."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from seedwise.stats import Comparison, compare_arms, compare_classes, holm, paired, tost

FIFTY = np.arange(50)


def runs(right: list[int], images: int = 50, first: int = 0) -> tuple[dict[int, float], dict[int, np.ndarray]]:
    """Top-1 and hits by seed, of runs that have so many images right."""
    hits = {first + seed: np.arange(images) < count for seed, count in enumerate(right)}
    return {seed: float(one.mean()) for seed, one in hits.items()}, hits


def verdict_of(arm: list[int], base: list[int], margin: float, first: int = 0) -> Comparison:
    (tops, hits), (base_tops, base_hits) = runs(arm, first=first), runs(base)
    outcomes, correct = {"base": base_tops, "arm": tops}, {"base": base_hits, "arm": hits}
    return compare_arms(outcomes, "base", margin=margin, correct=correct)["arm"]


def test_six_equal_runs_rule_out_no_margin_finer_than_an_image() -> None:
    found = verdict_of([40] * 6, [40] * 6, margin=0.005)
    assert (found.verdict, found.p_equivalence, found.mean) == ("undecided", 1.0, 0.0)
    assert verdict_of([40] * 6, [40] * 6, margin=0.03).verdict == "no difference that matters"


def test_six_times_one_image_more_has_an_interval_with_a_width() -> None:
    found = verdict_of([41] * 6, [40] * 6, margin=0.005)
    half = float(stats.t.ppf(0.975, 5)) * 0.01 / 6**0.5
    assert found.ci95 == pytest.approx((0.02 - half, 0.02 + half))
    assert found.verdict == "helps" and found.p_holm == 2 / 64


@pytest.mark.parametrize(("images", "margin"), [(50, 0.005), (50, 0.02), (50, 0.025), (50, 0.03), (200, 0.0125)])
@pytest.mark.parametrize("wavering", [0.05, 0.2, 0.5])
def test_equivalence_is_rarely_false_where_the_true_difference_is_the_margin(
    images: int, margin: float, wavering: float
) -> None:
    """Six seeds; outcomes are whole images, and some runs have one more or less by chance."""
    rng, false, count = np.random.default_rng(images), 0, 1000
    whole, part = divmod(margin * images, 1)
    for _ in range(count):
        more = whole + (rng.random(6) < part) + (rng.random(6) < wavering) * rng.choice([-1, 1], 6)
        p = tost(replace(paired(more / images, np.zeros(6)), grain=1 / images), margin)
        assert p is not None
        false += p < 0.05
    assert false / count < 0.05


@pytest.mark.parametrize(
    ("common", "kind", "n", "unused"),
    [(6, "paired", 6, 0), (3, "paired", 3, 6), (2, "welch", 6, 0), (0, "welch", 6, 0)],
)
def test_few_common_seeds_don_t_throw_the_others_away(common: int, kind: str, n: int, unused: int) -> None:
    """Two of six seeds in common, and a difference that anybody sees: p was 0.09 by the two pairs alone."""
    arm, base = [44, 45, 44, 46, 45, 44], [35, 34, 36, 35, 34, 35]
    found = verdict_of(arm, base, margin=0.02, first=6 - common)
    assert (found.kind, found.n, found.unused) == (kind, n, unused)
    if kind == "welch":
        expected = stats.ttest_ind(np.array(arm) / 50, np.array(base) / 50, equal_var=False)
        assert found.p_t == pytest.approx(expected.pvalue) and found.verdict == "helps"


def test_classes_of_several_arms_are_one_family() -> None:
    rng = np.random.default_rng(0)
    labels, names = np.repeat(np.arange(4), 50), ["a", "b", "c", "d"]
    arm, base = ({seed: rng.random(200) < share for seed in range(6)} for share in (0.7, 0.55))
    alone, among = (compare_classes(arm, base, labels, names, size=size) for size in (None, 40))
    ps = [row.p for row in alone]
    assert [row.p_holm for row in alone] == holm(ps)
    assert [row.p_holm for row in among] == holm([*ps, *[None] * 36])[:4]
