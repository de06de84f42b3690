"""A freeze schedule: the same bits as trainings by hand one after the other, whatever it is combined with."""

import itertools
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from seedwise.base.errors import Interrupted, UserError
from seedwise.data.dataset import Dataset
from seedwise.data.open import open_data
from seedwise.engine.loop import epoch_steps, fit, my_batches, optimizer_step
from seedwise.engine.protocols import Observer
from seedwise.engine.setup import Setup
from seedwise.kernels.explanation import explain
from seedwise.models.build import build_model
from seedwise.models.freezing import frozen_stages
from seedwise.recipe import library
from seedwise.recipe.schema import Recipe
from seedwise.run import cost, resolve
from seedwise.run.assemble import prepare
from seedwise.study import toggles

BASE = ("model.name=small", "train.image_size=16", "train.batch_size=16", "train.epochs=2", "data.limit=80",
        "augment.random_crop=null", "data.val=16", "data.test=16", "compute.threads=1", "compute.precision=fp32",
        "compute.kernels=native", "train.insight=false", "optim.weight_decay=0.1", "optim.lr=0.003")  # fmt: skip
"""Five steps an epoch, ten in all."""
THAWED = ("model.freeze=3", "model.freeze_schedule=[{after: 0.4, freeze: 1}, {after: 0.7, freeze: 0}]")
FROZEN = ("model.freeze=0", "model.freeze_schedule=[{after: 0.4, freeze: 2}, {after: 0.7, freeze: 3}]")
THERE_AND_BACK = ("model.freeze=1", "model.freeze_schedule=[{after: 0.4, freeze: 3}, {after: 0.7, freeze: 0}]")
WAYS = {"thawed": THAWED, "frozen": FROZEN, "there and back": THERE_AND_BACK}


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stops here is the program, not the machine."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def read(*settings: str) -> Recipe:
    return resolve.resolve(library.read("demo", [*BASE, *settings]))


def opened(recipe: Recipe) -> Dataset:
    return open_data("digits", recipe.data, **resolve.storage_resolution(recipe))


def setup_of(recipe: Recipe, folder: Path = Path()) -> Setup:
    data = opened(recipe)
    built = build_model(recipe.model, num_classes=10, seed=0, image_sizes=resolve.image_sizes(recipe))
    return prepare(folder, recipe, 0, data, built)


def all_tensors(setup: Setup) -> dict[str, Tensor]:
    """Weights, statistics, the average's, and the optimizer's state by the names of its parameters."""
    found = {name: value.clone() for name, value in setup.model.state_dict().items()}
    if setup.average is not None:
        found |= {f"ema {name}": value.clone() for name, value in setup.average.module.state_dict().items()}
    for name, parameter in setup.model.named_parameters():
        state = setup.optimizer.state.get(parameter, {})
        found |= {f"{name} {key}": value.clone() for key, value in state.items() if isinstance(value, Tensor)}
    return found


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def by_hand(recipe: Recipe) -> Setup:
    """A network and an optimizer built anew for each number of frozen stages, which go on from what came before."""
    model, before = recipe.model, None
    changes = [(0.0, model.freeze), *((each.after, each.freeze) for each in model.freeze_schedule)]
    ends = [share for share, _ in changes[1:]]
    for (start, count), end in zip(changes, [*ends, 1.0], strict=True):
        alone = model.model_copy(update={"freeze": count, "freeze_schedule": ()})
        setup = setup_of(recipe.model_copy(update={"model": alone}))
        if before is not None:
            setup.model.load_state_dict(before.model.state_dict())
            known = {name: before.optimizer.state.get(p) for name, p in before.model.named_parameters()}
            for name, parameter in setup.model.named_parameters():
                if parameter.requires_grad and known[name]:
                    setup.optimizer.state[parameter] = known[name]
                elif parameter.requires_grad and isinstance(setup.optimizer, torch.optim.SGD):
                    setup.optimizer.state[parameter] = {"momentum_buffer": torch.zeros_like(parameter)}
            if setup.average is not None and before.average is not None:
                setup.average.module.load_state_dict(before.average.module.state_dict())
        setup.model.train()
        for step in range(round(start * setup.total_steps), round(end * setup.total_steps)):
            epoch, within = divmod(step, setup.steps_per_epoch)
            positions = epoch_steps(setup, epoch)[within]
            batches = my_batches(setup, positions, epoch, setup.stage(step))
            optimizer_step(setup, batches, step, setup.lr(step), total=len(positions))
            if setup.average is not None:
                setup.average.update(setup.model, step + 1)
        before = setup
    assert before is not None
    return before


BESIDE = {
    "alone": (),
    "stock kernels": ("compute.kernels=stock",),
    "momentum": ("optim.algorithm=sgd",),
    "all at once": ("optim.sam=default", "optim.ema=default", "optim.layer_decay=0.8", "optim.head_lr=0.01",
                    "optim.decay_norms_and_biases=false", "model.drop_path=0.2", "optim.clip_norm=1.0",
                    "train.accumulate=2", "train.batch_size=8", "progressive=[{image_size: 8}, {}]"),
}  # fmt: skip


FAST = ("thawed", "alone"), ("frozen", "alone"), *(("there and back", name) for name in BESIDE if name != "alone")


@pytest.mark.parametrize(
    ("way", "beside"),
    [
        pytest.param(WAYS[way], BESIDE[it], id=f"{way}, {it}", marks=[] if (way, it) in FAST else pytest.mark.slow)
        for way, it in itertools.product(WAYS, BESIDE)
    ],
)
def test_it_ends_with_the_bits_of_trainings_one_after_the_other(
    way: Sequence[str], beside: Sequence[str], tmp_path: Path
) -> None:
    recipe = read(*way, *beside)
    setup, expected = setup_of(recipe, tmp_path), by_hand(recipe)
    fit(setup, observer=Observer())
    assert_same(all_tensors(setup), all_tensors(expected))
    shown = opened(recipe).train
    assert np.array_equal(setup.predict(shown).logits, expected.predict(shown).logits)
    if setup.average is not None and expected.average is not None:
        expected.average.module.load_state_dict(expected.average.module.state_dict())  # folds them anew
        by_average = setup.predict(shown, model=setup.average.module).logits
        assert np.array_equal(by_average, expected.predict(shown, model=expected.average.module).logits)


def test_an_efficientnet_has_the_kernels_of_one_that_was_built_so(tmp_path: Path) -> None:
    """Lite0's folded blocks, fused blocks and depthwise kernels: the same paths, and the same bits."""
    recipe = read("model.name=efficientnet_lite0", "model.weights=none", "train.image_size=32", "train.epochs=1",
                  "data.limit=64", "model.freeze=5", "model.freeze_schedule=[{after: 0.5, freeze: 2}]")  # fmt: skip
    setup, expected = setup_of(recipe, tmp_path), by_hand(recipe)
    fit(setup, observer=Observer())
    assert_same(all_tensors(setup), all_tensors(expected))
    noise = torch.randn(4, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    paths = explain(setup.model, noise).rows
    assert paths == explain(expected.model, noise).rows
    assert len({row.path for row in paths}) > 3


class Stop(Observer):
    """Stops a run after so many steps of its own."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def __call__(self) -> bool:
        self.left -= 1
        return self.left <= 0


@pytest.mark.parametrize(
    ("way", "beside"),
    [
        (THAWED, ()),
        (FROZEN, ()),
        (THERE_AND_BACK, BESIDE["momentum"]),
        pytest.param(THERE_AND_BACK, BESIDE["all at once"], marks=pytest.mark.slow),
    ],
    ids=["thawed", "frozen", "momentum", "all at once"],
)
def test_stopped_anywhere_and_resumed_it_ends_with_the_same_bits(
    way: Sequence[str], beside: Sequence[str], tmp_path: Path
) -> None:
    """Steps 4 and 7 are the first with other stages: it stops before and after each."""
    recipe = read(*way, *beside)
    whole = setup_of(recipe, tmp_path / "whole")
    (tmp_path / "whole").mkdir()
    fit(whole, observer=Observer())
    folder = tmp_path / "stopped"
    folder.mkdir()
    for steps in (3, 1, 1, 1, 1, 1):
        setup = setup_of(recipe, folder)
        with pytest.raises(Interrupted):
            fit(setup, observer=Observer(), should_stop=Stop(steps))
    setup = setup_of(recipe, folder)
    fit(setup, observer=Observer())
    assert_same(all_tensors(setup), all_tensors(whole))
    assert setup.freezing is not None and whole.freezing is not None
    assert setup.freezing.effects() == whole.freezing.effects()


def test_the_record_counts_steps_by_frozen_stages(tmp_path: Path) -> None:
    setup = setup_of(read(*THAWED), tmp_path)
    fit(setup, observer=Observer())
    assert setup.freezing is not None
    effects = setup.freezing.effects()
    counts = {"steps_frozen_3": 4, "steps_frozen_1": 3, "steps_frozen_0": 3}
    assert effects["freeze_schedule"] == {"changes": 2, **counts}
    assert effects["freeze"]["stages"] == 3  # as it began
    assert setup.freezing.last_unfreezing(10, 10) == 7


def test_what_is_frozen_half_way_stays_as_it_is(tmp_path: Path) -> None:
    """No update, no decay, no momentum; its statistics rest too."""
    recipe = read("model.freeze_schedule=[{after: 0.5, freeze: 2}]")
    setup = setup_of(recipe, tmp_path)
    with pytest.raises(Interrupted):
        fit(setup, observer=Observer(), should_stop=Stop(5))
    half = {name: value.clone() for name, value in setup.model.state_dict().items()}
    setup = setup_of(recipe, tmp_path)
    fit(setup, observer=Observer())
    parts = setup.model.frozen_parts  # type: ignore[union-attr]
    inside = {name for name in half if name.startswith(tuple(f"{part}." for part in parts))}  # type: ignore[union-attr]
    moved = {name for name, value in setup.model.state_dict().items() if not torch.equal(value, half[name])}
    assert inside and moved and not inside & moved
    frozen = [p for p in setup.model.parameters() if not p.requires_grad]
    assert frozen and not any(p in setup.optimizer.state for p in frozen)


def test_each_part_is_priced_at_its_own_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps are timed with the stages frozen that are frozen then, and counted by that."""
    setup = setup_of(read(*THAWED, "train.epochs=4"))  # 20 steps: 8, 6 and 6
    seconds, timed_ones = {3: 1.0, 1: 3.0, 0: 5.0}, itertools.count()

    def timed(action: object, patience: float) -> cost._Times:
        is_step = next(timed_ones) < 3  # then evaluation, at no price
        return cost._Times(0.0, seconds[frozen_stages(setup.model)] if is_step else 0.0)

    monkeypatch.setattr("seedwise.run.cost._time", timed)
    found = cost.measure(setup)
    assert found.steps == 20 and found.seconds == 8 * 1.0 + 6 * 3.0 + 6 * 5.0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("model.freeze_schedule=[{after: 0.5, freeze: 2}, {after: 0.5, freeze: 0}]",),
         r"model\.freeze_schedule\[1\]\.after: must be above the change before's 0\.5, is 0\.5"),
        (("model.freeze_schedule=[{after: 1.0, freeze: 2}]",), r"model\.freeze_schedule"),
        (("model.freeze_schedule=[{after: 0.5, freeze: 2}]", "compute.compile=true"),
         r"compute\.compile=true: can't go with model\.freeze_schedule"),
    ],
)  # fmt: skip
def test_what_makes_no_schedule_is_refused(settings: Sequence[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        read(*settings)


def test_more_stages_than_there_are_are_refused_before_training() -> None:
    with pytest.raises(UserError, match=r"^model\.freeze_schedule\.0\.freeze: the network has 4 stages .*, not 5$"):
        setup_of(read("model.freeze_schedule=[{after: 0.5, freeze: 5}]"))


def test_toggles_switch_it_by_what_the_base_freezes() -> None:
    name = "unfreeze"
    assert toggles.find(name).patch(read()) == (False, {"model.freeze_schedule": [{"after": 0.5, "freeze": 4}]})
    frozen = read("model.freeze=2")
    assert toggles.find(name).patch(frozen) == (False, {"model.freeze_schedule": [{"after": 0.5, "freeze": 0}]})
    assert toggles.find(name).patch(read(*THAWED)) == (True, {"model.freeze_schedule": []})
    assert toggles.find("freeze").patch(read(*THAWED)) == (True, {"model.freeze": 0, "model.freeze_schedule": []})


def test_rehearsed_and_trained_setups_begin_with_what_is_never_trained() -> None:
    setup = setup_of(read("model.freeze=3", "model.freeze_schedule=[{after: 0.5, freeze: 1}]"))
    assert frozen_stages(setup.model) == 1 and replace(setup).phase(0).frozen == 3
