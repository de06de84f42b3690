"""What a run will cost, measured on this machine rather than guessed."""

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median

import numpy as np
import torch

from seedwise.engine.loop import make_batch
from seedwise.engine.setup import Setup
from seedwise.engine.step import training_step
from seedwise.progressive import PlannedStage

STEPS = 3
"""Measured steps, after one that warms up."""


@dataclass(frozen=True)
class Cost:
    """What one run takes."""

    steps: int
    """Optimizer steps."""
    seconds: float
    """Expected wall seconds of steps and evaluation, once the data is decoded."""
    epoch_seconds: float
    """Of these, what each epoch takes."""
    memory_gb: float
    """Peak memory of this process, or of the CUDA device, in a training step."""


def measure(setup: Setup, held_out: int = 0) -> Cost:
    """Time a few training steps on images of the data, and one evaluation batch; the setup's model is used up by it.

    `held_out`: test images that are scored at the end, or as many as it takes to score them in several views.
    """
    config, placement = setup.config, setup.placement
    count = min(config.batch_size, len(setup.train.ids))
    some = np.arange(count)

    def step(size: int) -> None:
        batches = [make_batch(setup, some, 0, PlannedStage(1, 0, size))] * config.accumulate
        sums = training_step(setup.model, setup.loss, setup.optimizer, batches, placement=placement, clip_norm=None)
        if setup.ema is not None:
            setup.ema.update(setup.model, 1)
        sums.tolist()  # waits for the device

    def evaluate(images: torch.Tensor) -> None:
        with torch.inference_mode(), placement.autocast():
            setup.model(placement.images(images)).sum().item()

    setup.model.train()
    spans = _steps_by_size(setup)
    of_step = {size: _time(partial(step, size)) for size in spans}
    setup.model.eval()
    weights = 1 if setup.ema is None else 2
    once = weights * (_size(setup.val) + held_out) + min(5000, _size(setup.train))
    once += 0 if setup.warm_start is None else _size(setup.train)
    pixels = torch.randn(count, 3, config.image_size, config.image_size, device=placement.device)
    of_image = _time(partial(evaluate, pixels)) / count
    steps_seconds = sum(steps * of_step[size] for size, steps in spans.items())
    epoch_seconds = steps_seconds / config.epochs + weights * _size(setup.val) * of_image
    seconds = once * of_image + config.epochs * epoch_seconds
    return Cost(setup.total_steps, seconds, epoch_seconds, _peak_gb(placement.device))


def _steps_by_size(setup: Setup) -> dict[int, int]:
    """How many optimizer steps the run makes at each image size."""
    ends = [*(stage.first_step for stage in setup.plan[1:]), setup.total_steps]
    steps: dict[int, int] = {}
    for stage, end in zip(setup.plan, ends, strict=True):
        steps[stage.image_size] = steps.get(stage.image_size, 0) + end - stage.first_step
    return steps


def _size(images: object) -> int:
    return len(images.ids) if images is not None else 0  # type: ignore[attr-defined]


def _time(action: Callable[[], None]) -> float:
    seconds = []
    for _ in range(STEPS + 1):
        began = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - began)
    return median(seconds[1:])


def _peak_gb(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
