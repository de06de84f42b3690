"""Simulated studies whose truth is known: how often the verdicts and the intervals are wrong."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from scipy import special

from seedwise.stats import compare_arms, decide, image_difference, judge, paired, spent

ARMS, MARGIN = 8, 0.002
Draw = Callable[[np.random.Generator, int], np.ndarray]
CLAIMS = ("helps", "hurts")


def gaussian(rng: np.random.Generator, n: int) -> np.ndarray:
    """Accuracies [1 + arms, seeds]: what a seed does to all arms alike, and what it does to each."""
    return 0.72 + rng.normal(0, 0.004, n) + rng.normal(0, 0.003, (1 + ARMS, n))


def of_few_images(rng: np.random.Generator, n: int) -> np.ndarray:
    """Accuracies on 200 images, often equal: half of them depend on the seed."""
    return (100 + rng.binomial(100, 0.6, (1 + ARMS, n))) / 200


def uneven(rng: np.random.Generator, n: int) -> np.ndarray:
    """Arms of different noise, with the occasional bad seed."""
    noise = rng.normal(0, 1, (1 + ARMS, n)) * np.linspace(0.001, 0.01, 1 + ARMS)[:, None]
    return 0.72 + noise * np.where(rng.random((1 + ARMS, n)) < 0.1, 3, 1)


def as_study(scores: np.ndarray) -> dict[str, dict[int, float]]:
    return {("base" if arm == 0 else f"arm-{arm}"): dict(enumerate(row.tolist())) for arm, row in enumerate(scores)}


def claims(scores: np.ndarray, look: int | None = None) -> bool:
    """Whether any arm is said to help or hurt."""
    found = compare_arms(as_study(scores), "base", margin=MARGIN, look=look)
    return any(each.verdict in CLAIMS for each in found.values())


def quick_claims(scores: np.ndarray, look: int | None = None) -> bool:
    """The same by the parts that decide it, without the numbers that don't."""
    pairs = [paired(row, scores[0]) for row in scores[1:]]
    return any(
        judge(pair.mean, each.significant, each.interval, False, MARGIN) in CLAIMS
        for pair, each in zip(pairs, decide(pairs, spent(look)), strict=True)
    )


Claims = Callable[[np.ndarray, int | None], bool]


def false_claims(draw: Draw, studies: int, claims: Claims = claims) -> float:
    rng = np.random.default_rng(6)
    return sum(claims(draw(rng, 5 + number % 6), None) for number in range(studies)) / studies


def false_claims_with_looks(draw: Draw, studies: int, claims: Claims = claims) -> float:
    """A look at six seeds, and another at fourteen."""
    rng, wrong = np.random.default_rng(614), 0
    for _ in range(studies):
        scores = draw(rng, 14)
        wrong += claims(scores[:, :6], 1) or claims(scores, 2)
    return wrong / studies


def t_coverage(n: int, studies: int) -> float:
    rng = np.random.default_rng(n)
    arm, base = rng.normal(0.7, 0.01, (studies, n)), rng.normal(0.65, 0.02, (studies, n))
    intervals = [paired(ours, theirs).interval() or (0, 0) for ours, theirs in zip(arm, base, strict=True)]
    return float(np.mean([low <= 0.05 <= high for low, high in intervals]))


Noise = tuple[float, float, float]
"""SDs of what a seed does to all images, of what it does to each, and of what the technique does to each image."""
SEEDS_ONLY, MIXED, IMAGES_MOSTLY, BOTH = (0.05, 0.5, 0.0), (0.05, 0.5, 0.5), (0.0, 0.3, 1.0), (0.02, 0.5, 0.5)
NOISES = (SEEDS_ONLY, MIXED, IMAGES_MOSTLY, BOTH)


def image_coverage(n: int, images: int, noise: Noise, studies: int) -> float:
    """Share of intervals with the true difference in them, when seeds and images are drawn anew for each study.

    An image is right if its margin is above 0: ease of the image + seed + seed on this image (+ technique on it).
    """
    rng, (seed_sd, each_sd, technique_sd) = np.random.default_rng([n, images, int(1000 * sum(noise))]), noise
    ease, spread, gain, within = 1.5, 1.5, 0.1, 0
    variance = spread**2 + seed_sd**2 + each_sd**2
    truth = special.ndtr((ease + gain) / math.sqrt(variance + technique_sd**2)) - special.ndtr(
        ease / math.sqrt(variance)
    )

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, dtype=np.float32)

    for _ in range(studies):
        image = ease + spread * normal(images)
        base = image + seed_sd * normal(n, 1) + each_sd * normal(n, images)
        changed = image + gain + technique_sd * normal(images)
        arm = changed + seed_sd * normal(n, 1) + each_sd * normal(n, images)
        found = image_difference((arm > 0).astype(np.int8) - (base > 0).astype(np.int8))
        assert found is not None
        low, high = found.interval()
        within += low <= truth <= high  # type: ignore[assignment]
    return within / studies


def test_false_claims() -> None:
    assert false_claims(gaussian, 2000, quick_claims) <= 0.055


def test_false_claims_of_looks_at_six_and_at_fourteen_seeds() -> None:
    assert false_claims_with_looks(gaussian, 1000, quick_claims) <= 0.055


def test_the_quick_way_claims_the_same() -> None:
    rng = np.random.default_rng(2)
    for number in range(60):
        scores = gaussian(rng, 6)
        scores[1:] += rng.normal(0, 0.003, (ARMS, 1))
        look = (None, 1, 2)[number % 3]
        assert claims(scores, look) == quick_claims(scores, look)


def test_what_is_true_is_found() -> None:
    """The counterpart: a rule that never claims anything would pass the others."""
    rng, found = np.random.default_rng(1), 0
    for _ in range(50):
        scores = gaussian(rng, 6)
        scores[1] -= 0.02
        found += compare_arms(as_study(scores), "base", margin=MARGIN)["arm-1"].verdict == "hurts"
    assert found >= 45


@pytest.mark.parametrize("n", [2, 6])
def test_t_intervals_cover(n: int) -> None:
    assert t_coverage(n, 4000) == pytest.approx(0.95, abs=0.01)


@pytest.mark.parametrize(("n", "noise"), [(5, MIXED), (8, BOTH), (3, MIXED)])
def test_image_intervals_cover(n: int, noise: Noise) -> None:
    assert 0.94 <= image_coverage(n, 500, noise, 1500) <= 0.985


def test_seeds_alone_do_not_cover_other_images() -> None:
    """Why there are two intervals: the check can fail."""
    rng, within, studies = np.random.default_rng(9), 0, 400
    for _ in range(studies):
        by_image = rng.normal(0, 1, 500)
        found = paired((by_image + rng.normal(0, 1, (5, 500))).mean(axis=1), np.zeros(5)).interval()
        within += found is not None and found[0] <= 0 <= found[1]
    assert within / studies < 0.9


def simultaneous(effects: np.ndarray, n: int, studies: int) -> tuple[float, float, float]:
    """Shares of families that keep promise (1), promise (2), and both (see `decide`); one draw for all arms' base."""
    rng = np.random.default_rng(n)
    zero, kept = effects == 0, []
    for _ in range(studies):
        scores = gaussian(rng, n)
        pairs = [paired(row + effect, scores[0]) for row, effect in zip(scores[1:], effects, strict=True)]
        intervals = np.array([each.interval for each in decide(pairs)], dtype=float)
        covered = (intervals[:, 0] <= effects) & (effects <= intervals[:, 1])
        kept.append((covered[zero].all(), covered[~zero].all(), covered.all()))
    return tuple(np.mean(kept, axis=0).tolist())  # type: ignore[return-value]


def effect_patterns() -> Iterator[np.ndarray]:
    for strong in (0, 1, 4, 7, 8):
        yield np.where(np.arange(ARMS) < strong, 0.05, 0.0)


@pytest.mark.parametrize("effects", list(effect_patterns()), ids=lambda e: f"{int((e > 0).sum())} of 8 true")
def test_simultaneous_intervals_keep_each_promise(effects: np.ndarray) -> None:
    first, second, both = simultaneous(effects, 6, 400)
    assert min(first, second) >= 0.93
    strong = float((effects > 0).mean())
    assert both >= 1 - spent(None) * (1 + strong) - 0.02


@pytest.mark.slow
@pytest.mark.parametrize("draw", [gaussian, of_few_images, uneven])
def test_false_claims_in_ten_thousand_studies(draw: Draw) -> None:
    assert false_claims(draw, 10_000) <= 0.055


@pytest.mark.slow
@pytest.mark.parametrize("draw", [gaussian, of_few_images, uneven])
def test_false_claims_in_ten_thousand_studies_looked_at_twice(draw: Draw) -> None:
    assert false_claims_with_looks(draw, 10_000) <= 0.055


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 3, 5, 6, 8, 10, 14])
def test_t_intervals_cover_in_ten_thousand_studies(n: int) -> None:
    assert t_coverage(n, 10_000) == pytest.approx(0.95, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("noise", NOISES, ids=["seeds", "mixed", "images", "both"])
@pytest.mark.parametrize("images", [500])
@pytest.mark.parametrize("n", [5, 7, 10])
def test_image_intervals_cover_under_both_noises(n: int, images: int, noise: Noise) -> None:
    assert image_coverage(n, images, noise, 10_000) == pytest.approx(0.95, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("noise", NOISES, ids=["seeds", "mixed", "images", "both"])
@pytest.mark.parametrize("n", [2, 3, 4])
def test_image_intervals_of_few_seeds_are_rather_too_wide(n: int, noise: Noise) -> None:
    assert 0.945 <= image_coverage(n, 500, noise, 10_000) <= 0.99


def report() -> None:
    """The table of docs/statistics.md."""
    for draw in (gaussian, of_few_images, uneven):
        print(f"false claims, {draw.__name__}: {false_claims(draw, 10_000):.4f}", flush=True)
        print(f"false claims with looks, {draw.__name__}: {false_claims_with_looks(draw, 10_000):.4f}", flush=True)
    for n in (2, 3, 5, 6, 8, 10, 14):
        print(f"t-intervals, {n} seeds: {t_coverage(n, 10_000):.4f}", flush=True)
    for effects in effect_patterns():
        kept = simultaneous(effects, 6, 10_000)
        print(f"promises, {int((effects > 0).sum())} of {ARMS} true:", *(f"{share:.4f}" for share in kept), flush=True)
    for images, seeds in ((500, (2, 3, 4, 5, 6, 7, 8, 10)), (2000, (5, 6, 7, 8, 10))):
        for n in seeds:
            kept = tuple(image_coverage(n, images, noise, 10_000) for noise in NOISES)  # type: ignore[assignment]
            print(f"image intervals, {n} seeds, {images} images:", *(f"{share:.4f}" for share in kept), flush=True)


if __name__ == "__main__":
    report()
