"""Learning rates against torch's own schedulers, over whole runs, and without torch on runs too short for a shape."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from seedwise.optim.config import Constant, Cosine, OneCycle, OptimConfig, Schedule, Step
from seedwise.optim.schedules import lr_at

PEAK = 0.3
SchedulerOf = Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler]


def ours(schedule: Schedule, steps_per_epoch: int, epochs: int) -> list[float]:
    config = OptimConfig(lr=PEAK, schedule=schedule)
    total = steps_per_epoch * epochs
    return [lr_at(config, step, steps_per_epoch=steps_per_epoch, total_steps=total) for step in range(total)]


def torchs(make: SchedulerOf, steps: int, every: int = 1) -> list[float]:
    """The rate of each step under a scheduler that is stepped after every `every` steps."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    scheduler = make(optimizer)
    rates = []
    for step in range(1, steps + 1):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step % every == 0 and step < steps:
            scheduler.step()
    return rates


@pytest.mark.parametrize(("step_epochs", "gamma"), [(10, 0.9), (1, 0.5), (3, 1.0), (100, 0.1)])
@pytest.mark.parametrize(("steps_per_epoch", "epochs"), [(1, 1), (1, 25), (7, 25), (3, 1)])
def test_step(step_epochs: int, gamma: float, steps_per_epoch: int, epochs: int) -> None:
    mine = ours(Step(step_epochs=step_epochs, gamma=gamma), steps_per_epoch, epochs)
    theirs = torchs(lambda o: lr_scheduler.StepLR(o, step_epochs, gamma), steps_per_epoch * epochs, steps_per_epoch)
    assert mine == pytest.approx(theirs, rel=1e-12)


@pytest.mark.parametrize("final_fraction", [0.0, 0.1, 1.0])
@pytest.mark.parametrize(
    ("steps_per_epoch", "epochs", "warmup_epochs"), [(1, 1, 0), (2, 1, 0), (50, 10, 0), (8, 6, 1.5)]
)
def test_cosine_after_the_warmup(
    final_fraction: float, steps_per_epoch: int, epochs: int, warmup_epochs: float
) -> None:
    schedule = Cosine(warmup_epochs=warmup_epochs, final_fraction=final_fraction)
    warmup, total = round(warmup_epochs * steps_per_epoch), steps_per_epoch * epochs
    mine = ours(schedule, steps_per_epoch, epochs)[warmup:]
    theirs = torchs(lambda o: lr_scheduler.CosineAnnealingLR(o, total - warmup, PEAK * final_fraction), total - warmup)
    assert mine == pytest.approx(theirs, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("schedule", [Constant, Step, Cosine])
@pytest.mark.parametrize(("warmup_epochs", "warmup"), [(0.5, 5), (2, 20), (0.04, 0)])
def test_the_warmup_is_linear(schedule: type[Constant | Step | Cosine], warmup_epochs: float, warmup: int) -> None:
    """As LinearLR from 1 / (w + 1), which first reaches the peak at step w."""
    mine = ours(schedule(warmup_epochs=warmup_epochs), 10, 3)
    theirs = torchs(lambda o: lr_scheduler.LinearLR(o, 1 / (warmup + 1), total_iters=max(1, warmup)), 30)
    assert mine[: warmup + 1] == pytest.approx(theirs[: warmup + 1], rel=1e-12)
    assert mine[warmup] == pytest.approx(PEAK)


@pytest.mark.parametrize("total", [1, 2, 3, 7, 20, 1000])
@pytest.mark.parametrize("fraction", [0.15, 0.3, 0.9])
@pytest.mark.parametrize(("initial", "final"), [(25.0, 1e4), (1.0, 1.0), (10.0, 100.0)])
def test_one_cycle(total: int, fraction: float, initial: float, final: float) -> None:
    mine = ours(OneCycle(warmup_fraction=fraction, initial_divisor=initial, final_divisor=final), 1, total)
    theirs = torchs(
        lambda o: lr_scheduler.OneCycleLR(
            o, PEAK, total, pct_start=fraction, cycle_momentum=False, div_factor=initial, final_div_factor=final
        ),
        total,
    )
    assert mine == pytest.approx(theirs, rel=1e-9)


def test_one_cycle_whose_rise_is_one_step_begins_at_its_peak() -> None:
    """torch's OneCycleLR divides by zero here."""
    rates = ours(OneCycle(warmup_fraction=0.5), 1, 2)
    assert rates == pytest.approx([PEAK, PEAK / 25 / 1e4])


warmups = st.floats(0, 50)
schedules = st.one_of(
    st.builds(Constant, warmup_epochs=warmups),
    st.builds(Step, step_epochs=st.integers(1, 50), gamma=st.floats(1e-3, 1), warmup_epochs=warmups),
    st.builds(Cosine, warmup_epochs=warmups, final_fraction=st.floats(0, 1)),
    st.builds(
        OneCycle,
        warmup_fraction=st.one_of(
            st.sampled_from([0.5, 0.25, 1 / 3]), st.floats(0, 1, exclude_min=True, exclude_max=True)
        ),
        initial_divisor=st.floats(1, 1e6),
        final_divisor=st.floats(1, 1e6),
    ),
)


@settings(deadline=None)
@given(schedules, st.integers(1, 2000), st.integers(1, 300), st.data())
def test_rates_stay_between_zero_and_the_peak(
    schedule: Schedule, steps_per_epoch: int, epochs: int, data: st.DataObject
) -> None:
    total = steps_per_epoch * epochs
    config = OptimConfig(lr=PEAK, schedule=schedule)
    drawn = data.draw(st.lists(st.integers(0, total - 1), max_size=5))
    for step in {0, min(1, total - 1), total // 2, total - 1, *drawn}:
        lr = lr_at(config, step, steps_per_epoch=steps_per_epoch, total_steps=total)
        assert math.isfinite(lr)
        assert 0 <= lr <= PEAK * (1 + 1e-12)
