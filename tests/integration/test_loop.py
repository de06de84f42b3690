"""The loop on a tiny net: stopped anywhere and continued it ends with the same bits; and its other promises."""

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seedwise.base import rng
from seedwise.base.batch import Batch
from seedwise.base.errors import Interrupted, UserError
from seedwise.engine import checkpoint, loop
from seedwise.engine.loop import fit
from seedwise.engine.placement import Placement
from seedwise.engine.protocols import Observer
from seedwise.engine.setup import Setup, State
from seedwise.optim.config import SGD, AdamW, Cosine, LossConfig, OptimConfig
from seedwise.optim.loss import build_loss
from seedwise.optim.optimizers import build_optimizer
from seedwise.recipe.schema import TrainConfig
from seedwise.records.run import EpochRow

CPU = Placement(torch.device("cpu"), precision="fp32", channels_last=True)
CLASSES = 3
TRAIN, VAL = 16, 5
STEPS_PER_EPOCH, EPOCHS = 3, 3
TIMINGS = {"seconds", "images_per_second"}


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """These stops are simulated; the disk need not take part."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


class Noise:
    """Random images with random labels, from their own seed."""

    def __init__(self, count: int, seed: int) -> None:
        generator = np.random.default_rng(seed)
        self.ids = np.arange(count) * 2 + 1
        self.targets = generator.integers(0, CLASSES, count)
        self._pixels = generator.integers(0, 256, (count, 3, 8, 8), dtype=np.uint8)
        self.expect, self.decoded = lambda positions: None, True

    def gather(self, positions: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64] | None]:
        return self._pixels[positions], None


class Shift:
    """Adds to each image a number drawn for (seed, epoch, id); counts images and notes the ids of each batch."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._count = 0
        self._sum = 0.0
        self.batches: list[tuple[int, list[int]]] = []

    def train(
        self,
        images: Tensor,
        sizes: Tensor | None,
        targets: Tensor,
        ids: NDArray[np.int64],
        *,
        epoch: int,
        size: int,
        strengths: Mapping[str, float] | None = None,
    ) -> Batch:
        shifts = rng.generator(self._seed, "shift", epoch).random(2 * TRAIN + 1, dtype=np.float32)[ids]
        self._count += len(ids)
        self._sum += float(shifts.sum())
        self.batches.append((epoch, ids.tolist()))
        return Batch(images.float() / 255 + torch.from_numpy(shifts)[:, None, None, None] - 1, targets)

    def evaluate(self, images: Tensor, sizes: Tensor | None, *, size: int) -> Tensor:
        return images.float() / 255 - 0.5

    def effects(self) -> dict[str, dict[str, float]]:
        return {"shift": {"mean": self._sum / self._count, "count": self._count}}

    def state(self) -> dict[str, Any]:
        return {"count": self._count, "sum": self._sum}

    def load_state(self, state: dict[str, Any]) -> None:
        self._count, self._sum = state["count"], state["sum"]


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, 2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(4 * 16, CLASSES)
        self.masks: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        features = self.norm(self.conv(images)).relu().flatten(1)
        if self.training:
            dropped = self.dropout(torch.ones_like(features))
            self.masks.append(dropped.detach())
            features = features * dropped
        return self.head(features)


class Notes(Observer):
    def __init__(self) -> None:
        self.started: list[tuple[int, int, int]] = []
        self.steps: list[tuple[int, int]] = []
        self.rows: list[EpochRow] = []
        self.phases: list[tuple[str, int, int]] = []

    def on_start(self, epochs: int, steps_per_epoch: int, steps_done: int) -> None:
        self.started.append((epochs, steps_per_epoch, steps_done))

    def on_step(self, epoch: int, step: int, loss: float, top1: float, images_per_second: float) -> None:
        assert loss > 0
        assert 0 <= top1 <= 1
        assert images_per_second > 0
        self.steps.append((epoch, step))

    def on_epoch(self, row: EpochRow, rows: Sequence[EpochRow]) -> None:
        assert rows[-1] == row
        self.rows.append(row)

    def on_phase(self, name: str, done: int, total: int) -> None:
        self.phases.append((name, done, total))


ADAMW = OptimConfig(lr=0.02, weight_decay=0.1, schedule=Cosine(warmup_epochs=0.5), clip_norm=5.0)
SGD_NESTEROV = ADAMW.model_copy(update={"algorithm": SGD()})


def prepare(folder: Path, *, optim: OptimConfig = ADAMW, seed: int = 0, val: bool = True, **options: Any) -> Setup:
    folder.mkdir(exist_ok=True)
    config = TrainConfig.model_validate({"epochs": EPOCHS, "batch_size": 6, "image_size": 8, **options})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = CPU.module(Tiny())
    train = Noise(TRAIN, seed=1)
    return Setup(
        model=model,
        optimizer=build_optimizer(optim, model.parameters()),
        loss=build_loss(LossConfig(smoothing=0.1), train.targets, CLASSES, CPU.device),
        augment=Shift(seed),
        train=train,
        val=Noise(VAL, seed=2) if val else None,
        num_classes=CLASSES,
        config=config,
        optim=optim,
        placement=CPU,
        seed=seed,
        folder=folder,
    )


def outcome(setup: Setup, state: State) -> dict[str, Any]:
    """Everything that must not depend on where a run was stopped."""
    return {
        "weights": {name: value.clone() for name, value in setup.model.state_dict().items()},
        "optimizer": checkpoint.optimizer_tensors(setup.optimizer),
        "rows": [{k: v for k, v in row.items() if k not in TIMINGS} for row in state.rows],
        "effects": setup.augment.effects(),
        "best": (state.best_epoch, state.best_top1),
    }


def demand_equal(left: dict[str, Any], right: dict[str, Any]) -> None:
    for part in ("weights", "optimizer"):
        assert left[part].keys() == right[part].keys()
        for name, value in left[part].items():
            assert torch.equal(value, right[part][name]), name
    for part in ("rows", "effects", "best"):
        assert left[part] == right[part]


def stop_after(asked: int) -> Callable[[], bool]:
    """True from the asked-th question on: after a step, or after a batch of validation images."""
    count = 0

    def should_stop() -> bool:
        nonlocal count
        count += 1
        return count >= asked

    return should_stop


QUESTIONS = EPOCHS * (STEPS_PER_EPOCH + 1)


@pytest.mark.parametrize(
    ("optim", "accumulate", "select"),
    [(ADAMW, 1, "last"), (ADAMW, 2, "best"), (SGD_NESTEROV, 1, "best")],
    ids=["adamw", "adamw-accumulate-best", "sgd-best"],
)
def test_stopped_at_every_moment_it_ends_with_the_same_bits(
    optim: OptimConfig, accumulate: int, select: str, tmp_path: Path
) -> None:
    options = {"optim": optim, "select": select, "accumulate": accumulate, "batch_size": 6 // accumulate}
    whole = prepare(tmp_path / "whole", **options)
    assert whole.steps_per_epoch == STEPS_PER_EPOCH
    expected = outcome(whole, fit(whole, observer=Observer()))
    for asked in range(1, QUESTIONS + 1):
        folder = tmp_path / str(asked)
        with pytest.raises(Interrupted):
            fit(prepare(folder, **options), observer=Observer(), should_stop=stop_after(asked))
        again = prepare(folder, **options)
        demand_equal(outcome(again, fit(again, observer=Observer())), expected)


def test_stopped_after_every_step_it_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole = prepare(tmp_path / "whole", select="best")
    expected = outcome(whole, fit(whole, observer=Observer()))
    for _ in range(QUESTIONS):
        # The first question after a stop in validation is asked in the validation again; let it pass.
        setup, asked = prepare(tmp_path / "often", select="best"), 2
        try:
            state = fit(setup, observer=Observer(), should_stop=stop_after(asked))
            break
        except Interrupted:
            continue
    demand_equal(outcome(setup, state), expected)


class Killed(BaseException):
    """A kill -9: nothing of the loop's runs after it."""


@pytest.mark.parametrize("checkpoint_every", [1, 2, 3])
@pytest.mark.parametrize("where", ["step", "validation", "tensors"])
def test_killed_anywhere_it_loses_few_steps_and_no_bits(
    checkpoint_every: int, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"checkpoint_every": checkpoint_every, "select": "best"}
    whole = prepare(tmp_path / "whole", **options)
    expected = outcome(whole, fit(whole, observer=Observer()))
    from seedwise.engine import loop

    target, name = {
        "step": (loop, "training_step"),
        "validation": (loop, "score"),
        "tensors": (checkpoint, "write_json"),
    }[where]
    original = getattr(target, name)
    for kill_at in range(1, EPOCHS * STEPS_PER_EPOCH + 1):
        calls = 0

        def dying(*args: Any, _at: int = kill_at, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == _at:
                raise Killed
            return original(*args, **kwargs)

        folder = tmp_path / str(kill_at)
        with monkeypatch.context() as patch:
            patch.setattr(target, name, dying)
            try:
                fit(prepare(folder, **options), observer=Observer())
            except Killed:
                pass
            else:
                break  # fewer calls than this in a whole run
        again, notes = prepare(folder, **options), Notes()
        state = fit(again, observer=notes)
        if where == "step":
            assert kill_at - 1 - notes.started[0][2] < min(checkpoint_every, STEPS_PER_EPOCH + 1)
        demand_equal(outcome(again, state), expected)


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    first = prepare(tmp_path, select="best")
    expected = outcome(first, fit(first, observer=Observer()))
    again = prepare(tmp_path, select="best")
    demand_equal(outcome(again, fit(again, observer=Observer())), expected)
    assert again.augment.batches == []  # type: ignore[attr-defined]


def scripted(tops: Sequence[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Validation that finds these top-1 in this order."""
    from seedwise.engine import loop
    from seedwise.records.run import Scores

    remaining = iter(tops)
    monkeypatch.setattr(loop, "score", lambda predictions: Scores(top1=next(remaining), top5=1, loss=1))


@pytest.mark.parametrize(
    ("tops", "patience", "epochs", "best"),
    [
        ([0.1, 0.3, 0.3, 0.2, 0.9], 2, 4, 2),  # an equal top-1 is not better
        ([0.5, 0.4, 0.6, 0.5, 0.9], 2, 5, 5),
        ([0.0, 0.0, 0.0, 0.0, 0.0], 1, 2, 1),
        ([0.1, 0.2, 0.3, 0.4, 0.5], 1, 5, 5),
    ],
)
def test_patience(
    tops: list[float], patience: int, epochs: int, best: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(tops, monkeypatch)
    state = fit(prepare(tmp_path, epochs=5, patience=patience), observer=Observer())
    assert (len(state.rows), state.best_epoch, state.done) == (epochs, best, True)


@pytest.mark.parametrize("best", [1, 2, 3])
def test_select_best_restores_that_epochs_weights(best: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scripted([0.9 if epoch == best else 0.1 for epoch in (1, 2, 3)], monkeypatch)
    kept: list[dict[str, Tensor]] = []
    setup = prepare(tmp_path, select="best")

    class Keep(Observer):
        def on_epoch(self, row: EpochRow, rows: Sequence[EpochRow]) -> None:
            kept.append({name: value.clone() for name, value in setup.model.state_dict().items()})

    state = fit(setup, observer=Keep())
    assert state.best_epoch == best
    assert all(torch.equal(value, kept[best - 1][name]) for name, value in setup.model.state_dict().items())
    assert not torch.equal(kept[0]["head.weight"], kept[2]["head.weight"])


def test_without_validation(tmp_path: Path) -> None:
    state = fit(prepare(tmp_path, val=False), observer=Observer())
    assert [row.val for row in state.epochs] == [None] * EPOCHS
    assert state.best_epoch is None


def test_a_loss_that_is_not_finite_is_the_users_error(tmp_path: Path) -> None:
    setup = prepare(tmp_path)
    broken = replace(setup, loss=lambda logits, targets, teacher=None: setup.loss(logits, targets) * float("nan"))
    with pytest.raises(UserError, match=r"the loss is not finite at step \d+; lower optim\.lr"):
        fit(broken, observer=Observer())


def test_a_batch_of_one_pixel_is_the_users_error(tmp_path: Path) -> None:
    setup = prepare(tmp_path, batch_size=1)
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3, CLASSES))
    with pytest.raises(UserError, match=r"^train\.batch_size: .* raise train\.batch_size, or train\.image_size$"):
        fit(replace(setup, model=pooled), observer=Observer())


def test_the_observer_sees_it_all(tmp_path: Path) -> None:
    notes = Notes()
    setup = prepare(tmp_path, checkpoint_every=1)
    state = fit(setup, observer=notes)
    assert notes.started == [(EPOCHS, STEPS_PER_EPOCH, 0)]
    assert notes.steps == [(1 + i // STEPS_PER_EPOCH, i + 1) for i in range(EPOCHS * STEPS_PER_EPOCH)]
    assert notes.rows == state.epochs
    assert [row.epoch for row in notes.rows] == [1, 2, 3]
    assert [row.steps for row in notes.rows] == [3, 6, 9]
    assert [row.lr for row in notes.rows] == [setup.lr(2), setup.lr(5), setup.lr(8)]
    assert notes.phases == [("validation", VAL, VAL)] * EPOCHS


def test_few_and_slow_steps_are_seen_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three steps an epoch are fewer than are looked at together: each epoch's last is told of, and each slow one."""
    notes, quick = Notes(), prepare(tmp_path / "quick", checkpoint_every=1000)
    first = outcome(quick, fit(quick, observer=notes))
    assert [step for _, step in notes.steps if step % STEPS_PER_EPOCH == 0] == [3, 6, 9]
    monkeypatch.setattr(loop, "REPORT_SECONDS", 0.0)
    slow_notes, slow = Notes(), prepare(tmp_path / "slow", checkpoint_every=1000)
    second = outcome(slow, fit(slow, observer=slow_notes))
    assert [step for _, step in slow_notes.steps] == list(range(1, 10))
    demand_equal(first, second)  # who looks changes nothing


def masks(setup: Setup) -> list[Tensor]:
    fit(setup, observer=Observer())
    assert isinstance(setup.model, Tiny)
    return setup.model.masks


def test_dropout_does_not_depend_on_what_ran_before(tmp_path: Path) -> None:
    first = masks(prepare(tmp_path / "a"))
    torch.rand(17)
    second = masks(prepare(tmp_path / "b", val=False))
    assert len(first) == EPOCHS * STEPS_PER_EPOCH
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not any(torch.equal(a, b) for a, b in itertools.combinations(first, 2))
    other = masks(prepare(tmp_path / "c", seed=1))
    assert not torch.equal(first[0], other[0])


@pytest.mark.parametrize(
    "optim", [ADAMW.model_copy(update={"lr": 0.001}), SGD_NESTEROV, OptimConfig(algorithm=AdamW(eps=0.1))], ids=str
)
def test_a_pair_that_differs_in_one_switch_sees_the_same(optim: OptimConfig, tmp_path: Path) -> None:
    base, arm = prepare(tmp_path / "base"), prepare(tmp_path / "arm", optim=optim)
    pairs = zip(masks(base), masks(arm), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert base.augment.batches == arm.augment.batches  # type: ignore[attr-defined]
    assert not torch.equal(base.model.head.weight, arm.model.head.weight)  # type: ignore[union-attr, arg-type]
