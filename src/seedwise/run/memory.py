"""Finds, when memory ran out in training, the batch that fits on this machine."""

import contextlib
import gc
import logging
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from seedwise.base import machine
from seedwise.base.errors import UserError
from seedwise.engine.loop import epoch_steps, my_batches, optimizer_step
from seedwise.engine.setup import Setup
from seedwise.recipe.schema import TrainConfig

log = logging.getLogger("seedwise")

LEAST_BATCH = 2
"""Images that BatchNorm needs of a batch."""


@contextlib.contextmanager
def advising(folder: Path, setup: Setup) -> Iterator[None]:
    """Turn what arises where memory runs out in training into a UserError that says what fits, in one line."""
    try:
        yield
    except Exception as error:
        shortage = machine.out_of_memory(error)
        if shortage is None:
            raise
        log.exception("no memory left")
        traceback.clear_frames(error.__traceback__)  # their tensors
    else:
        return
    raise UserError(f"{folder}: {shortage}; {_advice(setup)}; train that into another folder")


def _advice(setup: Setup) -> str:
    config = setup.config
    if setup.world.size > 1:
        return (
            "lower train.batch_size and raise train.accumulate by the same factor: the same steps, but BatchNorm sees "
            "fewer images at a time"
        )
    found = _fitting(setup)
    if found is None:
        return f"not even {LEAST_BATCH} images fit at once; lower train.image_size, or take a smaller network"
    return (
        f"train.batch_size={found.batch_size} with train.accumulate={found.accumulate} fits here and makes steps of as "
        f"many images ({config.batch_size * config.accumulate}), but BatchNorm sees {found.batch_size} at a time"
    )


def _fitting(setup: Setup) -> TrainConfig | None:
    """The section with the largest halved batch with which a step of the costliest phase fits; changes the model."""
    config = setup.config
    phases = [setup.phase(step) for step in setup.phase_starts]
    setup.enter(max(phases, key=lambda phase: (phase.stage.image_size, -(phase.frozen or 0))))
    setup.model.train()
    positions, factor = epoch_steps(setup, 0)[0], 2
    while config.batch_size // factor >= LEAST_BATCH:
        smaller = config.model_copy(
            update={"batch_size": config.batch_size // factor, "accumulate": config.accumulate * factor}
        )
        tried = replace(setup, config=smaller)
        try:
            _forget(setup)
            for _ in range(2):  # the second has the optimizer's state beside it
                optimizer_step(tried, my_batches(tried, positions, 0), 0, 0.0, total=len(positions))
        except Exception as error:
            if machine.out_of_memory(error) is None:
                raise
            traceback.clear_frames(error.__traceback__)
        else:
            return smaller
        factor *= 2
    return None


def _forget(setup: Setup) -> None:
    """Give back what the step that failed has left."""
    setup.optimizer.zero_grad(set_to_none=True)
    gc.collect()
    if setup.placement.device.type == "cuda":
        torch.cuda.empty_cache()
