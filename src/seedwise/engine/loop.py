"""The training loop, and the state with which it continues after a stop as if nothing had happened."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from seedwise import rng
from seedwise.batch import Batch
from seedwise.engine import checkpoint
from seedwise.engine.evaluate import predict, score
from seedwise.engine.placement import Placement
from seedwise.engine.protocols import Augment, Images, Observer
from seedwise.engine.step import training_step
from seedwise.engine.world import ALONE, World
from seedwise.errors import Interrupted, UserError
from seedwise.optim.config import OptimConfig
from seedwise.optim.loss import Loss
from seedwise.optim.optimizers import set_lr
from seedwise.optim.schedules import lr_at
from seedwise.recipe import TrainConfig
from seedwise.record import EpochRow, Scores

REPORT_EVERY = 10
"""Optimizer steps between two looks at the running loss: each look waits for the device."""


@dataclass(frozen=True)
class Setup:
    """What a run trains, with what, on what."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    loss: Loss
    augment: Augment
    train: Images
    val: Images | None
    num_classes: int
    config: TrainConfig
    optim: OptimConfig
    placement: Placement
    seed: int
    folder: Path
    """Where checkpoints go."""
    world: World = ALONE
    """The processes that train this model together."""

    @cached_property
    def forward(self) -> nn.Module:
        """The model as the training step calls it: its gradients are averaged over the world."""
        return self.world.shared(self.model)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps per epoch."""
        return math.ceil(len(self.train.ids) / (self.config.batch_size * self.config.accumulate))

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.steps_per_epoch * self.config.epochs

    def lr(self, step: int) -> float:
        """The learning rate of an optimizer step, from 0."""
        return lr_at(self.optim, step, steps_per_epoch=self.steps_per_epoch, total_steps=self.total_steps)


@dataclass
class State:
    """How far a run is: JSON, beside the tensors in the checkpoint."""

    step: int = 0
    """Optimizer steps done."""
    loss_sum: float = 0.0
    """Over the images of the current epoch."""
    hit_sum: float = 0.0
    images: int = 0
    """Images seen in the current epoch."""
    epoch_seconds: float = 0.0
    """Wall seconds of the current epoch's steps."""
    evaluate_seconds: float = 0.0
    rows: list[dict[str, Any]] = field(default_factory=list)
    """Finished epochs, as EpochRow."""
    best_epoch: int | None = None
    best_top1: float = -1.0
    done: bool = False
    """No epoch is left to train."""

    @property
    def epochs(self) -> list[EpochRow]:
        """The finished epochs."""
        return [EpochRow.model_validate(row) for row in self.rows]


def fit(setup: Setup, *, observer: Observer, should_stop: Callable[[], bool] = lambda: False) -> State:
    """Train to the end, from the folder's checkpoint if it has one; the model ends with the selected weights.

    Raises Interrupted, after a checkpoint, once `should_stop()` is true (asked after every step and validation batch);
    UserError when the loss is no longer finite.
    """
    state, best = _restore(setup)
    _demand_enough_images(setup)
    observer.on_start(setup.config.epochs, setup.steps_per_epoch, state.step)
    while not state.done:
        _train_epoch(setup, state, best, observer, should_stop)
        best = _end_epoch(setup, state, best, observer, should_stop)
        _save(setup, state, best)
    if setup.config.select == "best" and best:
        setup.model.load_state_dict(best)
    return state


def _demand_enough_images(setup: Setup) -> None:
    """Every process needs an image for each batch of each step, or it would wait for the others for ever."""
    fewest = len(setup.train.ids) // setup.steps_per_epoch
    needed = setup.world.size * (setup.config.accumulate if setup.world.size > 1 else 1)
    if fewest < needed:
        raise UserError(
            f"train.batch_size: {fewest} images a step are too few for {setup.world.size} processes; raise it"
        )


def _train_epoch(
    setup: Setup, state: State, best: dict[str, Tensor], observer: Observer, should_stop: Callable[[], bool]
) -> None:
    epoch = len(state.rows)  # not from the step: a run that stopped in validation still owes this epoch its end
    steps = epoch_steps(setup, epoch)
    setup.model.train()
    pending: list[Tensor] = []
    clock = time.perf_counter()

    def catch_up() -> None:
        nonlocal clock
        for loss, hits in setup.world.sum(torch.stack(pending)).tolist() if pending else ():
            state.loss_sum += loss
            state.hit_sum += hits
        pending.clear()
        now = time.perf_counter()
        state.epoch_seconds += now - clock
        clock = now
        if not math.isfinite(state.loss_sum):
            raise UserError(
                f"{setup.folder}: the loss is not finite at step {state.step}; lower optim.lr, or set optim.clip_norm"
            )

    for positions in steps[state.step - epoch * setup.steps_per_epoch :]:
        mine = setup.world.share(positions)
        batches = [make_batch(setup, part, epoch) for part in split_evenly(mine, setup.config.accumulate)]
        set_lr(setup.optimizer, setup.lr(state.step))
        # Dropout and drop path draw from the global generator, so it is put in place for this very step.
        torch.manual_seed(rng.stream_seed(setup.seed, "model", state.step, setup.world.rank))
        pending.append(_step(setup, batches, total=len(positions)))
        state.step += 1
        state.images += len(positions)
        stop, due = setup.world.any(should_stop()), state.step % setup.config.checkpoint_every == 0
        if stop or due or len(pending) == REPORT_EVERY:
            catch_up()
            means = state.loss_sum / state.images, state.hit_sum / state.images
            observer.on_step(epoch + 1, state.step, *means, state.images / state.epoch_seconds)
        if stop or due:
            _save(setup, state, best)
            clock = time.perf_counter()
        if stop:
            raise Interrupted(f"stopped at step {state.step} of {setup.total_steps}")
    catch_up()


def _step(setup: Setup, batches: Sequence[Batch], total: int) -> Tensor:
    try:
        return training_step(
            setup.forward,
            setup.loss,
            setup.optimizer,
            batches,
            placement=setup.placement,
            clip_norm=setup.optim.clip_norm,
            world=setup.world,
            total=total,
        )
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise UserError(
            "train.batch_size: BatchNorm can't normalize a batch of one image whose map is one pixel; "
            "raise train.batch_size, or train.image_size"
        ) from error


def _end_epoch(
    setup: Setup, state: State, best: dict[str, Tensor], observer: Observer, should_stop: Callable[[], bool]
) -> dict[str, Tensor]:
    """Validate, add the epoch's row, select; returns the best weights so far (empty unless they are wanted)."""

    def report(done: int, total: int) -> None:
        observer.on_phase("validation", done, total)
        if setup.world.size == 1 and should_stop():  # several processes agree on it at the next step
            _save(setup, state, best)
            raise Interrupted(f"stopped in the validation after step {state.step} of {setup.total_steps}")

    began = time.perf_counter()
    val = _validate(setup, report)
    state.evaluate_seconds += time.perf_counter() - began
    row = EpochRow(
        epoch=len(state.rows) + 1,
        steps=state.step,
        lr=setup.lr(state.step - 1),
        image_size=setup.config.image_size,
        train_loss=state.loss_sum / state.images,
        train_top1_mixed=state.hit_sum / state.images,
        val=val,
        seconds=state.epoch_seconds,
        images_per_second=state.images / state.epoch_seconds,
    )
    state.rows.append(row.model_dump(mode="json"))
    state.loss_sum = state.hit_sum = state.epoch_seconds = 0.0
    state.images = 0
    if val is not None and val.top1 > state.best_top1:
        state.best_epoch, state.best_top1 = row.epoch, val.top1
        if setup.config.select == "best":
            best = {name: value.detach().clone() for name, value in setup.model.state_dict().items()}
    patience = setup.config.patience
    out_of_patience = patience is not None and row.epoch - (state.best_epoch or 0) >= patience
    state.done = row.epoch == setup.config.epochs or out_of_patience
    observer.on_epoch(row, state.epochs)
    return best


def _validate(setup: Setup, on_progress: Callable[[int, int], None]) -> Scores | None:
    if setup.val is None:
        return None
    predictions = predict(
        setup.model,
        setup.val,
        setup.augment,
        size=setup.config.image_size,
        placement=setup.placement,
        world=setup.world,
        on_progress=on_progress,
    )
    return score(predictions)


def epoch_steps(setup: Setup, epoch: int) -> list[NDArray[np.int64]]:
    """The epoch's images in a random order, cut into one group of positions for each optimizer step."""
    order = rng.generator(setup.seed, "order", epoch).permutation(len(setup.train.ids)).astype(np.int64)
    return split_evenly(order, setup.steps_per_epoch)


def split_evenly(positions: NDArray[np.int64], parts: int) -> list[NDArray[np.int64]]:
    """At most `parts` groups whose sizes differ by one at most, none empty: BatchNorm never meets a tiny last batch."""
    return [np.asarray(part) for part in np.array_split(positions, min(parts, len(positions)))]


def make_batch(setup: Setup, positions: NDArray[np.int64], epoch: int) -> Batch:
    """The augmented batch of the training images at these positions."""
    pixels, sizes = setup.train.gather(positions)
    labels = setup.placement.tensor(setup.train.targets[positions])
    return setup.augment.train(
        setup.placement.tensor(pixels),
        None if sizes is None else torch.from_numpy(sizes),
        F.one_hot(labels, setup.num_classes).float(),
        setup.train.ids[positions],
        epoch=epoch,
        size=setup.config.image_size,
    )


def _save(setup: Setup, state: State, best: dict[str, Tensor]) -> None:
    if not setup.world.is_first:
        return
    tensors = checkpoint.model_tensors(setup.model, "model") | checkpoint.optimizer_tensors(setup.optimizer)
    tensors |= {f"best/{name}": value for name, value in best.items()}
    content = {"loop": asdict(state), "augment": setup.augment.state()}
    checkpoint.save(setup.folder, state.step, tensors, content)


def _restore(setup: Setup) -> tuple[State, dict[str, Tensor]]:
    found = checkpoint.load(setup.folder)
    if found is None:
        return State(), {}
    tensors, content = found
    setup.model.load_state_dict(checkpoint.under(tensors, "model"))
    checkpoint.restore_optimizer(setup.optimizer, tensors)
    setup.augment.load_state(content["augment"])
    return State(**content["loop"]), checkpoint.under(tensors, "best")
