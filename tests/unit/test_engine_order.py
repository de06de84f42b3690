"""Which images a step sees: each once an epoch, in even groups, in an order that the seed and the epoch decide."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedwise.engine.loop import epoch_steps, split_evenly
from seedwise.engine.setup import Setup
from seedwise.optim.config import OptimConfig
from seedwise.recipe.schema import TrainConfig


def setup(images: int, batch_size: int, accumulate: int = 1, seed: int = 0, epochs: int = 3) -> Setup:
    unused: Any = None
    return Setup(
        model=unused,
        optimizer=unused,
        loss=unused,
        augment=unused,
        train=cast(Any, SimpleNamespace(ids=np.arange(images))),
        val=None,
        num_classes=2,
        config=TrainConfig(batch_size=batch_size, accumulate=accumulate, epochs=epochs),
        optim=OptimConfig(),
        placement=unused,
        seed=seed,
        folder=Path(),
    )


@settings(deadline=None)
@given(st.integers(1, 500), st.integers(1, 64), st.integers(1, 4), st.integers(0, 2**31), st.integers(0, 30))
def test_an_epoch_holds_each_image_once(images: int, batch_size: int, accumulate: int, seed: int, epoch: int) -> None:
    run = setup(images, batch_size, accumulate, seed)
    steps = epoch_steps(run, epoch)
    assert len(steps) == run.steps_per_epoch
    assert run.total_steps == 3 * len(steps)
    assert sorted(np.concatenate(steps).tolist()) == list(range(images))
    sizes = [len(positions) for positions in steps]
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= batch_size * accumulate
    batches = [len(part) for positions in steps for part in split_evenly(positions, accumulate)]
    assert min(batches) >= 1
    assert max(batches) <= batch_size
    if accumulate == 1 and batch_size > 2 and images > 1:
        assert min(batches) > 1  # BatchNorm can't use a batch of one


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(1, 400))
def test_split_evenly(count: int, parts: int) -> None:
    positions = np.arange(count)[::-1]
    groups = split_evenly(positions, parts)
    assert len(groups) == min(count, parts)
    assert np.concatenate(groups).tolist() == positions.tolist()
    assert {len(group) for group in groups} <= {count // len(groups), count // len(groups) + 1}
    assert all(len(group) for group in groups)


def order(seed: int, epoch: int, batch_size: int = 10) -> list[int]:
    return np.concatenate(epoch_steps(setup(100, batch_size, seed=seed), epoch)).tolist()


def test_seed_and_epoch_decide_the_order() -> None:
    orders = [tuple(order(seed, epoch)) for seed in range(5) for epoch in range(5)]
    assert len(set(orders)) == 25
    assert order(3, 2) == order(3, 2)
    assert order(3, 2) != sorted(order(3, 2))


@pytest.mark.parametrize("batch_size", [1, 7, 64, 1000])
def test_the_order_does_not_depend_on_the_batch_size(batch_size: int) -> None:
    assert order(0, 0, batch_size) == order(0, 0)
