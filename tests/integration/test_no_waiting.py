"""Nothing in a training step asks the device for a value: on a GPU every such question would wait for all queued work.

Counted here on the CPU, where the same calls are made. What the CPU itself holds (draws, parameters, sizes) may be
looked at; pixels, targets, logits and losses may not.
"""

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from seedwise.augment.config import TECHNIQUES
from seedwise.data.open import open_data
from seedwise.engine.loop import make_batch
from seedwise.engine.step import training_step
from seedwise.models.build import build_model
from seedwise.recipe import library
from seedwise.run import resolve, train

ASKING = ("item", "cpu", "numpy", "tolist", "__bool__", "__float__", "__int__", "__array__")
EVERYTHING = [name for name, section in TECHNIQUES.items() if section.stage != "frame" and section.on == "default"]
BATCH = 16


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str, str]]:
    """(call, file of ours that made it), of tensors that on a GPU would be there: marked as the device's own."""
    found: Counter[tuple[str, str]] = Counter()
    for name in ASKING:
        original = getattr(Tensor, name)

        def counting(self: Tensor, *args: Any, name: Any = name, original: Any = original, **kwargs: Any) -> Any:
            frame = sys._getframe(1)
            while frame is not None and "/seedwise/" not in frame.f_code.co_filename:
                frame = frame.f_back  # type: ignore[assignment]
            if frame is not None:
                found[name, Path(frame.f_code.co_filename).name] += 1
            return original(self, *args, **kwargs)

        monkeypatch.setattr(Tensor, name, counting)
    return found


def test_no_step_waits_for_the_device(asked: Counter[tuple[str, str]]) -> None:
    settings = ["train.image_size=32", "model.weights=none", "train.batch_size=16", "compute.threads=1"]
    settings += ["model.drop_path=0.2", "model.dropout=0.2", "augment.mix_off_epochs=1"]
    settings += [f"augment.{name}=default" for name in EVERYTHING]
    recipe = resolve.resolve(library.read("lite", settings))
    dataset = open_data("digits", recipe.data, **resolve.storage_resolution(recipe))
    built = build_model(recipe.model, num_classes=10, seed=0)
    setup = train.prepare(Path(), recipe, 0, dataset, built)
    for first in (0, BATCH):  # the first step also compiles and probes kernels
        asked.clear()
        batch = make_batch(setup, np.arange(first, first + BATCH), 0)
        in_augmentation = Counter(asked)
        asked.clear()
        training_step(setup.model, setup.loss, setup.optimizer, [batch], placement=setup.placement, clip_norm=1.0)
    assert not asked, asked
    assert not {call for call, _ in in_augmentation} & {"cpu", "item"}, in_augmentation
    # the rest reads draws and parameters, which are derived on the CPU
    on_cpu = {"mixing.py", "groups.py", "color_jitter.py", "random_erasing.py", "boxes.py", "measure.py", "blur.py",
              "operations.py", "rand_augment.py", "mixup.py", "cutmix.py"}  # fmt: skip
    assert {file for _, file in in_augmentation} <= on_cpu, in_augmentation
    assert torch.isfinite(next(setup.model.parameters())).all()
