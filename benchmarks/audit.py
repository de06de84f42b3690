"""How well the audit finds near-duplicates: benchmarks/audit.py DATA [--sheet FIFTY.png --findings AUDIT.json].

With `--sheet`, fifty of the pairs that `seedwise audit DATA --json` found between test and the images to train on are
drawn side by side, to be judged by eye. Without, a changed copy of every drawn training image is put beside it, and
what the search pairs is counted. Thresholds were set on `--half tune` of the draw; `--half test` had no say in them.
"""

import argparse
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from seedwise.audit.near import SIDE, near_duplicates
from seedwise.data.audit.scan import scan
from seedwise.data.config import DataConfig
from seedwise.data.find import find_source

Pixels = NDArray[np.uint8]


def jpeg(pixels: Pixels, quality: int) -> Pixels:
    """Re-encoded."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def shifted(pixels: Pixels, by: int) -> Pixels:
    """To the right and down; the edge is repeated."""
    return np.pad(pixels, ((by, 0), (by, 0), (0, 0)), mode="edge")[:SIDE, :SIDE]


def brightened(pixels: Pixels, factor: float) -> Pixels:
    """All levels times a factor, clipped."""
    return (pixels * factor).clip(0, 255).round().astype(np.uint8)


def cropped(pixels: Pixels, border: int) -> Pixels:
    """Without its border, and enlarged to its size again."""
    return np.asarray(
        ImageOps.fit(Image.fromarray(pixels), (SIDE, SIDE), Image.Resampling.BICUBIC, bleed=border / SIDE)
    )


def halved(pixels: Pixels) -> Pixels:
    """Stored at half the size, and enlarged again."""
    small = Image.fromarray(pixels).resize((SIDE // 2, SIDE // 2), Image.Resampling.BICUBIC)
    return np.asarray(small.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


CHANGES: dict[str, Callable[[Pixels], Pixels]] = {
    "JPEG, quality 90": lambda it: jpeg(it, 90),
    "JPEG, quality 50": lambda it: jpeg(it, 50),
    "JPEG, quality 20": lambda it: jpeg(it, 20),
    "shifted by 1 px": lambda it: shifted(it, 1),
    "shifted by 2 px": lambda it: shifted(it, 2),
    "shifted by 3 px": lambda it: shifted(it, 3),
    "levels x 1.3": lambda it: brightened(it, 1.3),
    "levels x 0.6": lambda it: brightened(it, 0.6),
    "gray": lambda it: np.asarray(Image.fromarray(it).convert("L").convert("RGB")),
    "mirrored": lambda it: it[:, ::-1],
    "1 px of border cropped": lambda it: cropped(it, 1),
    "2 px of border cropped": lambda it: cropped(it, 2),
    "half the size": halved,
    "mirrored, shifted by 2, x 0.8, JPEG 50": lambda it: jpeg(brightened(shifted(it[:, ::-1], 2), 0.8), 50),
}


def measured(images: Pixels, change: Callable[[Pixels], Pixels]) -> tuple[int, int]:
    """How many changed copies were paired with what they were made from, and how many with something else alone."""
    count = len(images)
    found = near_duplicates(np.concatenate([images, np.stack([change(one) for one in images])]), lambda *_: None)
    pairs = set(zip(found.first.tolist(), found.second.tolist(), strict=True))
    own = {pair for pair in pairs if pair[1] - pair[0] == count}
    real = {pair for pair in pairs if pair[1] < count}
    known = (
        {(i, j + count) for i, j in real}
        | {(j, i + count) for i, j in real}
        | {(i + count, j + count) for i, j in real}
    )
    return len(own), len(pairs - own - real - known)


def draw_fifty(findings: Path, thumbnails: dict[str, Pixels], sheet: Path) -> None:
    """A picture of fifty pairs, six in a row, from the most alike to the least; a pair is 192 pixels wide."""
    pairs = [
        (pair["first"], pair["second"])
        for pair in json.loads(findings.read_text())["pairs"]
        if (pair["first"]["split"] == "test") != (pair["second"]["split"] == "test")
    ]
    drawn = np.sort(np.random.default_rng(0).choice(len(pairs), 50, replace=False))
    picture = Image.new("RGB", (6 * 200, 9 * 104), "white")
    for place, number in enumerate(drawn):
        for side, each in enumerate(pairs[number]):
            pixels = Image.fromarray(thumbnails[each["part"]][each["row"]]).resize((96, 96), Image.Resampling.BICUBIC)
            picture.paste(pixels, (place % 6 * 200 + side * 96, place // 6 * 104))
    picture.save(sheet)
    print(f"{sheet}: 50 of {len(pairs)} pairs")


def main() -> None:
    """Print a table in Markdown, or draw a sheet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--half", choices=("tune", "test"), default="test", help="of a draw of twice as many images")
    parser.add_argument("--sheet", type=Path, help="PNG to draw fifty pairs on")
    parser.add_argument("--findings", type=Path, help="what `seedwise audit DATA --json` printed")
    options = parser.parse_args()
    source = find_source(options.data, options.data_dir, DataConfig())
    parts = scan(source, source.read(), lambda *_: None)
    if options.sheet:
        draw_fifty(options.findings, {name: part.thumbnails for name, part in parts.items()}, options.sheet)
        return
    thumbnails = parts["train"].thumbnails
    drawn = np.random.default_rng(0).permutation(len(thumbnails))[: 2 * options.images]
    half = drawn[: len(drawn) // 2] if options.half == "tune" else drawn[len(drawn) // 2 :]
    print(f"| {len(half)} images, each with a copy | copies found | false pairs |\n| --- | --- | --- |")
    for name, change in CHANGES.items():
        found, false = measured(thumbnails[half], change)
        print(f"| {name} | {found / len(half):.1%} | {false} |", flush=True)


if __name__ == "__main__":
    main()
