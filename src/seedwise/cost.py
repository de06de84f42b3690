"""What a run will cost, measured on this machine rather than guessed."""

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch

from seedwise.batch import Batch
from seedwise.engine.setup import Setup
from seedwise.engine.step import training_step

STEPS = 3
"""Measured steps, after one that warms up."""


@dataclass(frozen=True)
class Cost:
    """What one run takes."""

    steps: int
    """Optimizer steps."""
    seconds: float
    """Expected wall seconds of steps and evaluation, once the data is decoded."""
    memory_gb: float
    """Peak memory of this process, or of the CUDA device, in a training step."""


def measure(setup: Setup) -> Cost:
    """Time a few training steps and one evaluation batch on random pixels; the setup's model is used up by it."""
    config, placement = setup.config, setup.placement
    count = min(config.batch_size, len(setup.train.ids))
    targets = torch.full((count, setup.num_classes), 1 / setup.num_classes, device=placement.device)

    def pixels(size: int) -> torch.Tensor:
        return torch.randn(count, 3, size, size, device=placement.device)

    def step(batches: list[Batch]) -> None:
        sums = training_step(setup.model, setup.loss, setup.optimizer, batches, placement=placement, clip_norm=None)
        if setup.ema is not None:
            setup.ema.update(setup.model, 1)
        sums.tolist()  # waits for the device

    def evaluate(images: torch.Tensor) -> None:
        with torch.inference_mode(), placement.autocast():
            setup.model(placement.images(images)).sum().item()

    setup.model.train()
    spans = _steps_by_size(setup)
    of_step = {size: _time(partial(step, [Batch(pixels(size), targets)] * config.accumulate)) for size in spans}
    setup.model.eval()
    evaluated = (config.epochs + 1) * _size(setup.val) * (1 if setup.ema is None else 2) + min(5000, _size(setup.train))
    evaluated += 0 if setup.warm_start is None else _size(setup.train)
    seconds = evaluated / count * _time(partial(evaluate, pixels(config.image_size)))
    seconds += sum(steps * of_step[size] for size, steps in spans.items())
    return Cost(setup.total_steps, seconds, _peak_gb(placement.device))


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
