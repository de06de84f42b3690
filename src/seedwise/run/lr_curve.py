"""The curve of a learning-rate range test as a picture: the same lines and words by Pillow (PNG) or as SVG."""

import math
from html import escape
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw

from seedwise.base import fonts
from seedwise.base.files import atomic_path, drawn_here, write_text
from seedwise.run.lr_finder import LearningRateCurve

WIDTH, HEIGHT, LETTERS = 840, 500, 14
LEFT, RIGHT, TOP, BOTTOM = 60, 820, 76, 444
"""The edges of the axes in the picture, in pixels."""
INK, GRID, PAPER = "#1a1c1f", "#e3e5e8", "#ffffff"
GRAY, BLUE, GREEN, ORANGE, RED = "#8a9199", "#1f77b4", "#2ca02c", "#d97706", "#d62728"
MARGINS = ((0, 0, WIDTH, TOP), (0, BOTTOM, WIDTH, HEIGHT), (0, 0, LEFT, HEIGHT), (RIGHT, 0, WIDTH, HEIGHT))


class Line(NamedTuple):
    """A line through points, in pixels."""

    points: list[tuple[float, float]]
    color: str = INK
    width: int = 1


class Label(NamedTuple):
    """Words whose left end, middle or right end (l, m, r) lies at a point, in the middle of their height."""

    at: tuple[float, float]
    end: str
    said: str
    color: str = INK


def draw(path: Path, found: LearningRateCurve, title: str) -> None:
    """Write the curve as SVG or PNG, by the file's name; a UserError where that can't be."""
    curves, axes = _parts(found, title)
    if path.suffix == ".svg":
        boxes = [
            f'<path fill="{PAPER}" d="M{a} {b}H{c}V{d}H{a}Z"/>' for a, b, c, d in ((0, 0, WIDTH, HEIGHT), *MARGINS)
        ]
        size = f'width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="{LETTERS}"'
        parts = [boxes[0], *map(_svg, curves), *boxes[1:], *map(_svg, axes)]
        return write_text(path, "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {size}>', *parts, "</svg>\n"]))
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
    return None


def _svg(part: Line | Label) -> str:
    if isinstance(part, Line):
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in part.points)
        return f'<polyline points="{points}" fill="none" stroke="{part.color}" stroke-width="{part.width}"/>'
    anchor = {"l": "start", "m": "middle", "r": "end"}[part.end]
    place = f'x="{part.at[0]:.1f}" y="{part.at[1] + LETTERS / 3:.1f}" text-anchor="{anchor}"'
    return f'<text {place} fill="{part.color}">{escape(part.said)}</text>'


def _parts(found: LearningRateCurve, title: str) -> tuple[list[Line], list[Line | Label]]:
    """The curves, and what lies above them: the frame, its ticks, the legend; losses that diverge are cut off."""
    first, last = math.log10(found.rates[0]), math.log10(found.rates[-1])
    height = max(found.smoothed[0] - min(found.smoothed), 1e-3)
    low = min(min(found.smoothed) - 0.3 * height, min(found.losses) - 0.05 * height)
    high = found.smoothed[0] + height

    def across(rate: float) -> float:
        return LEFT + (RIGHT - LEFT) * (0.03 + 0.94 * (math.log10(rate) - first) / (last - first))

    def up(loss: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * min(1.15, max(-0.15, (loss - low) / (high - low)))

    curves, legend = [], []
    for name, losses, color, width in (("each step", found.losses, GRAY, 1), ("smoothed", found.smoothed, BLUE, 3)):
        curves.append(Line([(across(rate), up(loss)) for rate, loss in zip(found.rates, losses)], color, width))
        legend.append((name, color))
    marks = (
        ("suggested", found.suggestion, GREEN),
        ("steepest", found.steepest, ORANGE),
        ("lowest", found.lowest, RED),
    )
    for name, rate, color in marks:
        curves.append(Line([(across(rate), TOP), (across(rate), BOTTOM)], color, 2))
        legend.append((f"{name} {rate:.1e}", color))
    frame = Line([(LEFT, TOP), (RIGHT, TOP), (RIGHT, BOTTOM), (LEFT, BOTTOM), (LEFT, TOP)])
    axes: list[Line | Label] = [frame, Label((WIDTH / 2, 20), "m", title)]
    axes += [Label((8, TOP - 16), "l", "training loss"), Label((RIGHT, HEIGHT - 18), "r", "learning rate")]
    axes += [Label((LEFT + 100 + 142 * n, TOP - 16), "l", said, color) for n, (said, color) in enumerate(legend)]
    for loss in (low + place * (high - low) / 6 for place in range(1, 6)):
        axes += [Line([(LEFT - 5, up(loss)), (LEFT, up(loss))]), Label((LEFT - 8, up(loss)), "r", f"{loss:.3g}")]
    for rate in [10.0**decade for decade in range(math.ceil(first), math.floor(last) + 1)] or found.rates[::-1][:1]:
        axes.append(Line([(across(rate), BOTTOM), (across(rate), BOTTOM + 5)]))
        axes.append(Label((across(rate), BOTTOM + 16), "m", f"{rate:.1g}"))
    return curves, axes
