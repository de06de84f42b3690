"""Differences by class: every number against the function that it comes from, and what is found."""

import json

import numpy as np
import pytest

from seedwise.stats import compare_classes, holm, image_difference, paired

CLASSES, EACH, SEEDS = 20, 100, range(5)
NAMES = [f"class-{index}" for index in range(CLASSES)]
LABELS = np.repeat(np.arange(CLASSES), EACH)
SUPERCLASS = np.arange(CLASSES) // 5


def runs(fish: float = 0.0, seed: int = 0) -> tuple[dict[int, np.ndarray], ...]:
    """Two arms that each do something to single images, to either side; the first loses `fish` on superclass 1."""
    rng = np.random.default_rng(seed)

    def arm(loss: float) -> dict[int, np.ndarray]:
        image = ease + 0.5 * rng.normal(0, 1, LABELS.size) - np.where(SUPERCLASS[LABELS] == 1, loss, 0)
        return {s: image + rng.normal(0, 0.5, LABELS.size) > 0 for s in SEEDS}

    ease = rng.normal(1, 1.2, LABELS.size)
    return arm(fish), arm(0.0)


def test_every_number() -> None:
    arm, base = runs(fish=0.8)
    found = compare_classes(arm, base, LABELS, NAMES)
    assert [row.name for row in found] == NAMES
    ps = []
    for index, row in enumerate(found):
        of_class = np.flatnonzero(index == LABELS)
        part = np.array([arm[s][of_class] * 1 - base[s][of_class] * 1 for s in SEEDS])
        both, alone = image_difference(part), paired(part.mean(axis=1), np.zeros(len(SEEDS)))
        assert both is not None
        ps.append(both.p_decision)
        assert (row.images, row.mean, row.sd, row.p_t) == (EACH, both.mean, alone.sd, alone.p_t)
        assert (row.p, row.ci95) == (pytest.approx(both.p_decision, rel=1e-9), pytest.approx(both.interval(), rel=1e-9))
    assert [row.p_holm for row in found] == pytest.approx(holm(ps), rel=1e-9)
    for row in found:
        low, high = row.ci95_simultaneous
        assert (low > 0 or high < 0) == (row.p_holm < 0.05) == (row.verdict != "undecided")
    json.dumps([row.to_json() for row in found], allow_nan=False)


def test_what_hurts_one_superclass_is_found_there_alone() -> None:
    arm, base = runs(fish=0.8)
    found = compare_classes(arm, base, LABELS, ["trees", "fish", "cars", "birds"], superclass_of=SUPERCLASS.tolist())
    assert [row.verdict for row in found] == ["undecided", "worse", "undecided", "undecided"]
    assert [row.images for row in found] == [500] * 4


def test_odd_images_are_not_taken_for_a_class() -> None:
    """No class has an effect here, but single images have, which seeds alone would show again and again."""
    wrong, by_seeds_alone = 0, 0
    for seed in range(60):
        rows = compare_classes(*runs(seed=seed), LABELS, NAMES)  # type: ignore[arg-type, call-arg]
        wrong += any(row.verdict != "undecided" for row in rows)
        by_seeds_alone += any(p is not None and p < 0.05 for p in holm([row.p_t for row in rows]))
    assert wrong <= 6  # 3 are to be expected
    assert by_seeds_alone >= 7


def test_what_cannot_be_said_is_left_out() -> None:
    arm, base = runs()
    assert compare_classes({0: arm[0]}, base, LABELS, NAMES) == []
    labels = np.where(LABELS == 3, 4, LABELS)
    labels[300] = 3  # a class with one image
    assert [row.name for row in compare_classes(arm, base, labels, NAMES)] == [n for n in NAMES if n != "class-3"]
    with pytest.raises(ValueError, match="as many labels"):
        compare_classes(arm, base, LABELS[:-1], NAMES)
