"""What is computed on the device: nothing waits for an answer of it, and nothing needs float64, which MPS has not."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from null_driver import NullDriver, Question
from null_fixtures import seedwise
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from seedwise.augment.config import TECHNIQUES, AugmentConfig

N, SIDE = 16, 32


class _Float64(TorchDispatchMode):
    """Notes where CUDA holds float64, which MPS refuses."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        import null_counts

        result = func(*args, **(kwargs or {}))
        for each in tree_leaves((args, kwargs, result)):
            if isinstance(each, Tensor) and each.device.type == "cuda" and each.dtype == torch.float64:
                self.found.append(f"{func} at {null_counts.line()}")
        return result


def shout(images: Tensor, draws: Tensor) -> Tensor:
    """A user's own technique."""
    return images ^ (draws[:, :1, None, None] < 0.5).to(torch.uint8).to(images.device)


def augmented() -> dict[str, Any]:
    """For each technique how often it waits for the device, by place; and where it holds float64 there."""
    import null_counts

    from seedwise.augment.pipeline import Augmenter

    device, found = torch.device("cuda", 0), {}
    images = torch.zeros(N, 3, SIDE, SIDE, dtype=torch.uint8, device=device)
    targets = torch.full((N, 10), 0.1, device=device)
    for name in TECHNIQUES:
        section = {"function": f"{__name__}:shout"} if name == "custom" else {}
        augment = Augmenter(
            AugmentConfig.model_validate({name: section}),
            seed=0,
            rows=N,
            mean=(0.5,) * 3,
            std=(0.5,) * 3,
            device=device,
        )
        null_counts.reset()
        with _Float64() as mode:
            augment.train(images, None, targets, np.arange(N), epoch=0, size=SIDE)
            found[name] = [null_counts.waits(), mode.found]
            augment.effects()
    return found


def equalized() -> dict[str, int]:
    """How often counting pixels waits for the device, by place."""
    import null_counts

    from seedwise.augment.operations import equalize

    images = torch.zeros(N, 3, SIDE, SIDE, dtype=torch.uint8, device="cuda")
    null_counts.reset()
    equalize(images, torch.zeros(N))
    return null_counts.waits()


def commands(folder: str, *several: list[str]) -> Any:
    """Exit codes of commands, and where they hold float64 on the device."""
    os.chdir(folder)
    with _Float64() as mode:
        return [[seedwise(*words) for words in several], sorted(set(mode.found))]


def test_no_technique_waits_for_an_answer_of_the_device_or_needs_float64_on_it(null_driver: NullDriver) -> None:
    techniques, counting = null_driver.ask([Question(augmented), Question(equalized)])
    assert counting.demand() == {}
    for name, (waits, float64) in techniques.demand().items():
        assert float64 == [], (name, float64)
        assert not [place for place in waits if not place.startswith("h2d_pageable")], (name, waits)


TINY = (
    *("digits", "-m", "small", "--epochs", "2", "--img-size", "16", "-b", "20", "--device", "cuda"),
    *("-s", "data.limit=60", "-s", "data.val=20", "-s", "data.test=20", "-s", "train.checkpoint_every=1"),
)
EVERYTHING = (
    *("optim.ema=default", "optim.sam=default", "optim.clip_norm=1.0", "optim.layer_decay=0.8", "loss.smoothing=0.1"),
    *("loss.class_weights=balanced", "model.dropout=0.1", "model.drop_path=0.1", "warm_start=default", "tta=default"),
    *("augment.mixup=default", "augment.cutmix=default", "progressive=automl", "train.select=best"),
)


@pytest.mark.slow
def test_no_training_needs_float64_on_the_device(null_driver: NullDriver, tmp_path: Path) -> None:
    settings = [word for setting in EVERYTHING for word in ("-s", setting)]
    asked = (
        ["train", *TINY, "-o", "teacher"],
        ["train", *TINY, *settings, "--teacher", "teacher", "-o", "student"],
        ["evaluate", "student", "--tta", "flip"],
        ["evaluate", "student", "--ema"],
        ["train", *TINY, "--dry-run"],
    )
    (answer,) = null_driver.ask([Question(commands, (str(tmp_path), *asked))])
    codes, float64 = answer.demand()
    assert all(code in (0, 3) for code in codes), answer.err  # 3: what does nothing is inert
    assert float64 == []
