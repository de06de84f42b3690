"""The curve of a learning-rate range test as a picture: the same lines and words by Pillow (PNG) or as SVG."""

import math
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw

from seedwise.base import fonts
from seedwise.base.files import atomic_path, drawn_here, write_text
from seedwise.run.lr_finder import RangeTest

WIDTH, HEIGHT, LETTERS = 840, 500, 14
LEFT, RIGHT, TOP, BOTTOM = 60, 820, 76, 444
"""The edges of the axes in the picture, in pixels."""
INK, GRID, PAPER = "#1a1c1f", "#e3e5e8", "#ffffff"
GRAY, BLUE, GREEN, ORANGE, RED = "#8a9199", "#1f77b4", "#2ca02c", "#d97706", "#d62728"
MARGINS = ((0, 0, WIDTH, TOP), (0, BOTTOM, WIDTH, HEIGHT), (0, 0, LEFT, HEIGHT), (RIGHT, 0, WIDTH, HEIGHT))


class Line(NamedTuple):
    """A line through points, in pixels."""

    points: list[tuple[float, float]]
    color: str
    width: int = 1


class Label(NamedTuple):
    """Words whose left end, middle or right end (l, m, r) lies at a point, in the middle of their height."""

    at: tuple[float, float]
    end: str
    said: str
    color: str = INK


def draw(path: Path, found: RangeTest, title: str) -> None:
    """Write the curve as SVG or PNG, by the file's name; a UserError where that can't be."""
    curves, axes = list(_curves(found)), list(_axes(found, title))
    if path.suffix == ".svg":
        boxes = [
            f'<path fill="{PAPER}" d="M{a} {b}H{c}V{d}H{a}Z"/>' for a, b, c, d in ((0, 0, WIDTH, HEIGHT), *MARGINS)
        ]
        parts = [boxes[0], *map(_svg, curves), *boxes[1:], *map(_svg, axes)]
        head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif">'
        write_text(path, "\n".join([head, *parts, "</svg>\n"]))
        return
    picture = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    pen = ImageDraw.Draw(picture)
    for curve in curves:
        pen.line(curve.points, curve.color, curve.width, joint="curve")
    for margin in MARGINS:
        pen.rectangle(margin, PAPER)
    for part in axes:
        if isinstance(part, Line):
            pen.line(part.points, part.color, part.width)
        else:
            font = fonts.font_for(frozenset(part.said), LETTERS) or fonts.own(LETTERS)
            pen.text(part.at, part.said, part.color, font, f"{part.end}m")
    with atomic_path(path) as temporary:
        picture.save(temporary, format="PNG", pnginfo=drawn_here())


def _svg(part: Line | Label) -> str:
    if isinstance(part, Line):
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in part.points)
        return f'<polyline points="{points}" fill="none" stroke="{part.color}" stroke-width="{part.width}"/>'
    anchor = {"l": "start", "m": "middle", "r": "end"}[part.end]
    place = f'x="{part.at[0]:.1f}" y="{part.at[1] + LETTERS / 3:.1f}" text-anchor="{anchor}"'
    return f'<text {place} font-size="{LETTERS}" fill="{part.color}">{escape(part.said)}</text>'


def _across(found: RangeTest, rate: float) -> float:
    first, last = math.log(found.rates[0]), math.log(found.rates[-1])
    return LEFT + (RIGHT - LEFT) * (0.03 + 0.94 * (math.log(rate) - first) / (last - first))


def _range(found: RangeTest) -> tuple[float, float]:
    """Losses at the bottom and at the top: what diverges is cut off."""
    least, first = min(found.smoothed), found.smoothed[0]
    height = max(first - least, 1e-3)
    return least - 0.3 * height, first + height


def _up(found: RangeTest, loss: float) -> float:
    low, high = _range(found)
    return BOTTOM - (BOTTOM - TOP) * min(1.15, max(-0.15, (loss - low) / (high - low)))


def _marks(found: RangeTest) -> list[tuple[str, float, str]]:
    """What the test concluded: its name, rate and color."""
    marks = [("suggested", found.suggestion, GREEN), ("steepest", found.steepest, ORANGE)]
    marks += [("lowest", found.lowest, RED)]
    return [mark for mark in marks if LEFT <= _across(found, mark[1]) <= RIGHT]


def _curves(found: RangeTest) -> Iterator[Line]:
    for losses, color, width in ((found.losses, GRAY, 1), (found.smoothed, BLUE, 3)):
        yield Line([(_across(found, rate), _up(found, loss)) for rate, loss in zip(found.rates, losses)], color, width)
    for _, rate, color in _marks(found):
        yield Line([(_across(found, rate), TOP), (_across(found, rate), BOTTOM)], color, 2)


def _axes(found: RangeTest, title: str) -> Iterator[Line | Label]:
    """The frame with its ticks, and all words: the title, the legend, what the axes count."""
    yield Line([(LEFT, TOP), (RIGHT, TOP), (RIGHT, BOTTOM), (LEFT, BOTTOM), (LEFT, TOP)], INK)
    low, high = _range(found)
    for place in range(1, 6):
        loss = low + place * (high - low) / 6
        yield Line([(LEFT - 5, _up(found, loss)), (LEFT, _up(found, loss))], INK)
        yield Label((LEFT - 8, _up(found, loss)), "r", f"{loss:.3g}")
    decades = range(math.ceil(math.log10(found.rates[0])), math.floor(math.log10(found.rates[-1])) + 1)
    for rate in [10.0**decade for decade in decades] or [found.rates[0], found.rates[-1]]:
        yield Line([(_across(found, rate), BOTTOM), (_across(found, rate), BOTTOM + 5)], INK)
        yield Label((_across(found, rate), BOTTOM + 16), "m", f"{rate:.1g}")
    yield Label((WIDTH / 2, 20), "m", title)
    yield Label((RIGHT, HEIGHT - 18), "r", "learning rate")
    yield Label((8, TOP - 16), "l", "training loss")
    legend = [("each step", GRAY), ("smoothed", BLUE), *((f"{n} {rate:.1e}", c) for n, rate, c in _marks(found))]
    for place, (said, color) in enumerate(legend):
        yield Label((LEFT + 100 + 142 * place, TOP - 16), "l", said, color)
