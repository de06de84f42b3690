"""Draws charts as SVG; colors are the page's CSS variables, so that they follow light, dark and print."""

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 360, 210
"""Size in CSS pixels on a phone; wider screens enlarge the whole chart."""
FAR = 1e12
"""Largest number that is drawn: a damaged record must not break the arithmetic of a chart."""
LETTER = 6.8
"""Mean width of a letter of a name in the drawing's units: they are bold, and 11.5 high."""
MOST_POINTS = 240
"""Largest number of a line's points: more would not be seen."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """A range of numbers, with ticks at round ones."""

    low: float
    high: float
    ticks: tuple[float, ...]

    @classmethod
    def over(
        cls,
        values: Sequence[float],
        *,
        count: int = 6,
        whole: bool = False,
        pad: float = 0.04,
        limits: Point = (-math.inf, math.inf),
    ) -> "Axis":
        """An axis around these values; `whole`: ticks are whole numbers, for counts. `limits`: bounds of the range."""
        kept = [_near(value) for value in values] or [0.0]
        low, high = min(kept), max(kept)
        if high - low <= 1e-12 * max(1.0, abs(high)):
            spread = max(abs(high) * 0.1, 1e-6) if not whole else 1.0
            low, high = low - spread, high + spread
        margin = pad * (high - low)
        step = _step((high - low) / max(count - 1, 1), whole)
        low, high = max(low - margin, limits[0]), min(high + margin, limits[1])
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        return cls(low, high, tuple(index * step for index in range(first, last + 1)))

    def place(self, value: float, start: float, end: float) -> float:
        """Map a number to a position between two edges of the drawing."""
        share = (_near(value) - self.low) / (self.high - self.low)
        return start + min(1.0, max(0.0, share)) * (end - start)

    def texts(self, *, percent: bool = False, signed: bool = False) -> list[str]:
        """Labels of the ticks, all with as many decimals as they need to differ."""
        scale = 100 if percent else 1
        step = (self.ticks[1] - self.ticks[0]) * scale if len(self.ticks) > 1 else abs((self.ticks or (1,))[0] * scale)
        decimals = max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 0
        if decimals > 4 or max(map(abs, self.ticks), default=0) * scale >= 1e5:
            return [f"{tick * scale:.3g}".replace("-", "−") for tick in self.ticks]
        return [number(tick * scale, decimals, signed=signed) for tick in self.ticks]


class Plot:
    """A pair of axes to draw on, in the drawing's units; what is drawn later lies above. `svg` gives the whole."""

    def __init__(
        self,
        x: Axis,
        y: Axis,
        *,
        width: int = WIDTH,
        height: int = HEIGHT,
        left: int = 42,
        bottom: int = 34,
        top: int = 10,
    ) -> None:
        self.x, self.y, self.width, self.height = x, y, width, height
        self.left, self.right, self.top, self.bottom = left, width - 10, top, height - bottom
        self._parts: list[str] = []

    def across(self, value: float) -> float:
        """Horizontal position of a number."""
        return self.x.place(value, self.left, self.right)

    def up(self, value: float) -> float:
        """Vertical position of a number."""
        return self.y.place(value, self.bottom, self.top)

    def axes(self, x_label: str, y_label: str, *, x_percent: bool = False, y_percent: bool = False) -> None:
        """Draw both axes: grid lines at the ticks of y, numbers, and labels."""
        for tick, text in zip(self.y.ticks, self.y.texts(percent=y_percent)):
            self.segment((self.x.low, tick), (self.x.high, tick), "grid")
            self.text(self.left - 5, self.up(tick) + 3.5, text, "tick end")
        self.x_axis(x_label, percent=x_percent)
        if y_label:
            self.text(0, 8, y_label, "axis")

    def x_axis(self, label: str, *, percent: bool = False, signed: bool = False, lines: Sequence[Point] = ()) -> None:
        """Draw the horizontal axis only; `lines`: ranges of y for grid lines at its ticks."""
        self._parts.append(f'<path class="base" d="M{self.left} {self.bottom}H{self.right}"/>')
        for tick, text in zip(self.x.ticks, self.x.texts(percent=percent, signed=signed)):
            for low, high in lines:
                self.segment((tick, low), (tick, high), "grid")
            self.text(self.across(tick), self.bottom + 13, text, "tick middle")
        self.text(self.right, self.height - 4, label, "axis end")

    def segment(self, start: Point, end: Point, style: str) -> None:
        """Draw a straight line."""
        a, b = self._at(start), self._at(end)
        self._parts.append(f'<path class="{style}" d="M{a}L{b}"/>')

    def line(self, points: Sequence[Point], style: str) -> None:
        """Draw a line through points; a dot for a single one."""
        if len(points) == 1:
            return self.dot(points[0], "", f"dot {style}")
        if points:
            path = "L".join(self._at(point) for point in thinned(points))
            self._parts.append(f'<path class="line {style}" d="M{path}"/>')
        return None

    def band(self, low: Sequence[Point], high: Sequence[Point], style: str) -> None:
        """Fill the area between two lines."""
        if len(low) > 1:
            path = "L".join(self._at(point) for point in [*thinned(low), *reversed(thinned(high))])
            self._parts.append(f'<path class="band {style}" d="M{path}Z"/>')

    def box(self, x: Point, y: Point, style: str) -> None:
        """Draw a rectangle, given its edges."""
        left, right = sorted(map(self.across, x))
        top, bottom = sorted(map(self.up, y))
        size = f'width="{_n(right - left)}" height="{_n(bottom - top)}"'
        self._parts.append(f'<rect class="{style}" x="{_n(left)}" y="{_n(top)}" {size}/>')

    def dot(self, point: Point, title: str, style: str = "dot", radius: float = 3.0) -> None:
        """Draw a dot with a tooltip."""
        x, y = self.across(point[0]), self.up(point[1])
        inner = f"<title>{escape(title)}</title>" if title else ""
        self._parts.append(f'<circle class="{style}" cx="{_n(x)}" cy="{_n(y)}" r="{radius:g}">{inner}</circle>')

    def text(self, x: float, y: float, words: str, style: str, room: float | None = None) -> None:
        """Write words at a position of the drawing, in its own units; shortened to a width of `room`."""
        shown = words if room is None else shortened(words, room / LETTER)
        inner = escape(shown) if shown == words else f"<title>{escape(words)}</title>{escape(shown)}"
        self._parts.append(f'<text class="{style}" x="{_n(x)}" y="{_n(y)}">{inner}</text>')

    def svg(self, title: str) -> Markup:
        """The complete SVG; `title` describes it for those who can't see it."""
        head = f'<svg role="img" viewBox="0 0 {self.width} {self.height}" aria-label="{escape(title)}">'
        return Markup(head + "".join(self._parts) + "</svg>")

    def _at(self, point: Point) -> str:
        return f"{_n(self.across(point[0]))} {_n(self.up(point[1]))}"


def thinned(points: Sequence[Point]) -> Sequence[Point]:
    """At most MOST_POINTS of the points, first and last among them."""
    if len(points) <= MOST_POINTS:
        return points
    last = len(points) - 1
    return [points[round(index * last / (MOST_POINTS - 1))] for index in range(MOST_POINTS)]


def shortened(text: str, room: float) -> str:
    """Cut a text's middle where it is wider than `room` lowercase Latin letters; both ends tell long names apart."""
    widths = [2.0 if unicodedata.east_asian_width(letter) in "WF" else 1.0 for letter in text]
    if sum(widths) <= room:
        return text
    head = tail = 0
    left = room - 1  # of the ellipsis
    while (width := widths[head] if head <= tail else widths[-1 - tail]) <= left and head + tail < len(text):
        left -= width
        head, tail = (head + 1, tail) if head <= tail else (head, tail + 1)
    return f"{text[:head]}…{text[len(text) - tail :]}"


def number(value: float, decimals: int, *, signed: bool = False) -> str:
    """A number with a true minus sign; zero has no sign."""
    text = f"{value:+.{decimals}f}" if signed else f"{value:.{decimals}f}"
    return (text.lstrip("+-") if float(text) == 0 else text).replace("-", "−")


def _step(least: float, whole: bool) -> float:
    """The least of 1, 2 and 5 times a power of ten that is at least about `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= 0.8 * least)
    return max(1.0, step) if whole else step


def _near(value: float) -> float:
    return min(FAR, max(-FAR, value))


def _n(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")
