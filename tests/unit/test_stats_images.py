"""The two-way difference against a slow analysis of variance, and its limits."""

import math

import numpy as np
import pytest
from scipy import stats

from seedwise.stats import image_difference, over_images, paired


def slow_mean_squares(matrix: np.ndarray) -> tuple[float, float, float]:
    """The table of a two-way analysis of variance without replication, cell by cell."""
    n, count = matrix.shape
    mean = sum(float(cell) for cell in matrix.flat) / matrix.size
    rows = [sum(float(cell) for cell in row) / count for row in matrix]
    columns = [sum(float(cell) for cell in column) / n for column in matrix.T]
    seeds = sum(count * (row - mean) ** 2 for row in rows) / (n - 1)
    images = sum(n * (column - mean) ** 2 for column in columns) / (count - 1)
    rest = sum((matrix[i, j] - rows[i] - columns[j] + mean) ** 2 for i in range(n) for j in range(count))
    return seeds, images, rest / ((n - 1) * (count - 1))


def draw(n: int, images: int, technique: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng([n, images, seed])
    ease = rng.normal(1, 1.5, images)
    base = ease + rng.normal(0, 0.5, (n, images))
    arm = ease + technique * rng.normal(0, 1, images) + rng.normal(0, 0.5, (n, images)) + rng.normal(0, 0.1, (n, 1))
    return (arm > 0).astype(int) - (base > 0).astype(int)


@pytest.mark.parametrize("n", [2, 5, 9])
@pytest.mark.parametrize("technique", [0.0, 1.0])
def test_as_a_slow_analysis_of_variance(n: int, technique: float) -> None:
    matrix = draw(n, 60, technique)
    found = image_difference(matrix)
    assert found is not None
    a, b, e = slow_mean_squares(matrix)
    assert found.mean == pytest.approx(matrix.mean())
    assert found.se_seeds == pytest.approx(math.sqrt(a / matrix.size))
    assert found.se == pytest.approx(math.sqrt((a + max(b - e, 0)) / matrix.size))
    if b > e:
        df = (a + b - e) ** 2 / (a**2 / (n - 1) + b**2 / 59 + e**2 / ((n - 1) * 59))
        assert found.df == pytest.approx(max(n - 1, df))
    if n >= 5:
        assert found.interval(0.9) == pytest.approx(stats.t.interval(0.9, found.df, found.mean, found.se))


def test_the_seeds_part_is_the_paired_difference() -> None:
    matrix = draw(6, 500, 0.5)
    by_seed = matrix.mean(axis=1)
    found, alone = image_difference(matrix), paired(by_seed, np.zeros(6))
    assert found is not None
    assert (found.mean, found.se_seeds) == (pytest.approx(alone.mean), pytest.approx(alone.se))
    wide, narrow = found.interval(), alone.interval()
    assert narrow is not None and wide[0] < narrow[0] and narrow[1] < wide[1]


def test_equal_seeds_leave_mcnemars_wald_interval() -> None:
    """With many equal networks only the images are random: the Wald variance of a difference of paired proportions."""
    row = draw(2, 4000, 1.0)[:1]
    found = image_difference(np.repeat(row, 6, axis=0))
    assert found is not None
    assert (found.se_seeds, found.se) == (0.0, pytest.approx(row.std(ddof=1) / math.sqrt(4000)))


@pytest.mark.parametrize("n", [2, 3, 4, 5, 9])
@pytest.mark.parametrize("technique", [0.0, 1.0])
def test_p_and_interval_agree(n: int, technique: float) -> None:
    found = image_difference(draw(n, 200, technique, seed=n))
    assert found is not None and found.mean
    low, high = found.interval(1 - found.p_decision)
    assert min(abs(low), abs(high)) == pytest.approx(0, abs=1e-6)


def test_limits() -> None:
    assert image_difference(np.zeros((1, 9))) is None
    assert image_difference(np.zeros((9, 1))) is None
    nothing, everything = image_difference(np.zeros((3, 9))), image_difference(np.ones((3, 9)))
    assert nothing is not None and nothing.p_decision == 1.0
    assert everything is not None and everything.p_decision == 0.25
    with pytest.raises(ValueError, match="a row a seed"):
        image_difference(np.zeros(9))


@pytest.mark.parametrize("images", [2, 9, 400])
@pytest.mark.parametrize("level", [0.9, 0.95, 0.999])
def test_equal_images_leave_as_much_room_as_no_success_in_so_many(images: int, level: float) -> None:
    """Two images that no network classifies otherwise don't show that other images aren't either."""
    others = stats.binomtest(0, images, alternative="less").proportion_ci(level, method="exact").high
    for value, low, high in ((0, -others, others), (1, 1 - 2 * others, 1), (-1, -1, -1 + 2 * others)):
        found = image_difference(np.full((3, images), value))
        assert found is not None and found.interval(level) == pytest.approx((low, high))
        alone = over_images(np.full(images, (1 + value) / 2), np.full(images, (1 - value) / 2))
        assert alone.interval(level) == pytest.approx((low, high))


@pytest.mark.parametrize("n", [2, 3, 5, 9])
@pytest.mark.parametrize("images", [2, 3, 7])
def test_no_interval_is_outside_what_is_possible(n: int, images: int) -> None:
    for seed in range(200):
        matrix = np.random.default_rng([n, images, seed]).integers(-1, 2, (n, images))
        found = image_difference(matrix)
        assert found is not None
        low, high = found.interval(0.999)
        assert -1 <= low <= found.mean <= high <= 1 and low < high
        alone = over_images(matrix[0], np.zeros(images)).interval(0.999)
        assert alone is not None and -1 <= alone[0] < alone[1] <= 1


@pytest.mark.parametrize("n", [2, 3, 6, 7, 10, 14, 30])
@pytest.mark.parametrize("images", [31, 33, 97, 100])
def test_as_many_images_more_on_every_seed_are_no_certainty(n: int, images: int) -> None:
    """Another image each time: there is no spread at all, which rounding errors must not turn into a tiny one."""
    matrix = np.zeros((n, images), np.int8)
    matrix[np.arange(n), np.arange(n)] = 1
    found = image_difference(matrix)
    assert found is not None and found.mean == pytest.approx(1 / images)
    assert (found.se, found.p_decision) == (0.0, 2 / 2**n)
    each = matrix.mean(axis=0)
    assert found.interval() == pytest.approx(stats.t.interval(0.95, images - 1, each.mean(), stats.sem(each)))
