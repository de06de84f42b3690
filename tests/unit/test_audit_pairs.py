"""Planted copies are all found and called one picture; pictures that look alike, and unrelated ones, are not."""

import io
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

from seedwise.audits import near
from seedwise.audits.near import SIDE, candidates
from seedwise.audits.pairs import Found, find_pairs
from seedwise.audits.same import place, rest
from seedwise.audits.scan import Scanned, exact_duplicates, thumbnail


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
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "JPEG", quality=50)
    return np.asarray(Image.open(file))


def moved(pixels: np.ndarray, by: int) -> np.ndarray:
    """Without so many pixels at the left and at the bottom."""
    return pixels[:-by, by:]


def brightened(pixels: np.ndarray, factor: float) -> np.ndarray:
    return (pixels * factor).clip(0, 255).round().astype(np.uint8)


def cropped(pixels: np.ndarray, part: float, *, stretched: bool = False) -> np.ndarray:
    cut = round(part * len(pixels))
    kept = Image.fromarray(pixels[cut : len(pixels) - cut, cut : len(pixels) - cut])
    return np.asarray(kept.resize(pixels.shape[:2], Image.Resampling.BICUBIC) if stretched else kept)


def resized(pixels: np.ndarray, factor: float) -> np.ndarray:
    side = round(factor * len(pixels))
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC))


HAND = 0.065
"""How much hands differ, in parts of the picture."""


def hands(count: int, seed: int, side: int = 100) -> list[np.ndarray]:
    """uint8[side, side, 3]: five fingers and a palm before a wall, now and then stretched and turned a little more."""
    rng, made = np.random.default_rng(seed), []
    for _ in range(count):
        image = Image.new("RGB", (4 * side, 4 * side), (205, 203, 198))
        draw, middle = ImageDraw.Draw(image), 4 * side * (np.array([0.5, 0.62]) + rng.normal(0, HAND / 3, 2))
        for angle in np.radians([-165, -115, -92, -70, -48]) + rng.normal(0, 2 * HAND, 5):
            tip = middle + 4 * side * rng.normal(0.38, HAND) * np.array([np.cos(angle), np.sin(angle)])
            draw.line([*map(float, (*middle, *tip))], fill=(168, 122, 96), width=round(0.26 * side))
        draw.ellipse([*(middle - 0.68 * side), *(middle + 0.68 * side)], fill=(172, 126, 100))
        pixels = np.asarray(image.resize((side, side), Image.Resampling.BICUBIC), float)
        made.append((pixels + rng.normal(0, 2, pixels.shape)).clip(0, 255).astype(np.uint8))
    return made


def search(images: Sequence[np.ndarray], labels: Sequence[int] | None = None) -> Found:
    """What an audit finds among images of one part."""
    part = Scanned(
        labels=np.zeros(len(images), np.int64) if labels is None else np.array(labels),
        numbers=np.arange(len(images)),
        sides=np.array([min(image.shape[:2]) for image in images]),
        where=[str(number) for number in range(len(images))],
        thumbnails=np.stack([thumbnail(image) for image in images]),
        exact=np.repeat(np.arange(len(images), dtype=np.uint8)[:, None], 32, axis=1),
        sizes=Counter(),
        modes=Counter(),
        damaged=[],
    )

    def look(wanted: Mapping[str, set[int]], make: object) -> dict[tuple[str, int], np.ndarray]:
        return {(name, row): make(images[row]) for name, rows in wanted.items() for row in rows}  # type: ignore[operator]

    return find_pairs({"train": part}, look, lambda *_: None)


CHANGES = {
    "jpeg": jpeg,
    "moved": lambda it: moved(it, 1),
    "brighter": lambda it: brightened(it, 1.2),
    "darker": lambda it: brightened(it, 0.8),
    "mirrored": lambda it: it[:, ::-1],
    "cropped": lambda it: cropped(it, 0.05, stretched=True),
    "all at once": lambda it: jpeg(brightened(moved(it[:, ::-1], 1), 0.8)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_planted_copy_is_called_one_picture_and_nothing_else_is(change: str) -> None:
    originals = pictures(60, seed=0)
    copies = [CHANGES[change](image) for image in originals[:20]]
    found = search([*originals, *copies]).pairs
    same = {pair for pair, likeness in found.items() if likeness.kind == "copy"}
    assert same == {(i, 60 + i) for i in range(20)}
    if change != "all at once":
        assert all(found[pair].mirrored == (change == "mirrored") for pair in same)


PHOTO_CHANGES = {
    "jpeg": jpeg,
    "half": lambda it: resized(it, 0.5),
    "larger": lambda it: resized(it, 1.5),
    "cropped": lambda it: cropped(it, 0.05),
    "brighter": lambda it: brightened(it, 1.2),
    "mirrored": lambda it: it[:, ::-1],
    "all at once": lambda it: jpeg(brightened(resized(cropped(it, 0.025), 0.75), 1.1)),
}


def test_hands_that_look_alike_are_not_accused_and_their_copies_are_found() -> None:
    originals = hands(30, seed=1)
    copies = [change(originals[place]) for place, change in enumerate(PHOTO_CHANGES.values())]
    found = search([*originals, *copies]).pairs
    same = {pair for pair, likeness in found.items() if likeness.kind == "copy"}
    assert same == {(place, 30 + place) for place in range(len(copies))}
    assert sum(likeness.kind == "alike" for likeness in found.values()) >= 5  # they do look alike


def test_the_limit_falls_where_copies_would_join_two_labels() -> None:
    """Nothing but their labels tells that these pairs are false."""
    originals = pictures(40, seed=2)
    copies = [jpeg(image) for image in originals]
    one = search([*originals, *copies], [*range(40), *range(40)])
    assert one.limit == 1 and one.estimates["copy"].false == 0
    assert sum(likeness.kind == "copy" for likeness in one.pairs.values()) == 40
    other = search([*originals, *copies], [*range(40), *range(40, 80)])
    assert other.limit < 1 and sum(likeness.kind == "copy" for likeness in other.pairs.values()) <= 2
    estimate = other.estimates["alike"]
    assert estimate.two_labels >= 38 and estimate.false == estimate.pairs  # all of them, at most


@pytest.mark.parametrize(("mirrored", "scale"), [(False, 1.0), (True, 1.0), (False, 1.08), (True, 1 / 1.08)])
def test_candidates_say_where_the_one_lies_in_the_other(mirrored: bool, scale: float) -> None:
    images = pictures(6, seed=3)
    others = [np.roll(image, 2, axis=1) for image in images]
    if scale > 1:  # the second holds less of the picture, enlarged
        others = [cropped(image, (1 - 1 / scale) / 2, stretched=True) for image in images]
    elif scale < 1:
        others, images = list(images), np.stack([cropped(image, (1 - scale) / 2, stretched=True) for image in images])
    if mirrored:
        others = [image[:, ::-1] for image in others]
    found = candidates(np.concatenate([images, np.stack(others)]), lambda *_: None)
    own = found.second == found.first + 6
    assert own.sum() == 6 and (found.mirrored[own] == mirrored).all()
    first = images[found.first[own]]
    guess = place(found.scale[own], found.left[own] / SIDE, found.top[own] / SIDE)
    turned = first[:, :, ::-1] if mirrored else first
    close = rest(turned, np.stack(others)[found.first[own]], guess, lambda *_: None)
    assert (np.abs(close.placed - guess).max(axis=(1, 2)) < 0.08).all()  # the search began where it ended
    assert (close.whole < 1).all()


def test_different_horizons_are_not_one_picture() -> None:
    """Skies over ground share their one edge, and nothing else."""
    rng = np.random.default_rng(0)
    rows = np.where(np.arange(32) < 16, 200, 80)[None, :, None, None]
    scenes = (rows + rng.normal(0, 6, (40, 32, 32, 3))).clip(0, 255).astype(np.uint8)
    assert len(candidates(scenes, lambda *_: None)) == 0


def test_none_and_single_images_have_no_pairs() -> None:
    for count in (0, 1):
        assert len(candidates(pictures(count, 0), lambda *_: None)) == 0


def test_exact_duplicates_are_paired_with_the_first() -> None:
    digests = np.array([[1] * 32, [2] * 32, [1] * 32, [1] * 32], np.uint8)
    assert list(exact_duplicates(digests)) == [(0, 2), (0, 3)]


def test_a_thumbnail_is_the_center_square() -> None:
    wide = np.zeros((40, 100, 3), np.uint8)
    wide[:, 30:70] = 200
    assert thumbnail(wide).shape == (32, 32, 3)
    assert (thumbnail(wide) == 200).all()


@pytest.mark.parametrize("is_gray", [False, True])
def test_the_principal_directions_are_those_of_a_singular_value_decomposition(is_gray: bool) -> None:
    """Gray pictures have many equal eigenvalues, on which solvers have given up."""
    half = torch.randn(50, 8, 8, 3, generator=torch.Generator().manual_seed(3))
    half = (half[..., :1].expand(-1, -1, -1, 3) if is_gray else half).flatten(1)
    found = near._principal(half)
    assert found.shape == (192, near.DIMENSIONS)
    torch.testing.assert_close(found.T @ found, torch.eye(near.DIMENSIONS), atol=1e-5, rtol=0)
    kept = torch.linalg.svdvals(half.double())[: near.DIMENSIONS].square().sum()
    torch.testing.assert_close((half @ found).double().square().sum(), kept, rtol=1e-5, atol=0)
