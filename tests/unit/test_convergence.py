"""When a run is said not to have converged, and when a gap is called overfitting."""

import numpy as np
import pytest
import torch
from torch import nn

from seedwise.records.run import EpochRow, Final, Scores
from seedwise.run.convergence import convergence_of, longer, sentence
from seedwise.run.score import statistics_lag
from seedwise.stats.convergence import end_rise, gap_noise


def scores(top1: float) -> Scores:
    return Scores(top1=top1, top5=1.0, loss=0.1)


def rows(tops: list[float], steps_per_epoch: int) -> list[EpochRow]:
    common = {"lr": 0.1, "image_size": 32, "train_loss": 1.0, "train_top1_mixed": 0.5, "seconds": 1.0}
    return [
        EpochRow(epoch=k, steps=k * steps_per_epoch, val=scores(top), images_per_second=1.0, **common)
        for k, top in enumerate(tops, 1)
    ]


def final(train: float, val: float) -> Final:
    return Final(train=scores(train), val=scores(val), test=None)


LONG = [
    *(0.46, 0.536, 0.6, 0.644, 0.688, 0.696, 0.728, 0.688, 0.74, 0.76, 0.752, 0.764, 0.78, 0.728, 0.744, 0.76),
    *(0.756, 0.736),
]


@pytest.mark.parametrize(
    ("tops", "steps", "train", "images", "few", "rising"),
    [
        # runs of docs/photos.md, as they were: `lite` on 200 images of CIFAR-100, where longer runs reach 0.85
        ([0.42, 0.484, 0.504], 2, 0.57, 250, True, False),
        # `lite` on 86 photos of ants and bees, where longer ones reach 0.91
        ([0.6625, 0.6875, 0.725], 1, 0.8605, 80, True, False),
        # 18 epochs of one-cycle on these 200 images
        (LONG, 25, 0.955, 250, False, False),
        # 13 epochs on 120 photos of hands: learned by the fourth
        ([0.76, 0.9667, 0.9867, 1.0, 0.9867, 0.9933, *[1.0] * 7], 15, 1.0, 150, False, False),
        # 7 epochs on 1,000 images: the last gains 1.6 points, within the noise of 250 images
        ([0.816, 0.796, 0.84, 0.896, 0.904, 0.908, 0.924], 63, 0.98, 250, False, False),
        # made up: three epochs of many images, where the last still gains 4 points on 5,000
        ([0.62, 0.73, 0.772], 352, 0.83, 5000, False, True),
        # made up: few steps, but nothing left to learn
        ([0.90, 0.96, 0.98, 0.985], 21, 0.997, 144, False, False),
        # one epoch has nothing to compare with
        ([0.5], 400, 0.6, 1000, False, False),
    ],
)
def test_known_runs(tops: list[float], steps: int, train: float, images: int, few: bool, rising: bool) -> None:
    made = rows(tops, steps)
    found = convergence_of(made, final(train, tops[-1]), images, None)
    assert (found.few_steps, found.rising) == (few, rising)
    said = sentence(found, made)
    assert (said is not None) == (few or rising) == (not found.reached)
    if said is not None:
        assert said.endswith(f"give more: --epochs {longer(made)}")
        assert ("steps are few" in said) == few and ("still rising" in said) == rising
    assert longer(made) * steps >= 100 and longer(made) >= 2 * len(tops)


@pytest.mark.parametrize("images", [10, 80, 400, 5000])
@pytest.mark.parametrize("epochs", [2, 5, 20, 40])
def test_a_flat_noisy_curve_is_not_called_rising(images: int, epochs: int) -> None:
    """Even where every epoch's errors were drawn anew, which real ones are not, at most a few of a hundred runs are."""
    draws = np.random.default_rng(images + epochs).binomial(images, 0.85, (1000, epochs)) / images
    found = [end_rise(list(curve), images) for curve in draws]
    assert np.mean([it is not None and it[0] > it[1] for it in found]) <= 0.03


def test_a_curve_that_rises_is_seen_where_the_images_suffice() -> None:
    rng = np.random.default_rng(0)
    truth = np.array([0.2, 0.4, 0.55, 0.65])
    for images, least in ((1000, 0.95), (30, 0.0)):
        draws = rng.binomial(images, truth, (300, 4)) / images
        share = np.mean([rise > noise for rise, noise in filter(None, (end_rise(list(c), images) for c in draws))])
        assert share >= least


def test_the_end_of_a_long_run_is_its_last_tenth() -> None:
    tops = [0.5] * 18 + [0.9] * 22
    assert end_rise(tops, 1000) == pytest.approx((0.0, end_rise(tops, 1000)[1]))  # type: ignore[index]
    assert end_rise([*[0.5] * 36, *[0.9] * 4], 1000)[0] == pytest.approx(0.4)  # type: ignore[index]


def test_without_validation_or_with_a_gap_in_it_only_steps_count() -> None:
    made = [row.model_copy(update={"val": None}) for row in rows([0.1, 0.9], 10)]
    found = convergence_of(made, Final(train=scores(0.5), val=None, test=None), 0, None)
    assert (found.few_steps, found.rising, found.rise) == (True, False, None)


def test_a_gap_of_few_images_is_noise_and_one_of_many_is_not() -> None:
    assert gap_noise(1.0, 86, 0.975, 80) > 1.0 - 0.975
    assert gap_noise(1.0, 86, 0.85, 80) < 1.0 - 0.85
    assert gap_noise(0.83, 45_000, 0.77, 10_000) < 0.83 - 0.77
    assert gap_noise(0.83, 45_000, 0.77, 10_000) == gap_noise(0.83, 5_000, 0.77, 10_000)  # so many are scored
    assert gap_noise(1.0, 3, 1.0, 3) > 0


def test_the_lag_of_batch_norm_is_what_a_constant_leaves_after_so_many_batches() -> None:
    norm = nn.BatchNorm2d(1, momentum=0.1)
    norm.running_mean.fill_(1.0)  # type: ignore[union-attr]
    for _ in range(7):
        norm(torch.zeros(4, 1, 2, 2))
    assert statistics_lag(norm, 7) == pytest.approx(float(norm.running_mean[0]))  # type: ignore[index]
    assert statistics_lag(nn.Linear(2, 2), 7) is None
    frozen = nn.BatchNorm2d(1).requires_grad_(False)
    assert statistics_lag(frozen, 7) is None
    assert statistics_lag(nn.BatchNorm2d(1, momentum=None), 9) == pytest.approx(0.1)
