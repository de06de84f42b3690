"""Repeated augmentation: copies of an image in a batch, each with draws of its own."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from seedwise.augment.pipeline import Augmenter
from seedwise.base.errors import Interrupted
from seedwise.data.open import open_data
from seedwise.data.splits import bootstrap
from seedwise.engine.distributed import World
from seedwise.engine.loop import epoch_steps, fit, make_batch, my_batches
from seedwise.engine.protocols import Observer
from seedwise.engine.repeats import epoch_order
from seedwise.engine.setup import Setup
from seedwise.models.build import build_model
from seedwise.recipe import library
from seedwise.run import resolve
from seedwise.run.assemble import prepare

BASE = ("model.name=small", "train.image_size=16", "train.batch_size=16", "train.epochs=2", "data.limit=80",
        "augment.rotation.degrees=30", "data.val=16", "data.test=16", "compute.threads=1", "compute.precision=fp32",
        "compute.kernels=stock", "train.insight=false", "train.repeats=3")  # fmt: skip
"""Five steps an epoch."""
MIXED = ("augment.mixup.prob=0.5", "augment.cutmix.prob=0.5", "augment.random_erasing.prob=0.5",
         "augment.alternating_flip=default")  # fmt: skip


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stops here is the program, not the machine."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def setup_of(*settings: str, folder: Path = Path(), sample: bool = False) -> Setup:
    recipe = resolve.resolve(library.read("demo", [*BASE, *settings]))
    data = open_data("digits", recipe.data, **resolve.storage_resolution(recipe))
    data = bootstrap(data, seed=0) if sample else data
    return prepare(folder, recipe, 0, data, build_model(recipe.model, num_classes=10, seed=0))


@pytest.mark.parametrize(("images", "repeats"), [(80, 1), (80, 2), (80, 3), (7, 4), (3, 5), (1, 64)])
def test_so_many_epochs_have_each_copy_of_each_image_once(images: int, repeats: int) -> None:
    epochs = [epoch_order(5, images, repeats, epoch) for epoch in range(2 * repeats)]
    assert {len(epoch) for epoch in epochs} == {images}
    for half in (epochs[:repeats], epochs[repeats:]):
        assert sorted(np.concatenate(half)) == list(range(images * repeats))
    for epoch in epochs:
        different = len(np.unique(epoch % images))
        assert images / repeats <= different <= images / repeats + 2
        assert np.count_nonzero(np.diff(epoch % images)) == different - 1  # copies follow each other
    assert images < 9 or not np.array_equal(epochs[0], epochs[repeats])


def test_a_step_is_as_large_as_without_and_holds_all_copies_but_at_its_edges() -> None:
    setup = setup_of()
    without = replace(setup, config=setup.config.model_copy(update={"repeats": 1}))
    for epoch in range(3):
        steps = epoch_steps(setup, epoch)
        assert list(map(len, steps)) == list(map(len, epoch_steps(without, epoch))) == [16] * 5
        for step in steps:
            counts = np.bincount(step % 80)
            assert np.count_nonzero(counts[counts > 0] < 3) <= 2


def test_each_copy_is_augmented_by_draws_of_its_own_and_the_first_as_without() -> None:
    """Against an augmenter that knows no copies: that of as many times the images."""
    setup = setup_of()
    positions = np.array([4, 4 + 80, 4 + 160, 9 + 80, 9])
    batch = make_batch(setup, positions, 1)
    without = setup_of("train.repeats=1")
    alone = make_batch(without, np.array([4, 9]), 1)
    assert torch.equal(batch.images[[0, 4]], alone.images) and torch.equal(batch.targets[[0, 4]], alone.targets)
    assert all(not torch.equal(batch.images[0], batch.images[other]) for other in (1, 2, 3))
    assert not torch.equal(batch.images[1], batch.images[2]) and torch.equal(batch.targets[0], batch.targets[2])
    rows = setup.train.draw_rows  # type: ignore[attr-defined]
    recipe = library.read("demo", [*BASE])
    built = build_model(recipe.model, num_classes=10, seed=0)
    many = Augmenter(
        recipe.augment, seed=0, rows=3 * rows, mean=built.mean, std=built.std, device=torch.device("cpu"), epochs=2
    )
    places = positions % 80
    pixels = torch.from_numpy(setup.train.gather(places)[0])
    ids = setup.train.ids[places] + rows * np.array([0, 1, 2, 1, 0])
    assert torch.equal(many.train(pixels, None, torch.ones(5, 10), ids, epoch=1, size=16).images, batch.images)


@pytest.mark.parametrize("size", [2, 3])
def test_several_processes_share_the_copies_of_a_step(size: int) -> None:
    setup = setup_of("train.accumulate=2", "train.batch_size=8", *MIXED[2:])
    whole = epoch_steps(setup, 0)[0]
    taken = [my_batches(replace(setup, world=World(rank, size)), whole, 0) for rank in range(size)]
    images = torch.cat([batch.images for batches in taken for batch in batches])
    assert torch.equal(images, make_batch(setup, whole, 0).images)


def weights(setup: Setup) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in setup.model.parameters()])


ALL = (*MIXED, "train.accumulate=2", "train.batch_size=8", "optim.ema=default", "optim.sam=default",
       "progressive=[{image_size: 8}, {}]")  # fmt: skip


class Seen:
    """A teacher that sees what the student sees."""

    def __init__(self) -> None:
        self.images = 0

    def __call__(self, images: Tensor, targets: Tensor) -> Tensor:
        self.images += len(images)
        return targets

    def effects(self) -> dict[str, dict[str, float]]:
        return {}

    def state(self) -> dict[str, int]:
        return {"images": self.images}

    def load_state(self, state: dict[str, int]) -> None:
        self.images = state["images"]


@pytest.mark.parametrize(
    "sample", [pytest.param(False, marks=pytest.mark.slow), True], ids=["all images", "a bootstrap sample"]
)
def test_stopped_and_resumed_beside_everything_it_ends_with_the_same_bits(sample: bool, tmp_path: Path) -> None:
    def made(folder: Path) -> Setup:
        folder.mkdir(exist_ok=True)
        return replace(setup_of(*ALL, folder=folder, sample=sample), teacher=Seen())

    whole = made(tmp_path / "whole")
    state = fit(whole, observer=Observer())
    assert [sum(part.images for part in row.parts) for row in state.epochs] == [80, 80]
    for steps in (1, 4, 2):
        left = iter(range(steps - 1, -1, -1))
        with pytest.raises(Interrupted):
            fit(made(tmp_path / "stopped"), observer=Observer(), should_stop=lambda left=left: next(left) == 0)  # type: ignore[misc]
    stopped = made(tmp_path / "stopped")
    fit(stopped, observer=Observer())
    assert torch.equal(weights(stopped), weights(whole))
    for setup in (stopped, whole):
        assert setup.repeats is not None and isinstance(setup.teacher, Seen)
        effects = setup.repeats.effects()["repeated_augmentation"]
        assert effects["images"] == 160 == setup.teacher.images and 2.4 < effects["copies"] <= 3
    assert stopped.augment.effects() == whole.augment.effects()


@pytest.mark.parametrize(("settings", "said"), [((), ["27 images, 3 times each"]), (("train.repeats=1",), [])])
def test_the_user_is_told_what_an_epoch_is(settings: Sequence[str], said: list[str]) -> None:
    lines = setup_of(*settings).data_lines
    assert [line.partition(" is ")[2] for line in lines if "repeats" in line] == said
