"""A picture that explains an answer: the square that the network sees, its heat map, and bars; readable at any size."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seedwise.base import fonts
from seedwise.inference import explain
from seedwise.inference.explain import BARS, GAP, MARGIN, MOST, SIDE, draw

TOP = MARGIN + 36
BARS_LEFT = MARGIN + 2 * (SIDE + GAP)


def drawn(
    pixels: np.ndarray,
    heat: np.ndarray | None = None,
    bars: list[tuple[str, int, float]] | tuple[tuple[str, int, float], tuple[str, int, float]] = (
        ("ant", 0, 0.75),
        ("bee", 1, 0.25),
    ),
    title: str = "photo.jpg",
) -> np.ndarray:
    heat = np.zeros((4, 4), np.float32) if heat is None else heat
    return np.asarray(draw(pixels, heat, title, list(bars)))


def panel(picture: np.ndarray, place: int) -> np.ndarray:
    left = MARGIN + place * (SIDE + GAP)
    return picture[TOP : TOP + SIDE, left : left + SIDE]


@pytest.mark.parametrize("shape", [(8, 12, 3), (12, 8, 3), (1, 1, 3)])
def test_a_tiny_image_is_enlarged_pixel_by_pixel_and_cut_to_the_square_that_is_seen(
    shape: tuple[int, int, int],
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    side = min(shape[:2])
    top, left = (shape[0] - side) // 2, (shape[1] - side) // 2
    square = pixels[top : top + side, left : left + side]
    assert np.array_equal(panel(drawn(pixels), 0), square.repeat(SIDE // side, 0).repeat(SIDE // side, 1))


def test_a_photo_is_shrunk_smoothly() -> None:
    ramp = np.linspace(0, 255, 1000).astype(np.uint8)
    shown = panel(drawn(np.broadcast_to(ramp[None, :, None], (1000, 1000, 3))), 0).astype(int)
    assert np.abs(np.diff(shown[:, :, 0], axis=1)).max() <= 2


def test_the_heat_lies_where_it_was() -> None:
    heat = np.zeros((16, 16), np.float32)
    heat[2, 12] = 1
    covered = panel(drawn(np.full((50, 50, 3), 128, np.uint8), heat), 1).astype(int)
    yellow = covered[:, :, 0] - covered[:, :, 2]
    row, column = np.unravel_index(yellow.argmax(), yellow.shape)
    assert abs(row / SIDE - 2.5 / 16) < 0.03 and abs(column / SIDE - 12.5 / 16) < 0.03


def blue(picture: np.ndarray) -> np.ndarray:
    return (picture == np.array([0x0B, 0x63, 0xB0])).all(axis=2)


@pytest.mark.parametrize("share", [0.75, 1.0, 0.01])
def test_the_answers_bar_is_as_long_as_its_probability(share: float) -> None:
    picture = drawn(np.zeros((20, 20, 3), np.uint8), bars=[("ant", 0, share), ("bee", 1, 1 - share)])
    assert blue(picture)[:, BARS_LEFT:].any(axis=0).sum() == pytest.approx(BARS * share, abs=1.5)


def test_the_answer_is_in_the_picture() -> None:
    """Other words, other pixels, in the column of the answer and nowhere in the images."""
    one, other = (drawn(np.zeros((20, 20, 3), np.uint8), bars=[(name, 0, 0.5)]) for name in ("ant", "bee"))
    assert (one != other)[:, BARS_LEFT:].any() and not (panel(one, 1) != panel(other, 1)).any()


def ink(picture: np.ndarray) -> np.ndarray:
    return (picture < 128).all(axis=2)  # type: ignore[return-value]


def test_long_names_stay_in_their_room() -> None:
    long = "a class with a name that goes on and on and on " * 3
    picture = drawn(np.full((20, 20, 3), 255, np.uint8), bars=[(long, n, 0.2) for n in range(MOST)], title=long)
    assert not ink(picture)[:, -MARGIN + 2 :].any() and not ink(picture)[:, :MARGIN].any()
    assert not ink(picture)[TOP:, BARS_LEFT - GAP + 2 : BARS_LEFT].any()


def test_letters_that_no_font_here_has_become_the_number_of_the_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "FONTS", ())
    fonts._others.cache_clear()
    fonts.font_for.cache_clear()
    written = []
    monkeypatch.setattr(explain.ImageDraw.ImageDraw, "text", lambda self, at, text, **more: written.append(text))
    drawn(np.zeros((20, 20, 3), np.uint8), bars=[("고양이", 7, 0.5), ("dog", 2, 0.5)], title="사진.jpg")
    assert "class 7" in written and "dog" in written and "yellow: speaks for class 7" in written
    fonts._others.cache_clear()
    fonts.font_for.cache_clear()


def test_it_is_a_picture(tmp_path: Path) -> None:
    draw(np.zeros((20, 20, 3), np.uint8), np.ones((4, 4), np.float32), "x", [("ant", 0, 1.0)]).save(tmp_path / "x.png")
    assert Image.open(tmp_path / "x.png").size == (BARS_LEFT + BARS + MARGIN, TOP + SIDE + 44)
