"""What a run will cost, measured on this machine rather than guessed."""

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch

from seedwise.batch import Batch
from seedwise.engine.loop import Setup
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
    images = torch.randn(count, 3, config.image_size, config.image_size, device=placement.device)
    targets = torch.full((count, setup.num_classes), 1 / setup.num_classes, device=placement.device)
    batches = [Batch(images, targets)] * config.accumulate

    def step() -> None:
        sums = training_step(setup.model, setup.loss, setup.optimizer, batches, placement=placement, clip_norm=None)
        sums.tolist()  # waits for the device

    def evaluate() -> None:
        with torch.inference_mode(), placement.autocast():
            setup.model(placement.images(images)).sum().item()

    setup.model.train()
    step_seconds = _time(step)
    setup.model.eval()
    evaluated = config.epochs * _size(setup.val) + min(5000, _size(setup.train)) + _size(setup.val)
    seconds = setup.total_steps * step_seconds + evaluated / count * _time(evaluate)
    return Cost(setup.total_steps, seconds, _peak_gb(placement.device))


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
