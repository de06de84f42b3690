"""Draws a before/after picture: what each technique of a recipe does, alone and all together."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from seedwise.augment.config import AugmentConfig
from seedwise.augment.pipeline import Augmenter
from seedwise.augment.table import TECHNIQUES
from seedwise.base import fonts
from seedwise.base.files import atomic_path, drawn_here
from seedwise.config.section import Section

TILE = 112
"""Smallest side of a picture in the grid; smaller images are enlarged by a whole factor, so pixels stay square."""
GAP = 8
LABEL_WIDTH = 210
TITLE_HEIGHT = 92
CAPTION_HEIGHT = 36
INK, QUIET, PAPER = (24, 24, 28), (104, 104, 112), (255, 255, 255)


def draw_grid(
    path: Path,
    images: Tensor,
    sizes: Tensor | None,
    targets: Tensor,
    classes: Sequence[str],
    config: AugmentConfig,
    *,
    seed: int,
    size: int,
    count: int = 8,
) -> None:
    """Save a PNG with a row for each technique that is on and one for all of them.

    Each row shows another of uint8[n, c, h, w] `images` (valid area int64[n, 2] `sizes`) that the technique changes:
    first as evaluation sees it, then with the draws of `count` epochs, and below the classes with the largest shares in
    targets float32[n, k]. `size`: side in pixels of the training images.
    """
    rows = technique_rows(config)
    scale = -(-TILE // size)
    tile = size * scale
    width = LABEL_WIDTH + (count + 1) * (tile + GAP) + 3 * GAP
    picture = Image.new("RGB", (width, TITLE_HEIGHT + len(rows) * (tile + CAPTION_HEIGHT + GAP)), PAPER)
    pen = ImageDraw.Draw(picture)
    pen.text((2 * GAP, 2 * GAP), "What augmentation does", INK, fonts.own(20))
    summary = f"seed {seed}   {size} x {size} px   resize {config.resize.interpolation}"
    pen.text((2 * GAP, 5 * GAP), summary, QUIET, fonts.own(14))
    for column, text in ((0, "original"), (1, "epoch 0"), (2, "epoch 1"), (3, "…")):
        if column <= count:
            pen.text((_left(column, tile), TITLE_HEIGHT - 20), text, QUIET, fonts.own(14))
    for row, (name, alone) in enumerate(rows):
        top = TITLE_HEIGHT + row * (tile + CAPTION_HEIGHT + GAP)
        shown = row % len(images)
        _write_label(pen, top, name, alone)
        cells = changed_cells(images, sizes, targets, alone, shown, seed=seed, size=size, count=count)
        for column, (pixels, target) in enumerate(cells):
            enlarged = Image.fromarray(pixels).resize((tile, tile), Image.Resampling.NEAREST)
            picture.paste(enlarged, (_left(column, tile), top))
            if column == 0 or target.count_nonzero() > 1:
                _write_caption(pen, (_left(column, tile), top + tile + 2), target, classes, tile)
    with atomic_path(path) as temporary:
        picture.save(temporary, format="PNG", pnginfo=drawn_here())


def technique_rows(config: AugmentConfig) -> list[tuple[str, AugmentConfig]]:
    """A configuration with each technique alone, for each that is on, and one with all; without any, the resize."""
    on = {t.name: getattr(config, t.name) for t in TECHNIQUES if getattr(config, t.name) is not None}
    if not on:
        return [("resize", config)]
    alone = [(name, AugmentConfig(resize=config.resize, **{name: section})) for name, section in on.items()]
    return [*alone, ("all together", config)] if len(on) > 1 else alone


def changed_cells(
    images: Tensor,
    sizes: Tensor | None,
    targets: Tensor,
    config: AugmentConfig,
    shown: int,
    *,
    seed: int,
    size: int,
    count: int,
) -> list[tuple[npt.NDArray[np.uint8], Tensor]]:
    """Pixels uint8[size, size, 3] and target float32[k] of an image: the original, then one for each of `count` epochs.

    The image is number `shown` of uint8[n, c, h, w] `images`, or the next one that changes in one of the epochs: rare
    techniques leave many alone.
    """
    black, white = (0.0,) * images.shape[1], (1.0,) * images.shape[1]
    augmenter = Augmenter(config, seed=seed, rows=len(images), mean=black, std=white, device=images.device)
    ids = torch.arange(len(images))
    original = augmenter.evaluate(images, sizes, size=size)
    epochs = [augmenter.train(images, sizes, targets, ids, epoch=epoch, size=size) for epoch in range(count)]
    changed = [(batch.images != original).flatten(1).any(dim=1) for batch in epochs]
    candidates = torch.stack(changed).any(dim=0).roll(-shown) if changed else torch.zeros(1)
    shown = (shown + int(candidates.int().argmax())) % len(images)
    cells = [(original[shown], targets[shown]), *((batch.images[shown], batch.targets[shown]) for batch in epochs)]
    return [((image * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy(), t.cpu()) for image, t in cells]


def _left(column: int, tile: int) -> int:
    """Left edge of a column in pixels; a gap separates the originals."""
    return LABEL_WIDTH + column * (tile + GAP) + (GAP if column else 0)


def _write_label(pen: ImageDraw.ImageDraw, top: int, name: str, alone: AugmentConfig) -> None:
    pen.text((2 * GAP, top), name.replace("_", " "), INK, fonts.own(17))
    section = getattr(alone, name, None)
    if isinstance(section, Section):
        lines = [f"{key.replace('_', ' ')}  {_readable(value)}" for key, value in section]
        pen.multiline_text((2 * GAP, top + 22), "\n".join(lines), QUIET, fonts.own(14), spacing=5)


def _readable(value: object) -> str:
    if isinstance(value, tuple):
        return " to ".join(_readable(v) for v in value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _write_caption(
    pen: ImageDraw.ImageDraw, corner: tuple[int, int], target: Tensor, classes: Sequence[str], tile: int
) -> None:
    """Up to two classes, the larger share first; names are cut to the tile's width, numbers where no font has them."""
    shares, indices = target.sort(descending=True, stable=True)
    for line, (share, index) in enumerate(zip(shares[:2].tolist(), indices[:2].tolist(), strict=True)):
        if share >= 0.005:
            prefix = f"{share:.2f} " if share < 0.995 else ""
            font = fonts.font_for(frozenset(classes[index] + prefix), 13)
            text = prefix + (classes[index] if font else f"class {index}")
            font = font or fonts.own(13)
            while font.getlength(text) > tile and len(text) > len(prefix) + 1:
                text = text[:-2] + "…"
            pen.text((corner[0], corner[1] + 15 * line), text, INK, font)
