"""The before/after picture: pixel-exact tiles, a row for each technique."""

from pathlib import Path

import numpy as np
import pytest
import torch
from augment_samples import ON, augmenter, one_hot, photos, pixels
from PIL import Image

from seedwise.augment import grid
from seedwise.augment.config import AugmentConfig

CLASSES = [f"class number {i}" for i in range(10)]


def draw(path: Path, techniques: dict, *, size: int = 32, count: int = 3, seed: int = 0) -> Image.Image:
    images = photos(8, 32, 32)
    config = AugmentConfig.model_validate(techniques)
    grid.draw_grid(path, images, None, one_hot(8), CLASSES, config, seed=seed, size=size, count=count)
    return Image.open(path)


def tile(picture: Image.Image, row: int, column: int, size: int) -> np.ndarray:
    """The pixels of one tile, one for each of the image's, after checking that each is a flat square."""
    scale = -(-grid.TILE // size)
    side = size * scale
    left, top = grid._left(column, side), grid.TITLE_HEIGHT + row * (side + grid.CAPTION_HEIGHT + grid.GAP)
    squares = np.asarray(picture)[top : top + side, left : left + side].reshape(size, scale, size, scale, 3)
    small = squares[:, 0, :, 0]
    assert (squares == small[:, None, :, None]).all()
    return small


@pytest.mark.parametrize("size", [32, 48, 128])
def test_tiles_are_the_augmenters_pixels(tmp_path: Path, size: int) -> None:
    picture = draw(tmp_path / "grid.png", {"random_crop": {}, "cutmix": {"prob": 1}}, size=size, seed=4)
    images = photos(8, 32, 32)
    rows = [{"random_crop": {}}, {"cutmix": {"prob": 1}}, {"random_crop": {}, "cutmix": {"prob": 1}}]
    for row, techniques in enumerate(rows):
        ours = augmenter(rows=8, seed=4, **techniques)  # type: ignore[arg-type]
        expected = [ours.evaluate(images, None, size=size)[row]]
        for epoch in range(3):
            batch = ours.train(images, None, one_hot(8), torch.arange(8), epoch=epoch, size=size)
            expected.append(batch.images[row])
        for column, image in enumerate(expected):
            pixels = (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
            assert np.array_equal(tile(picture, row, column, size), pixels)


@pytest.mark.parametrize(("techniques", "rows"), [({}, 1), ({"rotation": {}}, 1), (ON, len(ON) + 1)])
def test_a_row_for_each_technique_and_one_for_all(tmp_path: Path, techniques: dict, rows: int) -> None:
    picture = draw(tmp_path / "grid.png", techniques)
    assert picture.format == "PNG"
    assert picture.height == grid.TITLE_HEIGHT + rows * (128 + grid.CAPTION_HEIGHT + grid.GAP)


def test_the_same_picture_twice(tmp_path: Path) -> None:
    draw(tmp_path / "a.png", ON)
    draw(tmp_path / "b.png", ON)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_rare_technique_shows_an_image_that_it_changes(tmp_path: Path) -> None:
    picture = draw(tmp_path / "grid.png", {"grayscale": {"prob": 0.05}}, count=6, seed=4)
    ours, images = augmenter(rows=8, seed=4, grayscale={"prob": 0.05}), photos(8, 32, 32)
    batches = [ours.train(images, None, one_hot(8), torch.arange(8), epoch=epoch, size=32) for epoch in range(6)]
    changed = torch.stack([(pixels(batch.images) != images).flatten(1).any(dim=1) for batch in batches])
    first = int(changed.any(dim=0).int().argmax())
    assert not changed[:, 0].any()
    assert first > 0
    for epoch in range(6):
        assert np.array_equal(tile(picture, 0, 1 + epoch, 32), pixels(batches[epoch].images[first]).permute(1, 2, 0))
