"""Arms that are decided seed by seed: what is frozen, and how often such a study is wrong, whoever looks when."""

import numpy as np
import pytest
from scipy import stats

from seedwise.stats import holm
from seedwise.stats.paths import ArmPath, follow
from seedwise.stats.sequential import Spending
from seedwise.stats.student import DIFFERENCE

MARGIN = 0.005
TWELVE = Spending(12)


def arms(
    effects: list[float], seeds: int, seed: int = 0, sd: float = 0.004
) -> dict[str, tuple[list[float], list[float]]]:
    """Outcomes of arms with these true effects in points; all share a base, and `sd` is that of paired differences."""
    rng = np.random.default_rng(seed)
    base = 0.7 + rng.normal(0, sd / 2**0.5, seeds)
    return {
        f"arm-{i}": ((0.7 + effect / 100 + rng.normal(0, sd / 2**0.5, seeds)).tolist(), base.tolist())
        for i, effect in enumerate(effects)
    }


def followed(
    pairs: dict[str, tuple[list[float], list[float]]], spending: Spending = TWELVE, **options: int
) -> dict[str, ArmPath]:
    return follow(pairs, spending, margin=MARGIN, bounds=DIFFERENCE, **options)


def test_every_number_by_scipy() -> None:
    pairs = arms([0, 1, -2], 8)
    found = followed(pairs, size=5)
    for arm, path in found.items():
        differences = np.subtract(*pairs[arm])
        for n in range(2, 9):
            assert path.p_t[n - 1] == pytest.approx(stats.ttest_1samp(differences[:n], 0).pvalue)
            assert path.boundary[n - 1] == TWELVE.boundary(0.01, n)
        q, n = path.boundary[path.n - 1], path.n
        half = stats.t.ppf(1 - q / 2, n - 1) * stats.sem(differences[:n])
        low, high = path.decision.interval or (0, 0)
        mean = differences[:n].mean()
        assert (path.difference.n, path.difference.mean) == (n, pytest.approx(mean))
        assert (low, high) == (pytest.approx(mean - half), pytest.approx(mean + half)) or 0 in np.round(
            (low, high), 300
        )
        assert (low > 0 or high < 0) == path.decision.significant
    hurts = found["arm-2"]
    assert hurts.decision.significant and 3 <= hurts.n < 8


def test_what_is_decided_is_frozen_whatever_comes_after() -> None:
    pairs = arms([3, 0], 4)
    before = followed(pairs)["arm-0"]
    assert before.decided and before.n in (3, 4)
    for more in ([0.1] * 6, [0.9] * 6):  # seeds that say the opposite
        ours, theirs = pairs["arm-0"]
        after = followed(pairs | {"arm-0": ([*ours, *more], [*theirs, *[0.7] * 6])})["arm-0"]
        assert (after.n, after.difference, after.decision.interval) == (
            before.n, before.difference, before.decision.interval
        )  # fmt: skip


def test_two_seeds_decide_nothing_and_an_arm_without_outcomes_counts() -> None:
    path = followed(arms([5], 2))["arm-0"]
    assert not path.decided and path.decision.interval is None and path.n == 2
    few, many = followed(arms([0.5], 3))["arm-0"], followed(arms([0.5], 3), size=5)["arm-0"]
    assert few.decision.p_holm is not None and many.decision.p_holm == pytest.approx(min(1, 5 * few.decision.p_holm))


def test_holms_test_of_frozen_and_open_arms() -> None:
    found = followed(arms([0, 0.5, 3, -3], 6))
    ps = [path.p[path.n - 1] for path in found.values()]
    assert [path.decision.p_holm for path in found.values()] == pytest.approx(holm(ps))


@pytest.mark.parametrize(("planned", "seeds"), [(6, 12), (12, 24)])
def test_a_false_difference_is_rare_at_any_stopping_rule(planned: int, seeds: int) -> None:
    """Eight arms without effect, looked at after each seed: within the level that is spent by then."""
    false, studies = 0, 400
    for number in range(studies):
        found = follow(arms([0] * 8, seeds, number), Spending(planned), margin=1e-9, bounds=DIFFERENCE)
        false += any(path.decision.significant for path in found.values())
    assert false / studies < 0.05 + 2 * (0.05 / studies) ** 0.5


@pytest.mark.slow
@pytest.mark.parametrize(("effect", "mean"), [(0, 14.1), (0.25, 21.5), (0.5, 13.1), (1, 7.2), (2, 5.3)])
def test_mean_seeds_to_a_decision(effect: float, mean: float) -> None:
    """One of eight arms while the others are open, SD 0.4, margin 0.5, 12 planned, no study longer than 29 seeds."""
    seeds = [followed(arms([effect], 29, number), size=8)["arm-0"].n for number in range(500)]
    assert np.mean(seeds) == pytest.approx(mean, abs=0.3 + 2 * np.std(seeds) / len(seeds) ** 0.5)
