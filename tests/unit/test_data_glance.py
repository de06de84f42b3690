"""What defaults follow from: counts and sizes of images, before any is decoded."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seedwise.cli.options import default_recipe
from seedwise.data.config import DataConfig
from seedwise.data.glance import Glance, glance
from seedwise.data.open import open_data

OPTIONS = (
    {},
    {"val": 0, "test": 0},
    {"val": 5, "test": 0.5},
    {"test": "none"},
    {"limit": 9},
    {"limit": 1000},
    {"val": 0.01},
    {"min_per_class": 20},
    {"join_spellings": True},
)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name, count in (("a", 30), ("b", 21), ("c", 3)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(count):
            sides = rng.integers(20, 60, 2)
            Image.fromarray(rng.integers(0, 256, (*sides, 3), np.uint8)).save(tmp_path / f"photos/{name}/{number}.png")
    return tmp_path / "photos"


def seen(data: Path, **options: object) -> Glance:
    return glance(str(data), DataConfig.model_validate(options), data_dir=None)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_it_counts_what_will_be_trained_on(photos: Path, options: dict[str, object]) -> None:
    config = DataConfig.model_validate(options)
    opened = open_data(str(photos), config, short_side=16)
    found = glance(str(photos), config, data_dir=None)
    assert (found.train, found.classes) == (len(opened.train), len(opened.classes))
    assert {"train": found.train, "val": found.val, "test": found.test} == opened.splits
    assert found.images == (51 if config.min_per_class else 54)


@pytest.mark.parametrize("options", [{}, {"val": 0}, {"test": "none"}], ids=str)
def test_it_counts_parts_that_the_data_have_themselves(photos: Path, options: dict[str, object]) -> None:
    for part in ("train", "val", "test"):
        shutil.copytree(photos, photos.parent / "parted" / part)
    config = DataConfig.model_validate(options)
    found = glance(str(photos.parent / "parted"), config, data_dir=None)
    opened = open_data(str(photos.parent / "parted"), config, short_side=16)
    assert {"train": found.train, "val": found.val, "test": found.test} == opened.splits
    assert found.images == (108 if config.test == "none" else 162)


def test_the_side_is_the_median_of_the_short_ones(photos: Path) -> None:
    sides = sorted(min(Image.open(file).size) for file in photos.rglob("*.png"))
    assert seen(photos).short_side == sides[len(sides) // 2]


def test_a_folder_an_archive_and_a_table_look_alike(photos: Path, tmp_path: Path) -> None:
    zipped = Path(shutil.make_archive(str(tmp_path / "zipped"), "zip", photos))
    rows = [f"photos/{file.parent.name}/{file.name},{file.parent.name}" for file in sorted(photos.rglob("*.png"))]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(["image,label", *reversed(rows)]) + "\n")
    assert seen(photos) == seen(zipped) == seen(table)


def test_it_is_kept_until_the_images_change(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = seen(photos)
    with monkeypatch.context() as patched:
        patched.setattr("seedwise.data.glance._side", lambda raw: 1 / 0)
        assert seen(photos) == before
    for file in photos.rglob("*.png"):
        Image.new("RGB", (90, 80)).save(file)
    assert seen(photos).short_side == 80


def test_a_damaged_image_is_left_to_the_decoding(photos: Path) -> None:
    (photos / "a/0.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    assert 20 <= seen(photos).short_side < 60


@pytest.mark.parametrize(
    ("data", "recipe"),
    [("digits", "demo"), ("cifar10", "lite"), ("cifar100", "lite"), ("./digits", "photos"), ("my photos", "photos")],
)
def test_named_sets_have_recipes_of_their_own(data: str, recipe: str) -> None:
    assert default_recipe(data) == recipe
