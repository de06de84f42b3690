"""The training loop, and the state with which it continues after a stop as if it had not stopped."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from seedwise.base import rng
from seedwise.base.batch import Batch
from seedwise.base.errors import Interrupted, UserError
from seedwise.engine import checkpoint
from seedwise.engine.checkpointer import Checkpointer
from seedwise.engine.evaluate import score
from seedwise.engine.protocols import Meter, Observer
from seedwise.engine.repeats import epoch_order
from seedwise.engine.setup import Phase, Setup, State
from seedwise.engine.stages import note_batch
from seedwise.engine.statistics import estimate_statistics, has_statistics
from seedwise.engine.step import training_step
from seedwise.engine.warm_start import WarmStart
from seedwise.optim.optimizers import set_lr
from seedwise.recipe.progressive import PlannedStage
from seedwise.records.run import EpochRow, Scores, StagePart

REPORT_EVERY, REPORT_SECONDS = 10, 0.5
"""Optimizer steps between two reports of the running loss, or, in a single process, seconds: each one waits for the
device, and several processes have to make it together."""


def fit(setup: Setup, *, observer: Observer, should_stop: Callable[[], bool] = lambda: False) -> State:
    """Train to the end, from the folder's checkpoint if it has one; the model ends with the selected weights.

    The average of the weights, if there is one, ends as it was after the same epoch, or after the last one if it is for
    the end alone. Raises Interrupted, after a checkpoint, once `should_stop()` is true (asked after every step and
    validation batch); UserError when the loss is no longer finite.
    """
    with closing(setup.feed), Checkpointer(setup) as kept:
        kept.restore()
        state = kept.state
        _demand_enough_images(setup)
        observer.on_data(setup.data_lines)
        if setup.warm_start is not None and not state.warm_start:
            state.warm_start = warm_up(setup, setup.warm_start, observer, should_stop)
            kept.save()
        observer.on_start(setup.config.epochs, setup.steps_per_epoch, state.step)
        while not state.done:
            _train_epoch(setup, kept, observer, should_stop)
            _end_epoch(setup, kept, observer, should_stop)
            if state.done or not kept.by_time:
                kept.save()
        best = kept.best
        if setup.average is not None and setup.average.at_end:
            _estimate_statistics(setup, setup.average.module, state, observer, should_stop)
    if setup.config.select == "best" and best:
        setup.model.load_state_dict({name: t for name, t in best.items() if not name.startswith("ema/")})
        if setup.average is not None and not setup.average.at_end:
            setup.average.module.load_state_dict(checkpoint.under(best, "ema"))
    if setup.average is not None:
        setup.world.broadcast(setup.average.module.buffers())  # BatchNorm's differ: each process sees its own images
    return state


def warm_up(
    setup: Setup, warm_start: WarmStart, observer: Observer, should_stop: Callable[[], bool]
) -> dict[str, float]:
    """Train the classifier of the model and its average; returns measurements. A stop (Interrupted) keeps nothing."""

    def report(phase: str, done: int, total: int) -> None:
        observer.on_phase(phase, done, total)
        if setup.world.size == 1 and should_stop():  # several processes agree on it at the next step
            raise Interrupted(f"stopped in the {phase}")

    effects = warm_start.run(
        setup.train,
        setup.augment,
        setup.loss,
        num_classes=setup.num_classes,
        size=setup.config.image_size,
        placement=setup.placement,
        seed=setup.seed,
        world=setup.world,
        on_progress=report,
    )
    if setup.average is not None:
        warm_start.copy_into(setup.average.module)
    return effects


def _demand_enough_images(setup: Setup) -> None:
    """Raise a UserError unless every process gets an image in each batch of each step; it would wait for ever."""
    fewest = len(setup.train.ids) // setup.steps_per_epoch
    needed = setup.world.size * (setup.config.accumulate if setup.world.size > 1 else 1)
    if fewest < needed:
        raise UserError(
            f"train.batch_size: {fewest} images a step are too few for {setup.world.size} processes; raise it"
        )


def _train_epoch(setup: Setup, kept: Checkpointer, observer: Observer, should_stop: Callable[[], bool]) -> None:
    state = kept.state
    epoch = len(state.rows)  # not from the step: a run that stopped in validation still owes this epoch its end
    steps = epoch_steps(setup, epoch)
    setup.model.train()
    pending: list[Tensor] = []
    phase: Phase | None = None
    clock = time.perf_counter()

    def catch_up() -> None:
        nonlocal clock
        for loss, correct in setup.world.sum(torch.stack(pending)).tolist() if pending else ():
            state.loss_sum += loss
            state.hit_sum += correct
        pending.clear()
        now = time.perf_counter()
        state.epoch_seconds += now - clock
        if state.parts:
            state.parts[-1]["seconds"] += now - clock
        clock = now
        if not math.isfinite(state.loss_sum):
            raise UserError(
                f"{setup.folder}: the loss is not finite at step {state.step}; lower optim.lr, or set optim.clip_norm"
                + (", or compute.precision=fp32" if setup.scale is not None else "")
            )

    ahead = steps[state.step - epoch * setup.steps_per_epoch :]
    expect(setup, ahead)
    for positions in ahead:
        if phase != (now := setup.phase(state.step)):
            if phase is not None:
                catch_up()  # its time is its own
            setup.enter(phase := now)
        batches = my_batches(setup, positions, epoch, phase.stage)
        if setup.stages:
            note_batch(state.parts, phase.stage, batches[0].images.shape[-1], len(positions))
        pending.append(optimizer_step(setup, batches, state.step, setup.lr(state.step), total=len(positions)))
        if setup.freezing is not None:
            setup.freezing.count()
        if setup.repeats is not None:
            setup.repeats.count(positions, len(setup.train.ids))
        state.step += 1
        if setup.average is not None:
            setup.average.update(setup.model, state.step)
        state.images += len(positions)
        slow = setup.world.size == 1 and time.perf_counter() - clock >= REPORT_SECONDS
        stop, due = setup.world.any(should_stop(), setup.world.is_first and kept.due())
        last = state.step == (epoch + 1) * setup.steps_per_epoch
        if stop or due or slow or last or len(pending) == REPORT_EVERY:
            catch_up()
            means = state.loss_sum / state.images, state.hit_sum / state.images
            observer.on_step(epoch + 1, state.step, *means, state.images / state.epoch_seconds)
        if stop or due:
            kept.save()
            clock = time.perf_counter()
        if stop:
            raise Interrupted(f"stopped at step {state.step} of {setup.total_steps}")
    catch_up()


def optimizer_step(setup: Setup, batches: Sequence[Batch], step: int, lr: float, *, total: int) -> Tensor:
    """Make optimizer step `step` (from 0) at this rate; returns float[2], loss and hits summed over its images.

    The images are this process's; `total`: images of the step in all processes. A UserError when the loss isn't finite.
    """
    set_lr(setup.optimizer, lr)
    try:
        with rng.ambient:
            # Dropout and drop path draw from the global generator, so it is put in place for this very step.
            torch.manual_seed(rng.stream_seed(setup.seed, "model", step, setup.world.rank))
            return training_step(
                setup.forward,
                setup.loss,
                setup.optimizer,
                batches,
                placement=setup.placement,
                clip_norm=setup.optim.clip_norm,
                world=setup.world,
                total=total,
                sam=setup.sam,
                scale=setup.scale,
            )
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise UserError(
            "train.batch_size: BatchNorm can't normalize a batch of one image whose map is one pixel; "
            "raise train.batch_size, or train.image_size"
        ) from error


def _end_epoch(setup: Setup, kept: Checkpointer, observer: Observer, should_stop: Callable[[], bool]) -> None:
    """Validate, append the epoch's row and select."""
    state = kept.state

    def report(phase: str, done: int, total: int) -> None:
        observer.on_phase(phase, done, total)
        if setup.world.size > 1:
            return  # several processes agree at the next step
        stop = should_stop()
        if stop or (kept.by_time and kept.due()):
            kept.save()
        if stop:
            raise Interrupted(f"stopped in the validation after step {state.step} of {setup.total_steps}")

    began = time.perf_counter()
    setup.world.broadcast(setup.model.buffers())  # each process has its own images' statistics of the last step
    val = _validate(setup, setup.model, partial(report, "validation"))
    val_ema = None
    if setup.average is not None and not setup.average.at_end:
        setup.world.broadcast(setup.average.module.buffers())
        val_ema = _validate(setup, setup.average.module, partial(report, "validation of the average"))
    state.evaluate_seconds += time.perf_counter() - began
    row = EpochRow(
        epoch=len(state.rows) + 1,
        steps=state.step,
        lr=setup.lr(state.step - 1),
        image_size=setup.stage(state.step - 1).image_size,
        strengths=setup.stage(state.step - 1).strengths,
        parts=[StagePart(**part) for part in state.parts],
        train_loss=state.loss_sum / state.images,
        train_top1_mixed=state.hit_sum / state.images,
        val=val,
        val_ema=val_ema,
        seconds=state.epoch_seconds,
        images_per_second=state.images / state.epoch_seconds,
    )
    state.rows.append(row.model_dump(mode="json"))
    state.loss_sum = state.hit_sum = state.epoch_seconds = 0.0
    state.images, state.parts = 0, []
    if val is not None and val.top1 > state.best_top1:
        state.best_epoch, state.best_top1 = row.epoch, val.top1
        if setup.config.select == "best":
            average = {} if setup.average is None or setup.average.at_end else setup.averaged_tensors()
            tensors = setup.model.state_dict() | average
            kept.best = {name: value.detach().clone() for name, value in tensors.items()}
    patience = setup.config.patience
    out_of_patience = patience is not None and row.epoch - (state.best_epoch or 0) >= patience
    state.done = row.epoch == setup.config.epochs or out_of_patience
    observer.on_epoch(row, state.epochs)


def _estimate_statistics(
    setup: Setup, model: nn.Module, state: State, observer: Observer, should_stop: Callable[[], bool]
) -> None:
    """Estimate BatchNorm's statistics for a model, on the last epoch's images as they were augmented in it.

    What is counted is the training's alone, and stays. A stop (Interrupted) begins this anew.
    """
    if not has_statistics(model):
        return
    began, epoch, stage = time.perf_counter(), setup.config.epochs - 1, setup.stage(setup.total_steps - 1)
    total = len(setup.train.ids)
    meters: list[Meter] = [setup.augment, *setup.meters.values()]
    kept = [meter.state() for meter in meters]

    def images() -> Iterator[Tensor]:
        done = 0
        steps = epoch_steps(setup, epoch)
        expect(setup, steps)
        for positions in steps:
            for part in _parts(setup, positions):
                yield augmented(setup, part, epoch, stage).images
            done += len(positions)
            observer.on_phase("BatchNorm of the average", done, total)
            if setup.world.size == 1 and should_stop():
                raise Interrupted("stopped in the estimate of BatchNorm's statistics")

    try:
        estimate_statistics(model, images(), placement=setup.placement, seed=setup.seed, rank=setup.world.rank)
    finally:
        for meter, counts in zip(meters, kept, strict=True):
            meter.load_state(counts)
    state.estimated_images = total
    state.evaluate_seconds += time.perf_counter() - began


def _validate(setup: Setup, model: nn.Module, on_progress: Callable[[int, int], None]) -> Scores | None:
    if setup.val is None:
        return None
    return score(setup.predict(setup.val, model=model, on_progress=on_progress))


def epoch_steps(setup: Setup, epoch: int) -> list[NDArray[np.int64]]:
    """Shuffle the epoch's images into one group of positions int64[n], as `epoch_order`, for each optimizer step."""
    order = epoch_order(setup.seed, len(setup.train.ids), setup.config.repeats, epoch)
    if setup.equal_batches:
        batches = setup.steps_per_epoch * setup.config.accumulate * setup.world.size
        order = np.resize(order, batches * math.ceil(len(order) / batches))  # goes on with its beginning
    return split_evenly(order, setup.steps_per_epoch)


def expect(setup: Setup, steps: Sequence[NDArray[np.int64]]) -> None:
    """Tell the training images in which order this process will gather them in these steps."""
    setup.feed.expect([part % len(setup.train.ids) for positions in steps for part in _parts(setup, positions)])


def split_evenly(positions: NDArray[np.int64], parts: int) -> list[NDArray[np.int64]]:
    """Split positions int64[n] into at most `parts` groups, equal up to one; BatchNorm never meets a tiny batch."""
    return [np.asarray(part) for part in np.array_split(positions, min(parts, len(positions)))]


def my_batches(
    setup: Setup, positions: NDArray[np.int64], epoch: int, stage: PlannedStage | None = None
) -> list[Batch]:
    """This process's part of a step's images, int64[n] positions, as the batches to accumulate."""
    return [make_batch(setup, part, epoch, stage) for part in _parts(setup, positions)]


def _parts(setup: Setup, positions: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """This process's part of a step's positions int64[n], by the batches to accumulate."""
    return split_evenly(setup.world.shard(positions), setup.config.accumulate)


def make_batch(setup: Setup, positions: NDArray[np.int64], epoch: int, stage: PlannedStage | None = None) -> Batch:
    """The augmented batch, as `augmented` makes it, with what the teacher says of it if there is one."""
    batch = augmented(setup, positions, epoch, stage)
    return batch if setup.teacher is None else replace(batch, teacher=setup.teacher(batch.images, batch.targets))


def augmented(setup: Setup, positions: NDArray[np.int64], epoch: int, stage: PlannedStage | None = None) -> Batch:
    """The augmented training images at positions int64[n], as `epoch_order`; a stage's size, else the final one."""
    copies, positions = np.divmod(positions, len(setup.train.ids))
    ids = setup.train.ids[positions]
    images, sizes, labels = setup.feed.take(positions)
    return setup.augment.train(
        images,
        sizes,
        F.one_hot(labels, setup.num_classes).float(),
        ids if setup.repeats is None else setup.repeats.draw_ids(ids, copies),
        epoch=epoch,
        size=setup.config.image_size if stage is None else stage.image_size,
        strengths=None if stage is None else stage.augment,
    )
