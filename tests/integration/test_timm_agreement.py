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


@pytest.fixture(scope="session", params=[(32, 33), (50, 400)], ids=["cifar-sized", "photos"])
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


@pytest.mark.parametrize("model", [*list(RUNS)[:-1], pytest.param("v2-s", marks=pytest.mark.slow)])
def test_timm_predicts_the_stored_logits(model: str, pictures: Path, tmp_path: Path) -> None:
    arguments: list[Any] = ["train", pictures, "-r", "lite", *RUNS[model], "--img-size", 48, "-b", 16, "--seed", 0]
    assert call(*arguments, "-s", "data.val=0", "-s", "train.insight=false", "-o", tmp_path / "run") == 0
    run = seedwise.load(tmp_path / "run")
    _, targets, logits = run.logits("test")

    network = timm.create_model(f"local-dir:{tmp_path / 'run'}", pretrained=True).eval()
    transform: Any = create_transform(**resolve_data_config({}, model=network))
    names = network.pretrained_cfg.get("label_names") or run.classes
    files = [(label, file) for label in range(5) for file in sorted((pictures / "test" / names[label]).iterdir())]
    with torch.inference_mode():
        theirs = torch.cat([network(transform(Image.open(file).convert("RGB"))[None]) for _, file in files]).numpy()
    # our rows stand in another order: each of theirs is compared with the nearest of ours in its class
    agreed = 0
    for (label, _), row in zip(files, theirs, strict=True):
        ours = logits[targets == label]
        nearest = ours[np.abs(ours - row).sum(axis=1).argmin()]
        agreed += int(nearest.argmax() == row.argmax())
        assert np.abs(nearest - row).max() < 0.05 * max(1.0, np.ptp(logits, axis=1).mean())
    assert agreed >= 0.99 * len(files)
