"""Learning-rate schedules as functions of the step, so that resuming needs no scheduler state."""

import math

from seedwise.optim.config import Constant, Cosine, OneCycle, OptimConfig, Step, SwaConfig


def lr_at(config: OptimConfig, step: int, *, steps_per_epoch: int, total_steps: int) -> float:
    """The learning rate of optimizer step `step` (from 0) out of `total_steps`."""
    schedule, swa = config.schedule, config.swa
    if swa is not None and swa.lr is not None and step >= swa_start(swa, total_steps):
        return swa.lr
    if isinstance(schedule, OneCycle):
        return config.lr * _one_cycle(schedule, step, total_steps)
    warmup_steps = round(schedule.warmup_epochs * steps_per_epoch)
    if step < warmup_steps:
        return config.lr * (step + 1) / (warmup_steps + 1)
    return config.lr * _after_warmup(schedule, step, warmup_steps, steps_per_epoch, total_steps)


def swa_start(config: SwaConfig, total_steps: int) -> int:
    """Optimizer steps before averaging begins."""
    return round(config.start * total_steps)


def _after_warmup(
    schedule: Constant | Step | Cosine, step: int, warmup_steps: int, steps_per_epoch: int, total_steps: int
) -> float:
    match schedule:
        case Constant():
            return 1.0
        case Step():
            return float(schedule.gamma ** (step // steps_per_epoch // schedule.step_epochs))
        case Cosine():
            progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
            return _cosine(1.0, schedule.final_fraction, progress)


def _one_cycle(schedule: OneCycle, step: int, total_steps: int) -> float:
    """Rate relative to the peak, as torch.optim.lr_scheduler.OneCycleLR with two phases and cosine annealing."""
    peak_step = schedule.warmup_fraction * total_steps - 1
    first = 1 / schedule.initial_divisor
    if step <= peak_step:
        return _cosine(first, 1.0, step / peak_step if peak_step else 1.0)
    last = first / schedule.final_divisor
    return _cosine(1.0, last, min(1.0, (step - peak_step) / (total_steps - 1 - peak_step)))


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
