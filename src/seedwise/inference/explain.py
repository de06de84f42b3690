"""Draws where a network looked: the image, its Grad-CAM heat map, and the most probable classes."""

import itertools
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from seedwise.augment.pipeline import center_square
from seedwise.base import fonts
from seedwise.base.files import OUTPUT_MARK, atomic_path, drawn_here, make_folder, write_text
from seedwise.data.source import UInt8Array, visible
from seedwise.engine.gradcam import overlay

if TYPE_CHECKING:
    from seedwise.inference.predict import Predicted
    from seedwise.run.run import Run

SIDE, GAP, BARS, MARGIN = 320, 24, 380, 20
"""Lengths in pixels: a panel's side, between panels, the widest bar with its name, and the margin."""
TITLE, ANSWER, NAME, NOTE = 19, 30, 18, 16
"""Heights of letters in pixels."""
MOST = 6
"""Number of classes with a bar."""
PIXELATED = 64
"""Largest side that is enlarged pixel by pixel: smooth, it would look like a photo out of focus."""
PAPER, INK, MUTED, BLUE, GRAY = "#ffffff", "#1a1c1f", "#5c6269", "#0b63b0", "#b9bfc6"


class Explainer:
    """Writes an explaining picture for each image into a folder."""

    def __init__(self, run: "Run", folder: Path, top: int = MOST, device: str | None = None) -> None:
        self._device = device
        self._run, self._folder, self._top = run, folder, min(top, MOST)
        self._used: set[str] = set()
        make_folder(folder)
        write_text(folder / OUTPUT_MARK, "Pictures by seedwise predict --explain; no data.\n")

    def explain(self, found: "Predicted") -> Path:
        """Write a picture; returns its path: the image's name, the class, and a number if that is taken."""
        best = int(found.top(1)[0])
        stem = re.sub(r"[^\w.-]+", "_", f"{Path(found.path).stem}-{self._run.classes[best]}")[:150]
        name = next(n for k in itertools.count(1) if (n := stem if k == 1 else f"{stem}-{k}") not in self._used)
        self._used.add(name)
        path = self._folder / f"{name}.png"
        bars = [(self._run.classes[i], i, float(found.probabilities[i])) for i in found.top(self._top).tolist()]
        heat = self._run.heat(found.pixels, best, device=self._device)
        picture = draw(found.pixels, heat, Path(found.path).name, bars)
        with atomic_path(path) as temporary:
            picture.save(temporary, format="PNG", pnginfo=drawn_here())
        return path


def draw(pixels: UInt8Array, heat: NDArray[np.float32], title: str, bars: list[tuple[str, int, float]]) -> Image.Image:
    """Draw an image's center square, the same under its heat map, and a bar for each class. pixels: uint8[h, w, 3];
    heat: float32[s, s] in [0, 1]; bars: (class, its index, probability), the first the predicted."""
    width, top = 2 * MARGIN + 2 * (SIDE + GAP) + BARS, MARGIN + 36
    canvas = Image.new("RGB", (width, top + SIDE + 44), PAPER)
    on = ImageDraw.Draw(canvas)
    _write(on, (MARGIN, MARGIN), visible(title), "image", TITLE, 2 * SIDE + GAP)
    shown, (answer, number, _) = _enlarged(pixels), bars[0]
    covered = Image.fromarray(overlay(np.asarray(shown), _stretched(heat)))
    seen, said = f"seen by the network at {len(heat)} x {len(heat)} px", "yellow: speaks for {}"
    for left, panel, note in (
        (MARGIN, shown, seen),
        (MARGIN + SIDE + GAP, covered, said.format(visible(answer))),
    ):
        canvas.paste(panel, (left, top))
        _write(on, (left, top + SIDE + 8), note, said.format(f"class {number}"), NOTE, SIDE, MUTED)
    _draw_bars(on, MARGIN + 2 * (SIDE + GAP), top, bars)
    return canvas


def _draw_bars(on: ImageDraw.ImageDraw, left: int, top: int, bars: list[tuple[str, int, float]]) -> None:
    name, number, share = bars[0]
    _write(on, (left, top - 6), visible(name), f"class {number}", ANSWER, BARS - 100)
    _write(on, (left + BARS, top + 2), _percent(share), "", NAME + 4, 100, at_right=True)
    step = (SIDE - 44) // MOST
    for place, (name, number, share) in enumerate(bars):
        y = top + 48 + place * step
        _write(on, (left, y), visible(name), f"class {number}", NAME, BARS - 80)
        _write(on, (left + BARS, y), _percent(share), "", NAME, 80, at_right=True)
        line = y + NAME + 7
        on.rectangle((left, line, left + BARS, line + 7), fill="#eceef0")
        if (length := round(BARS * share)) > 0:
            on.rectangle((left, line, left + length, line + 7), fill=GRAY if place else BLUE)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def _enlarged(pixels: UInt8Array) -> Image.Image:
    """Resize the center square of uint8[h, w, 3] to a panel's size."""
    square = center_square(torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None], None)[0].permute(1, 2, 0)
    image = Image.fromarray(np.ascontiguousarray(square.numpy()))
    how = Image.Resampling.NEAREST if len(square) <= PIXELATED else Image.Resampling.LANCZOS
    return image.resize((SIDE, SIDE), how)


def _stretched(heat: NDArray[np.float32]) -> NDArray[np.float32]:
    """Resize a heat map float32[s, s] to a panel's size."""
    return np.asarray(Image.fromarray(heat).resize((SIDE, SIDE), Image.Resampling.BILINEAR)).clip(0, 1)


def _write(
    on: ImageDraw.ImageDraw,
    place: tuple[int, int],
    text: str,
    instead: str,
    size: int,
    room: int,
    color: str = INK,
    *,
    at_right: bool = False,
) -> None:
    """Text of at most `room` pixels, shortened in its middle; `instead` where no font here has its letters."""
    font = fonts.font_for(frozenset(text), size)
    if font is None:
        text, font = instead, fonts.own(size)
    cut = len(text)
    shown = text
    while cut > 2 and font.getlength(shown) > room:
        cut -= 1
        shown = f"{text[: (cut + 1) // 2]}…{text[len(text) - cut // 2 :]}"
    on.text(place, shown, fill=color, font=font, anchor="ra" if at_right else "la")
