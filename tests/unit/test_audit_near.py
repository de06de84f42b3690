"""Planted near-duplicates are all found, and unrelated pictures are not paired."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from seedwise.audit.near import near_duplicates
from seedwise.data.audit.scan import exact_duplicates, thumbnail


def pictures(count: int, seed: int) -> np.ndarray:
    """uint8[n, 32, 32, 3]: overlapping discs and diamonds, with a little texture."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:32, :32]
    made = np.empty((count, 32, 32, 3))
    for image in made:
        image[:] = rng.uniform(60, 190)
        for _ in range(9):
            cx, cy, r, color = *rng.uniform(0, 32, 2), rng.uniform(3, 9), rng.uniform(40, 195) + rng.uniform(-10, 10, 3)
            inside = (x - cx) ** 2 + (y - cy) ** 2 < r**2 if rng.random() < 0.6 else abs(x - cx) + abs(y - cy) / 2 < r
            image[inside] = color
        image[:] = gaussian_filter(image, (0.8, 0.8, 0)) + rng.normal(0, 1, image.shape)  # as sharp as a photo
    return made.clip(0, 255).round().astype(np.uint8)


def jpeg(pixels: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=50)
    return np.asarray(Image.open(file))


def shifted(pixels: np.ndarray, dx: int, dy: int) -> np.ndarray:
    return np.pad(pixels, ((4, 4), (4, 4), (0, 0)))[4 + dy : 36 + dy, 4 + dx : 36 + dx]


def brightened(pixels: np.ndarray, factor: float) -> np.ndarray:
    return (pixels * factor).clip(0, 255).round().astype(np.uint8)


CHANGES = {
    "jpeg": jpeg,
    "shifted by 1": lambda it: shifted(it, 1, -1),
    "shifted by 3": lambda it: shifted(it, -3, 2),
    "shifted by 4": lambda it: shifted(it, 4, 4),
    "brighter": lambda it: brightened(it, 1.2),
    "darker": lambda it: brightened(it, 0.8),
    "mirrored": lambda it: it[:, ::-1],
    "all at once": lambda it: jpeg(brightened(shifted(it[:, ::-1], 2, -1), 0.8)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_planted_copy_is_found_and_nothing_else(change: str) -> None:
    originals = pictures(60, seed=0)
    copies = np.stack([CHANGES[change](image) for image in originals[:20]])
    found = near_duplicates(np.concatenate([originals, copies]), lambda *_: None)
    assert {*zip(found.first.tolist(), found.second.tolist())} == {(i, 60 + i) for i in range(20)}
    if change != "all at once":
        assert found.mirrored.all() == (change == "mirrored")


def test_different_horizons_are_not_one_picture() -> None:
    """Skies over ground share their one edge, and nothing else."""
    rng = np.random.default_rng(0)
    rows = np.where(np.arange(32) < 16, 200, 80)[None, :, None, None]
    scenes = (rows + rng.normal(0, 6, (40, 32, 32, 3))).clip(0, 255).astype(np.uint8)
    assert len(near_duplicates(scenes, lambda *_: None)) == 0


def test_none_and_single_images_have_no_pairs() -> None:
    for count in (0, 1):
        assert len(near_duplicates(pictures(count, 0), lambda *_: None)) == 0


def test_exact_duplicates_are_paired_with_the_first() -> None:
    digests = np.array([[1] * 32, [2] * 32, [1] * 32, [1] * 32], np.uint8)
    assert list(exact_duplicates(digests)) == [(0, 2), (0, 3)]


def test_a_thumbnail_is_the_center_square() -> None:
    wide = np.zeros((40, 100, 3), np.uint8)
    wide[:, 30:70] = 200
    assert thumbnail(wide).shape == (32, 32, 3)
    assert (thumbnail(wide) == 200).all()
