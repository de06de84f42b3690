"""timm, given a run folder and the test images, predicts what the run's stored logits say, through timm's transform."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from command_line import call
from PIL import Image
from timm.data import create_transform, resolve_data_config

import seedwise
from seedwise.data.open import open_data
from seedwise.models.build import build_model
from seedwise.run import resolve, train

CLASSES = ("ash", "beech", "cedar", "date", "elm")
TESTED = 40
"""Test images a class."""


def picture(random: np.random.Generator, label: int, sides: tuple[int, int]) -> Image.Image:
    """Waves whose direction and color depend on the class, with noise: what a resampling filter can get wrong."""
    height, width = (int(side) for side in random.integers(*sides, 2))
    y, x = np.mgrid[0:height, 0:width] / 48
    angle = label * np.pi / len(CLASSES) + random.normal(0, 0.08)
    wave = np.sin(random.uniform(8, 20) * (np.cos(angle) * x + np.sin(angle) * y) + random.uniform(0, 6))
    color = random.uniform(30, 70, 3) + 40 * (np.arange(3) == label % 3)
    pixels = 128 + wave[..., None] * color + random.normal(0, 8, (height, width, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.fixture(
    scope="session",
    params=[pytest.param((32, 33), marks=pytest.mark.slow, id="cifar-sized"), pytest.param((50, 400), id="photos")],
)
def pictures(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """JPEGs of one small size, or of many sizes and shapes."""
    root = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(1)
    for part, count in (("train", 16), ("test", TESTED)):
        for label, name in enumerate(CLASSES):
            folder = root / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                picture(random, label, request.param).save(folder / f"{number:03}.jpg", quality=92)
    return root


RUNS = {
    "lite0": ["-m", "efficientnet_lite0", "--epochs", 6],
    "lite0, boxes": ["-m", "efficientnet_lite0", "--epochs", 6, "-s", "augment.random_crop=null",
                     "-s", "augment.random_resized_crop={}"],
    "v2-s": ["-m", "efficientnetv2_s", "--weights", "none", "--epochs", 1],
}  # fmt: skip


@pytest.mark.parametrize("model", [*(pytest.param(it, marks=pytest.mark.slow) for it in RUNS)])
def test_timm_predicts_the_stored_logits(model: str, pictures: Path, tmp_path: Path) -> None:
    arguments: list[Any] = ["train", pictures, "-r", "lite", *RUNS[model], "--img-size", 48, "-b", 16, "--seed", 0]
    assert call(*arguments, "-s", "data.val=0", "-s", "train.insight=false", "-o", tmp_path / "run") == 0
    run = seedwise.load(tmp_path / "run")
    ids, _, logits = run.logits("test")
    network = timm.create_model(f"local-dir:{tmp_path / 'run'}", pretrained=True).eval()
    transform: Any = create_transform(**resolve_data_config({}, model=network))
    names = network.pretrained_cfg.get("label_names") or run.classes  # type: ignore[operator]
    files = [file for name in names for file in sorted((pictures / "test" / name).iterdir())]
    theirs = torch.stack([transform(Image.open(file).convert("RGB")) for file in files])
    ours = evaluated(run, pictures)
    assert len(ours) == len(ids) == len(files)
    with torch.inference_mode():
        predicted, again = (torch.cat([network(one[None]) for one in images]) for images in (theirs, ours))
    # Of the same pixels its network says what was stored.
    torch.testing.assert_close(again, torch.from_numpy(logits), rtol=1e-3, atol=1e-3 * float(again.abs().max()))
    # Its pixels are ours, up to rounding. The rows stand in another order: each picture has the nearest of ours.
    where = [int((ours - one).abs().flatten(1).mean(1).argmin()) for one in theirs]
    assert sorted(where) == list(range(len(files)))
    std = torch.tensor(network.pretrained_cfg["std"])[:, None, None]
    off = ((ours[where] - theirs) * std * 255).abs().round()
    assert off.max() <= 2 and (off > 0).float().mean() < 0.01
    # What a rounded pixel does to the prediction is hardly ever to turn it.
    assert (predicted.argmax(1) == torch.from_numpy(logits)[where].argmax(1)).float().mean() >= 0.99


def evaluated(run: Any, pictures: Path) -> torch.Tensor:
    """The run's test images as it scored them, in its order."""
    recipe = run.recipe
    data = open_data(str(pictures), recipe.data, **resolve.storage_resolution(recipe))
    built = build_model(recipe.model, num_classes=len(CLASSES), seed=0)
    setup = train.prepare(Path(), recipe, 0, data, built, num_classes=len(CLASSES))
    pixels, sizes = data.test.gather(np.arange(len(data.test.ids)))
    valid = None if sizes is None else torch.from_numpy(sizes)
    return setup.augment.evaluate(torch.from_numpy(pixels), valid, size=recipe.train.image_size)
