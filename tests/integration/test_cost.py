"""What a dry run counts besides the steps: loading, checkpoints."""

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from test_loop import EPOCHS, STEPS_PER_EPOCH, VAL, Noise, prepare

from seedwise.base.errors import UserError
from seedwise.engine import checkpoint
from seedwise.engine.placement import Placement
from seedwise.engine.setup import Setup
from seedwise.run import cost


class Subset(Noise):
    """Images of which the first may be taken, as a dry run does."""

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, positions: Any) -> "Subset":
        return self


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    monkeypatch.setattr(cost, "Subset", Subset)
    setup = prepare(tmp_path, checkpoint_every="1h")
    return cost.replace(setup, train=Subset(16, seed=1), val=Subset(VAL, seed=2))


def slow(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, seconds: float) -> None:
    """A function takes longer by so many seconds."""
    original = getattr(owner, name)

    def slower(*args: Any, **options: Any) -> Any:
        time.sleep(seconds)
        return original(*args, **options)

    monkeypatch.setattr(owner, name, slower)


def test_slow_loading_is_counted_for_each_step(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = cost.measure(setup).seconds
    slow(monkeypatch, setup.train, "gather", 0.2)
    assert cost.measure(setup).seconds - quick == pytest.approx(EPOCHS * STEPS_PER_EPOCH * 0.2, rel=0.4)


def test_slow_augmentation_is_counted_for_each_step(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = cost.measure(setup).seconds
    slow(monkeypatch, setup.augment, "train", 0.2)
    assert cost.measure(setup).seconds - quick == pytest.approx(EPOCHS * STEPS_PER_EPOCH * 0.2, rel=0.4)


@pytest.mark.parametrize("compute", [0.06, 0.3])
def test_on_a_device_loading_goes_on_beside_the_step(
    compute: float, setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The longer of the two is what a step takes."""
    slow(monkeypatch, setup.train, "gather", 0.15)
    slow(monkeypatch, setup.augment, "train", compute)
    monkeypatch.setattr(cost, "_peak_gb", lambda device: None)
    elsewhere = Placement(torch.device("meta"), precision="fp32", channels_last=False)
    monkeypatch.setattr(cost, "training_step", lambda *_, **__: torch.zeros(2))
    monkeypatch.setattr(Setup, "predict", lambda *_: None)
    monkeypatch.setattr(Placement, "tensors", lambda _, *arrays: [torch.from_numpy(array) for array in arrays])
    found = cost.measure(cost.replace(setup, placement=elsewhere)).seconds
    assert found == pytest.approx(EPOCHS * STEPS_PER_EPOCH * max(compute, 0.15), rel=0.4)


@pytest.mark.parametrize(("every", "written"), [(2, EPOCHS * STEPS_PER_EPOCH // 2 + EPOCHS), ("1h", 1)])
def test_checkpoints_are_counted(every: int | str, written: int, setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    config = setup.config.model_copy(update={"checkpoint_every": every})
    setup = cost.replace(setup, config=config)
    quick = cost.measure(setup).besides_seconds
    slow(monkeypatch, checkpoint, "write_tensors", 0.5)
    assert cost.measure(setup).besides_seconds - quick == pytest.approx(written * 0.5, rel=0.4)
    assert list(setup.folder.iterdir()) == []  # where the run will be nothing is left


def test_checkpoints_of_a_long_run_are_one_a_minute(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    config = setup.config.model_copy(update={"checkpoint_every": "1m"})
    setup = cost.replace(setup, config=config)
    monkeypatch.setattr(cost, "_time", lambda action, patience: cost._Times(2.0, 100.0))
    assert cost.measure(setup).seconds > 900
    minutes = cost.measure(setup).seconds // 60
    assert cost.measure(setup).besides_seconds == pytest.approx((minutes + 1) * 2.0 + cost.FILES_SECONDS)


def test_a_full_folder_for_temporary_files_stops_no_dry_run(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise UserError("no space")

    monkeypatch.setattr(checkpoint, "write_tensors", full)
    assert cost.measure(setup).seconds > 0
