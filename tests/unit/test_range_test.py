"""What the learning-rate range test concludes from losses."""

import numpy as np
import pytest

from seedwise.run.lr_finder import SMOOTHING, conclude, smooth


def test_the_average_is_the_weighted_mean_of_the_losses_so_far() -> None:
    losses = [3.0, 1.0, 4.0, 1.0, 5.0]
    expected = [np.average(losses[:n], weights=SMOOTHING ** np.arange(n)[::-1]) for n in range(1, 6)]
    assert smooth(losses) == pytest.approx(expected)
    assert smooth([2.0] * 7) == pytest.approx([2.0] * 7)


def test_the_suggestion_is_a_tenth_of_the_lowest() -> None:
    rates = np.geomspace(1e-5, 1, 101).tolist()
    logs = np.log10(rates)
    losses = (2 - 1.5 / (1 + np.exp(-4 * (logs + 3))) + 10 ** (3 * (logs + 0.5))).tolist()
    found = conclude(rates, losses[:95])
    assert found.diverged and len(found.rates) == 95
    assert found.lowest == rates[int(np.argmin(found.smoothed))]
    assert found.suggestion == found.lowest / 10
    assert 1e-3 < found.steepest < found.lowest < 0.5


def test_a_loss_that_only_rises_suggests_below_the_first_rate() -> None:
    found = conclude([0.1, 0.2, 0.3], [1.0, 2.0, 3.0])
    assert (found.lowest, found.suggestion, found.diverged) == (0.1, pytest.approx(0.01), False)
    assert found.doubt is not None and "lower --min" in found.doubt


def test_a_lowest_loss_at_the_last_rate_is_doubted_unless_it_diverged_there() -> None:
    rates = [0.1, 0.2, 0.3, 0.4]
    falling = conclude(rates, [4.0, 3.0, 2.0, 1.0])
    assert falling.lowest == 0.4 and falling.doubt is not None and "raise --max" in falling.doubt
    assert conclude(rates, [4.0, 1.0, 20.0]).doubt is None
    assert conclude(rates, [4.0, 3.0, 2.0]).doubt is None  # then the loss was no longer finite
