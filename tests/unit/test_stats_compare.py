"""A whole family: every number against the function that it comes from, pairs of seeds, JSON."""

import json
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from seedwise.stats import compare_arms, holm, image_difference, mcnemar, paired, sign_flip, tost, welch
from seedwise.stats.compare import Comparison, Outcomes

MARGIN = 0.005
IMAGES = 300


def study(seeds: int = 6) -> tuple[dict[str, dict[int, float]], dict[str, dict[int, np.ndarray]]]:
    rng = np.random.default_rng(seeds)
    ease = rng.normal(1, 1, IMAGES)
    correct = {
        arm: {seed: ease + shift + rng.normal(0, 0.3, IMAGES) > 0 for seed in range(10, 10 + seeds)}
        for arm, shift in (("base", 0.0), ("no-cutmix", -0.5), ("bilinear", 0.0))
    }
    outcomes = {arm: {seed: float(right.mean()) for seed, right in runs.items()} for arm, runs in correct.items()}
    return outcomes, correct


def test_every_number_of_a_family() -> None:
    outcomes, correct = study()
    found = compare_arms(outcomes, "base", margin=MARGIN, correct=correct)
    assert list(found) == ["no-cutmix", "bilinear"]
    pairs = {
        arm: replace(paired(list(outcomes[arm].values()), list(outcomes["base"].values())), grain=1 / IMAGES)
        for arm in found
    }
    for arm, p, p_equivalence in zip(
        found, holm([each.p_t for each in pairs.values()]), holm([tost(each, MARGIN) for each in pairs.values()])
    ):
        each, pair = found[arm], pairs[arm]
        assert (each.kind, each.seeds, each.n) == ("paired", [10, 11, 12, 13, 14, 15], 6)
        assert (each.mean, each.sd, each.p_t, each.ci95) == (pair.mean, pair.sd, pair.p_t, pair.interval())
        assert (each.p_holm, each.p_equivalence, each.p_equivalence_holm) == (p, tost(pair, MARGIN), p_equivalence)
        assert (each.effect_size, each.signflip_floor, each.signflip_exact) == (pair.effect_size, 1 / 32, True)
        assert each.p_signflip == sign_flip([outcomes[arm][seed] - outcomes["base"][seed] for seed in each.seeds])
        matrix = np.array([correct[arm][seed] * 1 - correct["base"][seed] * 1 for seed in each.seeds])
        images = image_difference(matrix)
        assert images is not None
        assert (each.ci95_images, each.se_images) == (images.interval(), images.se_images)
    assert found["no-cutmix"].verdict == "hurts"
    assert found["no-cutmix"].sentence.startswith("hurts: −")


def test_as_json() -> None:
    outcomes, correct = study()
    found = compare_arms(outcomes, "base", margin=MARGIN, correct=correct, look=1)["bilinear"]
    again = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert {"mean", "ci95", "p_t", "p_holm", "p_signflip", "ci95_simultaneous", "ci95_images", "verdict"} <= set(again)
    assert again["mean"] == found.mean  # to the last bit
    assert tuple(again["ci95_simultaneous"]) == found.ci95_simultaneous
    assert again["alpha"] == 0.025


def test_a_later_look_needs_more() -> None:
    base = {seed: 0.7 + 0.001 * seed for seed in range(6)}
    lift = [0.003, 0.006, 0.007, 0.006, 0.010, 0.004]  # p = 0.0017
    lift = [value - 0.0026 for value in lift]
    outcomes: Outcomes = {"base": base, "arm": {seed: base[seed] + lift[seed] for seed in range(6)}}
    p = compare_arms(outcomes, "base", margin=1e-4)["arm"].p_t
    assert p is not None and 0.0125 < p < 0.025
    verdicts = {look: compare_arms(outcomes, "base", margin=1e-4, look=look)["arm"] for look in (None, 1, 2)}
    assert [each.verdict for each in verdicts.values()] == ["helps", "helps", "undecided"]
    for each in verdicts.values():
        assert each.ci95_simultaneous is not None
        assert (each.ci95_simultaneous[0] > 0) == (each.verdict == "helps")


def only(outcomes: Outcomes, **more: object) -> Comparison:
    (found,) = compare_arms(outcomes, "base", margin=MARGIN, **more).values()  # type: ignore[arg-type]
    return found


def test_seeds_are_matched_not_counted() -> None:
    base = {1: 0.7, 2: 0.72, 3: 0.71}
    shuffled = only({"base": base, "arm": {3: 0.72, 1: 0.71, 2: 0.74, 9: 0.1}})
    assert (shuffled.kind, shuffled.n, shuffled.seeds) == ("paired", 3, [1, 2, 3])
    assert shuffled.mean == pytest.approx(0.04 / 3)


def test_seeds_that_do_not_match_take_welchs_test() -> None:
    base, arm = {1: 0.7, 2: 0.72, 3: 0.71}, {3: 0.72, 4: 0.75}
    found, expected = only({"base": base, "arm": arm}), welch(list(arm.values()), list(base.values()))
    assert (found.kind, found.p_t, found.ci95) == ("welch", expected.p_t, expected.interval())
    assert (found.seeds, found.p_signflip, found.ci95_images) == ([3, 4], None, None)


@pytest.mark.parametrize("seed", [1, 2])
def test_two_single_runs_take_mcnemars_test(seed: int) -> None:
    right = np.arange(100) < 70
    left = np.arange(100) < 82
    found = only({"base": {1: 0.7}, "arm": {seed: 0.82}}, correct={"base": {1: right}, "arm": {seed: left}})
    assert (found.kind, found.n, found.p_t, found.p_holm, found.ci95) == ("single", 1, None, None, None)
    assert (found.p_mcnemar, found.ci95_mcnemar) == (mcnemar(left, right).p, mcnemar(left, right).ci95)
    assert found.verdict == "undecided" and "single seed" in found.sentence
    json.dumps(found.to_json(), allow_nan=False)


def test_one_run_against_several_pairs_the_seed_they_share() -> None:
    found = only({"base": {1: 0.7, 2: 0.8}, "arm": {2: 0.81}})
    assert (found.kind, found.seeds, found.mean) == ("single", [2], pytest.approx(0.01))


def test_arms_still_to_come_belong_to_the_family() -> None:
    outcomes, _ = study()
    alone = compare_arms({arm: outcomes[arm] for arm in ("base", "no-cutmix")}, "base", margin=MARGIN)
    planned = compare_arms(outcomes | {"bilinear": {}}, "base", margin=MARGIN)
    sized = compare_arms({arm: outcomes[arm] for arm in ("base", "no-cutmix")}, "base", margin=MARGIN, size=2)
    assert list(planned) == ["no-cutmix"]
    p = alone["no-cutmix"].p_holm or 0
    assert planned["no-cutmix"].p_holm == sized["no-cutmix"].p_holm == pytest.approx(2 * p)
    assert compare_arms({"base": {1: 0.5}}, "base", margin=MARGIN) == {}


def test_few_seeds_without_spread_are_not_a_proof() -> None:
    """On a hundred images two seeds often gain one image each; Student's t alone would be certain of it."""
    found = only({"base": {1: 0.7, 2: 0.71}, "arm": {1: 0.72, 2: 0.73}})
    assert (found.p_t, found.p_holm, found.verdict) == (0.0, 0.5, "undecided")
    assert "the same difference" in found.sentence


def test_what_rounding_explains_is_no_difference() -> None:
    found = only({"base": dict.fromkeys(range(3), 0.3), "arm": dict.fromkeys(range(3), 0.1 + 0.2)})
    assert (found.mean, found.p_t, found.p_holm, found.p_signflip) == (0.0, 1.0, 1.0, 1.0)


def test_many_seeds_have_a_bootstrap_interval() -> None:
    rng = np.random.default_rng(0)
    for n in (19, 20):
        base = dict(enumerate(rng.normal(0.7, 0.01, n).tolist()))
        found = only({"base": base, "arm": {seed: value + rng.normal(0, 0.01) for seed, value in base.items()}})
        assert (found.ci95_bootstrap is not None) == (n == 20)


def test_less_is_better_for_a_loss() -> None:
    base = {seed: 1.0 + 0.01 * seed for seed in range(6)}
    arm = {seed: value - 0.2 - 0.001 * seed**2 for seed, value in base.items()}
    assert only({"base": base, "arm": arm}, better=-1).verdict == "helps"
    assert only({"base": base, "arm": arm}).verdict == "hurts"


def test_refusals() -> None:
    with pytest.raises(ValueError, match="base 'x' has no outcomes"):
        compare_arms({"base": {1: 0.5}}, "x", margin=MARGIN)
    with pytest.raises(ValueError, match="margin"):
        only({"base": {1: 0.5}, "arm": {1: 0.5}}, look=None) and compare_arms(
            {"base": {1: 0.5}, "arm": {1: 0.5}}, "base", margin=0
        )
    with pytest.raises(ValueError, match="finite"):
        only({"base": {1: 0.5, 2: 0.5}, "arm": {1: math.nan, 2: 0.5}})
    with pytest.raises(ValueError, match="different numbers of images"):
        right = {1: np.ones(3), 2: np.ones(3)}
        only(
            {"base": {1: 0.5, 2: 0.5}, "arm": {1: 0.5, 2: 0.5}},
            correct={"base": right, "arm": {**right, 2: np.ones(4)}},
        )


def test_importing_the_package_does_not_import_scipy() -> None:
    script = "import sys, seedwise.stats; sys.exit(bool({'scipy', 'torch', 'pandas'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_differences_of_shares_are_at_most_one() -> None:
    outcomes = {"base": {0: 0.2, 1: 0.9}, "arm": {0: 0.9, 1: 0.5}, "other": {2: 0.3, 3: 0.8}}
    for bounds, most in (((0.0, 1.0), 1.0), ((0.0, 2.0), 2.0), ((-math.inf, math.inf), math.inf)):
        for found in compare_arms(outcomes, "base", margin=0.005, bounds=bounds).values():
            for low, high in (found.ci95 or (0, 0), found.ci95_simultaneous or (0, 0)):
                assert -most <= low < found.mean < high <= most and high >= min(most, 2)
