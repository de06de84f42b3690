import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import DataObject

from seedwise.base import rng
from seedwise.data.dataset import Subset
from seedwise.data.splits import allocate, hold_out, limit_train, stratified_order, stratified_sample

counts_of_classes = st.lists(st.integers(2, 60), min_size=2, max_size=12)
seeds = st.integers(0, 2**31)


def subset(counts: list[int], seed: int) -> Subset:
    targets = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    return Subset(np.arange(len(targets)) * 3, targets, 3 * len(targets), images=None)  # type: ignore[arg-type]


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=20), st.data())
def test_largest_remainder_is_exact_and_within_one_of_proportional(counts: list[int], data: DataObject) -> None:
    counts = np.array(counts, np.int64)  # type: ignore[assignment]
    total = data.draw(st.integers(0, int(counts.sum())))  # type: ignore[attr-defined]
    seats = allocate(counts, total, counts)  # type: ignore[arg-type]
    assert seats.sum() == total and (seats <= counts).all() and (seats >= 0).all()
    quota = counts * total / max(1, counts.sum())  # type: ignore[attr-defined]
    assert (np.abs(seats - quota) < 1 + 1e-9).all()
    # no class that was rounded down has a larger remainder than one that was rounded up
    remainder = quota - np.floor(quota)
    up, down = seats > np.floor(quota), (seats <= np.floor(quota)) & (seats < counts)
    if up.any() and down.any():
        assert remainder[up].min() >= remainder[down].max() - 1e-9


@given(counts_of_classes, seeds, st.data())
def test_held_out_images_are_exact_disjoint_and_leave_every_class(
    counts: list[int], seed: int, data: DataObject
) -> None:
    whole = subset(counts, seed)
    count = data.draw(st.integers(1, sum(counts) - len(counts)))
    train, held = hold_out(whole, count, option="val", seed=seed, classes=("",) * len(counts))
    assert len(held) == count  # type: ignore[arg-type]
    assert np.array_equal(np.sort(np.concatenate([train.ids, held.ids])), whole.ids)
    assert (np.diff(held.ids) > 0).all() and (np.diff(train.ids) > 0).all()
    assert np.bincount(train.targets, minlength=len(counts)).min() >= 1
    for part in (train, held):
        assert np.array_equal(part.targets, whole.targets[part.ids // 3]) and part.rows_in_part == whole.rows_in_part


@given(counts_of_classes, seeds, st.data())
def test_limits_are_nested(counts: list[int], seed: int, data: DataObject) -> None:
    whole = subset(counts, seed)
    small, large = sorted(data.draw(st.tuples(*[st.integers(len(counts), sum(counts) + 3)] * 2)))
    inner, outer = limit_train(whole, small, seed=seed), limit_train(whole, large, seed=seed)
    assert np.isin(inner.ids, outer.ids).all()
    assert len(inner) == min(small, sum(counts)) and len(outer) == min(large, sum(counts))
    assert (np.diff(outer.ids) > 0).all()


@given(counts_of_classes, seeds, st.data())
def test_every_prefix_of_the_order_is_sainte_lague(counts: list[int], seed: int, data: DataObject) -> None:
    whole = subset(counts, seed)
    order = stratified_order(whole.targets, rng.generator(seed, "test"))
    assert np.array_equal(np.sort(order), np.arange(len(whole)))
    taken = np.bincount(whole.targets[order[: data.draw(st.integers(1, len(whole)))]], minlength=len(counts))
    # the defining inequality of the divisor method: no transfer of a seat brings two classes closer to proportion
    gained, next_in_line = (2 * taken - 1) / counts, (2 * taken + 1) / counts
    assert gained[taken > 0].max() <= 2 - 1 / max(counts)
    waiting = taken < counts
    if waiting.any():
        assert gained.max() <= next_in_line[waiting].min() + 1e-12


@given(counts_of_classes, seeds, st.data())
def test_samples_have_the_allocated_counts(counts: list[int], seed: int, data: DataObject) -> None:
    whole = subset(counts, seed)
    count = data.draw(st.integers(0, len(whole)))
    sample = stratified_sample(whole.targets, count, rng.generator(seed, "test"))
    array = np.array(counts)
    assert np.array_equal(np.bincount(whole.targets[sample], minlength=len(counts)), allocate(array, count, array))
    assert (np.diff(sample) > 0).all()
