"""The recipes of the reference experiment build, with each size of EfficientNetV2, and take a step that trains."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from seedwise.data.dataset import Dataset, Subset
from seedwise.data.storage import UniformImages
from seedwise.engine.loop import epoch_steps, make_batch
from seedwise.engine.setup import Setup
from seedwise.engine.step import training_step
from seedwise.models.build import build_model
from seedwise.recipe import library
from seedwise.run import resolve
from seedwise.run.train import prepare

CLASSES = 100
IMAGES = 4
CASES = [
    ("reference", "efficientnetv2_s"),
    ("reference-m", "efficientnetv2_m"),
    pytest.param("reference-l", "efficientnetv2_l", marks=pytest.mark.slow),
    ("strong", "efficientnetv2_s"),
]


def noise() -> Dataset:
    """CIFAR-100 by its shape."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (IMAGES, 32, 32, 3), dtype=np.uint8)
    targets = generator.integers(0, CLASSES, IMAGES)
    train = Subset(np.arange(IMAGES), targets, IMAGES, UniformImages(pixels, np.arange(IMAGES)))
    classes = tuple(f"class {k}" for k in range(CLASSES))
    return Dataset("noise", None, "", classes, None, None, train, None, None)


def setup_of(recipe: str, model: str, folder: Path) -> Setup:
    read = library.read(recipe, ["model.weights=none", "train.image_size=32", f"train.batch_size={IMAGES}"])
    assert read.model.name == model
    resolved = resolve.resolve(read)
    built = build_model(resolved.model, num_classes=CLASSES, seed=0)
    return prepare(folder, resolved, 0, noise(), built)


@pytest.mark.parametrize(("recipe", "model"), CASES)
def test_one_step(recipe: str, model: str, tmp_path: Path) -> None:
    setup = setup_of(recipe, model, tmp_path)
    assert setup.steps_per_epoch == 1
    lr = setup.lr(0)
    assert 0 < lr <= setup.optim.lr
    for group in setup.optimizer.param_groups:
        group["lr"] = lr
    before = [parameter.detach().clone() for parameter in setup.model.parameters()]
    setup.model.train()
    batch = make_batch(setup, epoch_steps(setup, 0)[0], epoch=0)
    assert batch.images.shape == (IMAGES, 3, 32, 32)
    torch.testing.assert_close(batch.targets.sum(dim=1), torch.ones(IMAGES))
    torch.manual_seed(0)
    loss, hits = training_step(
        setup.model,
        setup.loss,
        setup.optimizer,
        [batch],
        placement=setup.placement,
        clip_norm=setup.optim.clip_norm,
    ).tolist()
    assert math.isfinite(loss)
    assert loss > 0
    assert 0 <= hits <= IMAGES
    after = list(setup.model.parameters())
    assert all(torch.isfinite(parameter).all() for parameter in after)
    changed = [not torch.equal(a, b) for a, b in zip(after, before, strict=True)]
    # a path that the step dropped has no gradient, and a weight that is zero nothing to decay
    assert sum(changed) > 0.8 * len(changed)
