"""Finds black and white for images of more than 8 bits: one range for a data set, from all its images."""

import math
from typing import NamedTuple

import numpy as np

from seedwise.base.errors import UserError
from seedwise.data.deep import Range, colors_of
from seedwise.data.images import unscaled
from seedwise.data.parallel import in_order
from seedwise.data.source import Contents, Progress, RawImage, Survey, printable

TOPS = (255, 4095, 65535)
"""Possible values of white besides 1: of 8, 12 and 16 bits."""
SLACK = 0.05
"""Distance by which floats may lie outside of [0, 1]: resizing and rounding does that."""


class Values(NamedTuple):
    """Least and largest finite value in an image; both 0 where none is."""

    where: str
    low: float
    high: float
    is_float: bool

    def __str__(self) -> str:
        return f"{self.where} has values from {self.low:g} to {self.high:g}"

    @property
    def top(self) -> int | None:
        """The white that the image's values fit; None when they fit none."""
        if self.is_float and self.low >= -SLACK and self.high <= 1 + SLACK:
            return 1
        return next((top for top in TOPS if self.low >= 0 and self.high <= top), None)


def guess(contents: Contents, name: str, report: Progress, threads: int) -> Range:
    """Find the range of black and white that all images of more than 8 bits agree on, in any part. A UserError, with a
    range that covers all, when they don't: no image alone can tell what white is in a data set."""
    # for each white that one speaks for, and for none: the images with the least and with the largest values
    extremes: dict[int | None, tuple[Values, Values]] = {}
    for part, content in contents.parts.items():
        count, label = len(content.labels), f"looking at {name} {part}"
        for seen in in_order(content.images(), _values, threads, lambda done: report(label, done, count)):  # noqa: B023
            if seen is not None and (seen.low or seen.high):
                least, largest = extremes.get(seen.top, (seen, seen))
                extremes[seen.top] = (min(least, seen, key=_by_low), max(largest, seen, key=_by_high))
    if not extremes:  # black images alone
        return (0.0, float(TOPS[-1]))
    if len(extremes) == 1 and None not in extremes:
        return (0.0, float(next(iter(extremes))))  # type: ignore[arg-type]
    low, high = zip(*extremes.values(), strict=True)
    raise _disagreement(min(low, key=_by_low), min(high, key=_by_high), max(high, key=_by_high))


def _disagreement(lowest: Values, darkest: Values, brightest: Values) -> UserError:
    other = lowest if lowest.low < 0 else darkest
    named = [other] if other[1:] == brightest[1:] else [other, brightest]
    known = next((top for top in (1, *TOPS) if brightest.high <= top), None)
    white = math.ceil(brightest.high) if known is None or lowest.low < 0 else known
    return UserError(
        f"{' and '.join(map(str, named))}: say what is black and what is white in all images of more than 8 bits; "
        f"data.pixel_range=[{min(0, math.floor(lowest.low))},{white}] covers them"
    )


def _by_low(values: Values) -> tuple[float, str]:
    return values.low, values.where


def _by_high(values: Values) -> tuple[float, str]:
    return values.high, values.where


def _values(raw: RawImage) -> Values | None:
    """Values of an image; None for one of 8 bits, and for a damaged one, which decoding reports."""
    try:
        found = unscaled(raw, deep_only=True)
    except UserError:
        return None
    if found.dtype == np.uint8:
        return None
    colors = colors_of(found)
    is_float = bool(np.issubdtype(colors.dtype, np.floating))
    finite = colors[np.isfinite(colors)] if is_float else colors
    low, high = (finite.min(), finite.max()) if finite.size else (0, 0)
    return Values(printable(raw.where), float(low), float(high), is_float)


def remarks(given: Range | None, used: Range | None) -> Survey:
    """Remarks on `data.pixel_range`, given the range that was used (None: all images had 8 bits)."""
    if given is not None and used is None:
        shown = ", ".join(f"{it:g}" for it in given)
        return Survey(doubts=(f"data.pixel_range is [{shown}], and no image has more than 8 bits: it does nothing",))
    if given is None and used is not None:
        said = f"images of more than 8 bits: black is {used[0]:g}, white is {used[1]:g}"
        return Survey(doubts=(f"{said} (guessed; data.pixel_range sets it)",))
    return Survey()
