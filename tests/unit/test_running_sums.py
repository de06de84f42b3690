"""Sums for a run's record: float64 in order, wherever the numbers come from."""

import numpy as np
import pytest
import torch

from seedwise.base.running_sums import RunningSums


@pytest.mark.parametrize("elsewhere", [False, True])
def test_it_adds_in_float64_in_order_and_goes_on_from_what_was_read(elsewhere: bool) -> None:
    numbers = torch.from_numpy(np.random.default_rng(0).random((1000, 2), np.float32) * 1e6)
    expected = np.zeros(2)
    kept = RunningSums(2)
    for number, row in enumerate(numbers):
        expected = expected + row.numpy().astype(np.float64)
        if elsewhere:  # as what comes from another device
            kept._waiting.append(row)
        else:
            kept.add(row)
        if number == 500:
            sums, kept = kept.read(), RunningSums(2)
            kept.load(sums)
    assert kept.read() == expected.tolist() == kept.read()


def test_a_scalar_counts_too() -> None:
    kept = RunningSums()
    for _ in range(10):
        kept.add(torch.tensor(0.1))
    assert kept.read() == [pytest.approx(1.0, abs=1e-7)] and kept.read()[0] != 1.0
