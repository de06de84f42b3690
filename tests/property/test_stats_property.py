"""What holds for any outcomes whatever."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedwise.stats import compare_arms, decide, holm, image_difference, paired, sign_flip

CALM = settings(deadline=None, max_examples=150)
FRACTIONS = st.one_of(st.floats(0, 1), st.integers(0, 50).map(lambda right: right / 50))
MIRROR = {"helps": "hurts", "hurts": "helps"}


def families() -> st.SearchStrategy[dict[str, dict[int, float]]]:
    def of(shape: tuple[int, int]) -> st.SearchStrategy[dict[str, dict[int, float]]]:
        arms, seeds = shape
        row = st.lists(FRACTIONS, min_size=seeds, max_size=seeds).map(lambda values: dict(enumerate(values)))
        return st.lists(row, min_size=arms + 1, max_size=arms + 1).map(
            lambda rows: {("base" if i == 0 else f"arm-{i}"): each for i, each in enumerate(rows)}
        )

    return st.tuples(st.integers(1, 5), st.integers(1, 8)).flatmap(of)


@CALM
@given(families(), st.sampled_from([None, 1, 3]))
def test_intervals_agree_with_holm_and_all_is_finite(outcomes: dict[str, dict[int, float]], look: int | None) -> None:
    for each in compare_arms(outcomes, "base", margin=0.01, look=look).values():
        for value in each.to_json().values():
            for number in value if isinstance(value, list) else [value]:
                assert not isinstance(number, float) or math.isfinite(number)
        if each.ci95_simultaneous is None or each.p_holm is None:
            assert each.n == 1 and each.verdict == "undecided"
            continue
        low, high = each.ci95_simultaneous
        assert (low > 0 or high < 0) == (each.p_holm < each.alpha)
        assert low <= each.mean <= high
        assert (each.verdict in ("helps", "hurts", "real but too small to matter")) == (each.p_holm < each.alpha)
        assert each.p_signflip is not None and each.signflip_floor is not None
        assert each.signflip_floor <= each.p_signflip <= 1


@CALM
@given(families())
def test_base_and_arm_changed_round(outcomes: dict[str, dict[int, float]]) -> None:
    pair = {"base": outcomes["base"], "arm": outcomes["arm-1"]}
    there, back = compare_arms(pair, "base", margin=0.01)["arm"], compare_arms(pair, "arm", margin=0.01)["base"]
    assert back.mean == pytest.approx(-there.mean, abs=1e-15)
    assert back.p_t == pytest.approx(there.p_t, abs=1e-9)
    assert back.p_signflip == there.p_signflip
    assert back.verdict == MIRROR.get(there.verdict, there.verdict)


@CALM
@given(st.lists(st.floats(0, 1), max_size=12), st.randoms(use_true_random=False))
def test_holm_does_not_depend_on_the_order(ps: list[float], random: object) -> None:
    order = np.random.default_rng(len(ps)).permutation(len(ps))
    adjusted = holm(ps)
    assert holm([ps[i] for i in order]) == [adjusted[i] for i in order]


@CALM
@given(st.lists(st.integers(-5, 5), min_size=1, max_size=12))
def test_sign_flips_only_see_sizes_and_the_sum(steps: list[int]) -> None:
    p = sign_flip(steps)
    assert (
        p == sign_flip(steps[::-1]) == sign_flip([-step for step in steps]) == sign_flip([step / 7 for step in steps])
    )
    assert p == pytest.approx(round(p * 2 ** len(steps)) / 2 ** len(steps), abs=1e-15)  # a share of 2ⁿ patterns


@CALM
@given(st.integers(2, 6), st.integers(2, 40), st.integers(0, 2**32))
def test_images_as_random_never_make_the_standard_error_smaller(n: int, images: int, seed: int) -> None:
    matrix = np.random.default_rng(seed).integers(-1, 2, (n, images))
    found = image_difference(matrix)
    assert found is not None
    by_seed = matrix.mean(axis=1)
    assert found.se >= (paired(by_seed, np.zeros(n)).se or 0) - 1e-12
    (decision,) = decide([found])
    assert decision.interval is not None and decision.interval[0] <= found.mean <= decision.interval[1]
