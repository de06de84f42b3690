"""Five faults of device code, planted one by one: the null driver names the kind and the line of each."""

from pathlib import Path
from typing import Any

import pytest
import torch
from null_driver import Machine, NullDriver, Question
from test_on_device import _Float64
from test_steps import REFERENCE, waits
from torch import Tensor


def _left_on_the_cpu() -> None:
    from seedwise.augment import pipeline

    pipeline.normalize = lambda images, offset, scale: images.cpu().float() * scale.cpu()[None, :, None, None]


def _asks_in_the_step() -> None:
    from seedwise.engine import step

    own = step._gradients

    def asking(*arguments: Any) -> Tensor:
        sums = own(*arguments)
        sums[0].item()
        return sums

    step._gradients = asking  # type: ignore


def _pageable() -> None:
    from seedwise.augment import flip

    flip.to_device = lambda tensor, device: tensor.to(device)


def _boolean_mask() -> None:
    from seedwise.augment import pipeline

    own = pipeline.resize

    def masked(images: Tensor, size: int, interpolation: str) -> Tensor:
        images[torch.ones(len(images), dtype=torch.bool, device=images.device)]  # how many there are is asked for
        return own(images, size, interpolation)

    pipeline.resize = masked


def _float64() -> None:
    from seedwise.augment import pipeline

    own = pipeline.normalize
    pipeline.normalize = lambda images, offset, scale: own(images, offset.double(), scale.double()).float()


PLANTED = {
    "a tensor on the CPU": (_left_on_the_cpu, "weight type (CUDA"),
    "item() in the step": (_asks_in_the_step, "d2h at engine/step.py:"),
    "a pageable copy": (_pageable, "h2d_pageable at augment/flip.py:"),
    "a boolean mask": (_boolean_mask, "d2h at augment/pipeline.py:"),
    "float64": (_float64, "float64 at "),
}


def found(folder: str, name: str) -> list[str]:
    """What the harness says of a training with the planted fault."""
    PLANTED[name][0]()
    with _Float64() as mode:
        said = list(waits(folder, *REFERENCE))
    return [*said, *(f"float64 at {place}" for place in mode.found)]


@pytest.mark.slow
def test_the_harness_names_each_planted_fault(null_driver: NullDriver, tmp_path: Path) -> None:
    for number, _ in enumerate(PLANTED):
        (tmp_path / str(number)).mkdir()
    answers = null_driver.ask(
        [Question(found, (str(tmp_path / str(n)), name), Machine((80,))) for n, name in enumerate(PLANTED)]
    )
    for (name, (_, expected)), answer in zip(PLANTED.items(), answers, strict=True):
        said = [answer.error] if answer.error else answer.demand()
        assert any(expected in line for line in said), (name, said)
