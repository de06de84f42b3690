"""Photos to train on may be stored larger than those that are scored; rows, splits and fingerprint stay the same."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seedwise.data.config import DataConfig
from seedwise.data.open import open_data
from seedwise.recipe import library
from seedwise.run import resolve


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEEDWISE_CACHE", str(tmp_path / "cache"))
    random = np.random.default_rng(0)
    for name in "ab":
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(12):
            shape = (*(int(side) for side in random.integers(40, 60, 2)), 3)
            image = Image.fromarray(random.integers(0, 256, shape, np.uint8))
            image.save(tmp_path / "photos" / name / f"{number}.png")
    return tmp_path / "photos"


def test_only_the_training_images_are_larger(photos: Path) -> None:
    config = DataConfig(val=0.2, test=0.2)
    one = open_data(str(photos), config, short_side=24)
    two = open_data(str(photos), config, short_side=24, train_short_side=32)
    assert [part.short_side for part in (one.train, one.val, one.test)] == [24, 24, 24]
    assert [part.short_side for part in (two.train, two.val, two.test)] == [32, 24, 24]
    assert one.fingerprint == two.fingerprint
    for name in ("train", "val", "test"):
        assert np.array_equal(getattr(one, name).ids, getattr(two, name).ids)
        assert np.array_equal(getattr(one, name).targets, getattr(two, name).targets)
    # row by row the same photos: shrunk to the same size they look alike
    for row in range(len(one.train)):
        small, large = (part.gather(np.array([row]))[0][0].transpose(1, 2, 0) for part in (one.train, two.train))
        again = np.asarray(Image.fromarray(large).resize(small.shape[1::-1], Image.Resampling.BICUBIC))
        assert np.abs(again.astype(int) - small).mean() < 20 < np.abs(again[::-1].astype(int) - small).mean()


def test_boxes_are_cut_out_of_larger_photos() -> None:
    assert resolve.storage_resolution(library.read("lite", ["train.image_size=64"])) == {
        "short_side": 64,
        "train_short_side": 64,
    }
    boxes = library.read("lite", ["train.image_size=64", "augment.random_crop=null", "augment.random_resized_crop={}"])
    assert resolve.storage_resolution(boxes) == {"short_side": 64, "train_short_side": 74}
