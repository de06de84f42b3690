"""Measures on this machine what a run will take in time and memory."""

import contextlib
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import torch

from seedwise.base.errors import UserError
from seedwise.base.machine import peak_bytes
from seedwise.data.dataset import Subset
from seedwise.engine.checkpointer import Checkpointer
from seedwise.engine.evaluate import EVALUATION_BATCH
from seedwise.engine.loop import make_batch
from seedwise.engine.protocols import Images
from seedwise.engine.setup import Phase, Setup
from seedwise.engine.step import training_step
from seedwise.recipe.progressive import PlannedStage

STEPS = 3
"""Number of measured steps, after one that warms up."""
FILES_SECONDS = 1.5
"""Seconds for records and the report; not measured."""


@dataclass(frozen=True)
class Cost:
    """Time and memory of one run."""

    steps: int
    """Optimizer steps of the run."""
    seconds: float
    """Expected wall seconds of steps and evaluation, after the data are decoded."""
    epoch_seconds: float
    """Wall seconds of each epoch, which `seconds` includes."""
    besides_seconds: float
    """Further wall seconds, once a run: the first step's overhead, checkpoints, report images, files."""
    memory_gb: float | None
    """Peak memory of this process in a training step, in GiB; of a CUDA device what torch holds at that peak, and the
    context and whatever else is on it. None: the system doesn't tell."""

    @property
    def run_seconds(self) -> float:
        """Wall seconds of the whole run, after the program's start and the decoding."""
        return self.seconds + self.besides_seconds


def measure(setup: Setup, held_out: int = 0, patience: float = math.inf) -> Cost:
    """Time a few training steps and one evaluation on images of the data; changes the setup's model.

    `held_out`: images that are scored once at the end, besides those for validation and the training images that are
    looked at: test images, and all of them again for each view of test-time augmentation. `patience`: seconds after
    which nothing is repeated, for slow steps need no averaging.
    """
    config, placement = setup.config, setup.placement
    some = np.arange(math.ceil(len(setup.train.ids) / (setup.steps_per_epoch * config.accumulate)))

    def step(phase: Phase) -> None:
        batches = [make_batch(setup, some, 0, PlannedStage(1, 0, phase.stage.image_size))] * config.accumulate
        sums = training_step(
            setup.model,
            setup.loss,
            setup.optimizer,
            batches,
            placement=placement,
            clip_norm=None,
            sam=setup.sam,
            scale=setup.scale,
        )
        if setup.average is not None:
            setup.average.update(setup.model, 1)
        sums.tolist()  # waits for the device

    shown = first_of(setup.train if setup.val is None else setup.val, EVALUATION_BATCH)

    def evaluate() -> None:
        setup.predict(shown)

    ahead = placement.device.type != "cpu"  # there images are read ahead on cores that the training leaves alone
    loading = _time(lambda: setup.train.gather(some), patience).each if ahead else 0.0
    setup.model.train()
    spans = _steps_by_cost(setup)
    of_step = []
    for phase, _ in spans:
        setup.enter(phase)
        of_step.append(_beside(loading, _time(partial(step, phase), patience)))
    weights = 1 if setup.average is None else 2
    each_epoch = 1 if setup.average is None or setup.average.at_end else 2
    once = weights * (_size(setup.val) + held_out) + min(5000, _size(setup.train))
    once += _size(setup.train) if setup.average is not None and setup.average.at_end else 0
    once += 0 if setup.warm_start is None else _size(setup.train)
    of_image = _time(evaluate, patience).each / len(shown.ids)
    steps_seconds = sum(steps * times.each for (_, steps), times in zip(spans, of_step, strict=True))
    epoch_seconds = steps_seconds / config.epochs + each_epoch * _size(setup.val) * of_image
    seconds = once * of_image + config.epochs * epoch_seconds
    extra = sum(max(0.0, it.first - it.each) for it in of_step) + _checkpoints(setup, seconds)
    return Cost(setup.total_steps, seconds, epoch_seconds, extra + FILES_SECONDS, _peak_gb(placement.device))


def first_of(images: Images, count: int) -> Subset:
    """The first `count` images of a part."""
    assert isinstance(images, Subset)
    return images.take(np.arange(min(count, len(images))))


def _steps_by_cost(setup: Setup) -> list[tuple[Phase, int]]:
    """The first phase with each image size and number of frozen stages, and the optimizer steps of all like it."""
    starts = setup.phase_starts
    found: dict[tuple[int, int | None], tuple[Phase, int]] = {}
    for start, end in zip(starts, [*starts[1:], setup.total_steps], strict=True):
        phase = setup.phase(start)
        first, steps = found.get((phase.stage.image_size, phase.frozen), (phase, 0))
        found[phase.stage.image_size, phase.frozen] = first, steps + end - start
    return list(found.values())


def _size(images: object) -> int:
    return len(images.ids) if images is not None else 0  # type: ignore[attr-defined]


class _Times(NamedTuple):
    """Seconds of the first call, which warms up, and of each later one."""

    first: float
    each: float


def _time(action: Callable[[], object], patience: float) -> _Times:
    seconds: list[float] = []
    while len(seconds) <= STEPS and sum(seconds) <= patience:
        began = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - began)
    return _Times(seconds[0], median(seconds[1:] or seconds))


def _beside(loading: float, step: _Times) -> _Times:
    """A step that was measured with its loading, where so many seconds of loading go on beside it."""
    return step._replace(each=max(step.each - loading, loading))


def _checkpoints(setup: Setup, seconds: float) -> float:
    """Seconds for all checkpoints of a training that takes so many: one is written to be timed; 0 where the folder for
    temporary files has no room for it, which is not the one that the run needs."""
    with (
        contextlib.suppress(UserError, OSError),
        tempfile.TemporaryDirectory() as folder,
        Checkpointer(replace(setup, folder=Path(folder))) as kept,
    ):
        each = _time(kept.save_whole, 0.0).first
        return kept.expected(seconds) * each
    return 0.0


def _peak_gb(device: torch.device) -> float | None:
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        besides = total - free - torch.cuda.memory_reserved(device)
        return float(torch.cuda.max_memory_reserved(device) + besides) / 2**30
    peak = peak_bytes()
    return None if peak is None else peak / 2**30
