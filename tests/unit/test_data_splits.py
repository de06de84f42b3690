from typing import Any

import numpy as np
import pytest

from seedwise.base import rng
from seedwise.base.errors import UserError
from seedwise.data.dataset import Subset
from seedwise.data.splits import allocate, hold_out, limit_train, stratified_order, stratified_sample, train_probe


def subset(counts: list[int], seed: int = 0) -> Subset:
    targets = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    return Subset(np.arange(len(targets)), targets, len(targets), images=None)


def names(counts: list[int]) -> tuple[Any, ...]:
    return tuple(f"c{index}" for index in range(len(counts)))


def test_largest_remainder_by_hand() -> None:
    # the textbook example (Wikipedia, "Largest remainder method", Hare quota): 100,000 votes, 10 seats
    votes = np.array([47000, 16000, 15800, 12000, 6100, 3100])
    assert allocate(votes, 10, votes).tolist() == [5, 2, 1, 1, 1, 0]


def test_cifar_like_validation_is_exact() -> None:
    train, val = hold_out(subset([500] * 100), 0.1, option="val", seed=0, classes=names([500] * 100))
    assert np.bincount(val.targets).tolist() == [50] * 100 and np.bincount(train.targets).tolist() == [450] * 100
    assert (np.diff(val.ids) > 0).all() and (np.diff(train.ids) > 0).all()
    assert np.array_equal(np.sort(np.concatenate([train.ids, val.ids])), np.arange(50000))
    again = hold_out(subset([500] * 100), 5000, option="val", seed=0, classes=names([500] * 100))[1]
    assert np.array_equal(again.ids, val.ids)
    other = hold_out(subset([500] * 100), 5000, option="val", seed=1, classes=names([500] * 100))[1]
    assert 300 < len(np.intersect1d(other.ids, val.ids)) < 700  # 500 expected from independent draws


def test_every_class_keeps_an_image_to_train_on() -> None:
    counts = [2, 2, 2, 30]
    train, val = hold_out(subset(counts), 31, option="val", seed=0, classes=names(counts))
    assert len(val) == 31 and np.bincount(train.targets, minlength=4).min() >= 1


@pytest.mark.parametrize(
    ("counts", "share", "message"),
    [
        ([5, 1, 5], 9, "choose from 1 to 8 images"),
        ([1, 1], 1, "choose from 1 to 0 images"),
        ([5, 5], 9, "choose from 1 to 8 images"),
        ([5, 5], 100, "choose from 1 to 8 images"),
    ],
)
def test_splits_that_cannot_be_made(counts: list[int], share: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        hold_out(subset(counts), share, option="val", seed=0, classes=names(counts))


@pytest.mark.parametrize("counts", [[5, 1, 5], [2, 2, 2, 2], [1, 9]])
def test_rare_classes_stay_in_train(counts: list[int]) -> None:
    train, held = hold_out(subset(counts), 0.25, option="test", seed=0, classes=names(counts))
    assert np.bincount(train.targets, minlength=len(counts)).min() >= 1 and len(held) == (sum(counts) + 2) // 4
    assert len(train) + len(held) == sum(counts)


@pytest.mark.parametrize(("counts", "share"), [([1, 1, 1], 0.5), ([2, 2], 0.1), ([1, 1], 0.9)])
def test_a_fraction_that_comes_to_nothing_holds_out_nothing(counts: list[int], share: float) -> None:
    whole = subset(counts)
    assert hold_out(whole, share, option="val", seed=0, classes=names(counts)) == (whole, None)


def test_probe_is_fixed_and_capped() -> None:
    train = subset([700, 6000, 300])
    probe = train_probe(train)
    assert np.bincount(probe.targets).tolist() == [500, 4286, 214]  # 5000 * 700/7000, 4285.71, 214.29
    assert np.array_equal(probe.ids, train_probe(train, 5000).ids)
    assert len(train_probe(subset([20, 20]))) == 40


def test_limit_of_equal_classes_is_even_and_large_limits_keep_all() -> None:
    train = subset([50] * 10)
    assert np.bincount(limit_train(train, 137, seed=0).targets).tolist().count(14) == 7
    assert limit_train(train, 500, seed=0) is train and limit_train(train, 10**9, seed=0) is train


def test_chosen_images_are_random_within_their_class() -> None:
    targets = np.zeros(10_000, np.int64)
    chosen = stratified_sample(targets, 1000, rng.generator(0, "test"))
    assert abs(chosen.mean() - 5000) < 5 * 10_000 / np.sqrt(12 * 1000)
    order = stratified_order(targets, rng.generator(0, "test"))
    assert abs(np.corrcoef(order, np.arange(10_000))[0, 1]) < 0.05
