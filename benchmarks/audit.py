"""How well the audit tells copies from look-alikes: benchmarks/audit.py DATA [--each 20] [--images N] [--sheet PNG].

Changed copies of training images are put beside the data, so many (--each) of each change, and the whole is audited:
which copies are called one picture with what they were made from, which are listed as look-alikes, and what else is
paired. With `--sheet` what else is paired is drawn side by side, fifty pairs of each kind, to be judged by eye; with
`--each 0` nothing is planted.
"""

import argparse
import io
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from seedwise.audits.pairs import Found, find_pairs
from seedwise.audits.scan import Scanned, look_again, scan
from seedwise.data.config import DataConfig
from seedwise.data.find import find_source
from seedwise.data.images import decode
from seedwise.data.source import Contents

Pixels = NDArray[np.uint8]
SHEET = 50
TALL = 128


def jpeg(pixels: Pixels, quality: int) -> Pixels:
    """Re-encoded."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def resized(pixels: Pixels, factor: float) -> Pixels:
    """Both sides times a factor."""
    height, width = (max(8, round(side * factor)) for side in pixels.shape[:2])
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))


def cropped(pixels: Pixels, left: float, top: float, right: float, bottom: float) -> Pixels:
    """Without these shares of its sides."""
    height, width = pixels.shape[:2]
    kept = pixels[round(top * height) : height - round(bottom * height)]
    return np.ascontiguousarray(kept[:, round(left * width) : width - round(right * width)])


def stretched(pixels: Pixels, like: Pixels) -> Pixels:
    """At another image's size."""
    return np.asarray(Image.fromarray(pixels).resize((like.shape[1], like.shape[0]), Image.Resampling.BICUBIC))


def brightened(pixels: Pixels, factor: float) -> Pixels:
    """All levels times a factor, clipped."""
    return (pixels * factor).clip(0, 255).round().astype(np.uint8)


CHANGES: dict[str, Callable[[Pixels], Pixels]] = {
    "JPEG, quality 95": lambda it: jpeg(it, 95),
    "JPEG, quality 75": lambda it: jpeg(it, 75),
    "JPEG, quality 50": lambda it: jpeg(it, 50),
    "resized to 75%": lambda it: resized(it, 0.75),
    "resized to 50%": lambda it: resized(it, 0.5),
    "resized to 150%": lambda it: resized(it, 1.5),
    "5% cropped at two sides": lambda it: cropped(it, 0.05, 0.05, 0, 0),
    "2.5% cropped at all sides": lambda it: cropped(it, 0.025, 0.025, 0.025, 0.025),
    "5% cropped at all sides": lambda it: cropped(it, 0.05, 0.05, 0.05, 0.05),
    "5% cropped at one side, stretched back": lambda it: stretched(cropped(it, 0.05, 0, 0, 0), it),
    "levels x 1.2": lambda it: brightened(it, 1.2),
    "levels x 0.8": lambda it: brightened(it, 0.8),
    "mirrored": lambda it: np.ascontiguousarray(it[:, ::-1]),
    "mirrored, 5% cropped, x 1.1, JPEG 75": lambda it: jpeg(
        brightened(cropped(it[:, ::-1], 0.05, 0, 0, 0.05), 1.1), 75
    ),
}


def plant(data: str, data_dir: Path | None, images: int | None, each: int, folder: Path) -> None:
    """Write a folder with the data's training images, or a draw of so many, and changed copies of some of them."""
    config = DataConfig()
    source = find_source(data, data_dir, config)
    contents = source.read()
    part = contents.parts["train"]
    rng = np.random.default_rng(0)
    kept = set(rng.permutation(len(part.labels))[:images].tolist())
    drawn = rng.permutation(sorted(kept))[: each * len(CHANGES)].tolist()
    change = {number: list(CHANGES)[place % len(CHANGES)] for place, number in enumerate(drawn)}
    for name in contents.classes:
        (folder / name).mkdir(parents=True)
    for number, raw in enumerate(part.images()):
        if number in kept:
            pixels, label = decode(raw), contents.classes[part.labels[number]]
            Image.fromarray(pixels).save(folder / label / f"{number}.png", compress_level=1)
            if number in change:
                place = list(CHANGES).index(change[number])
                copy = CHANGES[change[number]](pixels)
                Image.fromarray(copy).save(folder / label / f"{number}-{place}.png", compress_level=1)


def audited(data: str, data_dir: Path | None) -> tuple[Contents, dict[str, Scanned], Found]:
    """What an audit sees and pairs."""
    config = DataConfig()
    source = find_source(data, data_dir, config)
    contents = source.read()
    parts = scan(source, contents, lambda *_: None)
    look = partial(look_again, contents, parts, progress=lambda *_: None)
    return contents, parts, find_pairs(parts, lambda wanted, make: look(wanted, make=make), lambda *_: None)


def table(parts: dict[str, Scanned], found: Found) -> list[tuple[int, int]]:
    """Print how many copies of each change are found; returns the pairs that nobody planted."""
    where = [Path(each).stem for part in parts.values() for each in part.where]
    counts = {name: [0, 0, 0] for name in CHANGES}
    for name in where:
        if "-" in name:
            counts[list(CHANGES)[int(name.split("-")[1])]][0] += 1
    others = []
    for (i, j), likeness in found.pairs.items():
        one, two = sorted((where[i], where[j]), key=len)
        if two.startswith(f"{one}-"):
            counts[list(CHANGES)[int(two.split("-")[1])]][1 + (likeness.kind == "alike")] += 1
        elif one.split("-")[0] != two.split("-")[0]:
            others.append((i, j))
    print("| change | copies | called one picture | listed as look-alikes |\n| --- | --- | --- | --- |")
    for name, (copies, same, alike) in counts.items():
        print(f"| {name} | {copies} | {same} ({same / max(1, copies):.0%}) | {alike} |")
    copies, same, alike = (sum(column) for column in zip(*counts.values(), strict=True))
    print(f"| all | {copies} | {same} ({same / max(1, copies):.1%}) | {alike} |")
    return others


def draw(
    contents: Contents,
    parts: dict[str, Scanned],
    found: Found,
    pairs: list[tuple[int, int]],
    sheet: Path,
) -> None:
    """Pictures of fifty pairs a kind, five in a row, with what is left between them."""
    places = [(name, row) for name, part in parts.items() for row in range(len(part.labels))]
    for kind in ("copy", "alike"):
        chosen = [pair for pair in pairs if found.pairs[pair].kind == kind]
        order = np.sort(np.random.default_rng(0).permutation(len(chosen))[:SHEET])
        wanted: dict[str, set[int]] = {}
        for number in order:
            for image in chosen[number]:
                wanted.setdefault(places[image][0], set()).add(places[image][1])

        def tall(pixels: Pixels) -> Pixels:
            height, width = pixels.shape[:2]
            shape = (min(TALL, round(width * TALL / height)), TALL)
            return np.asarray(Image.fromarray(pixels).resize(shape, Image.Resampling.BICUBIC))

        seen = look_again(contents, parts, wanted, tall, lambda *_: None)
        picture = Image.new("RGB", (5 * (2 * TALL + 12), (len(order) + 4) // 5 * (TALL + 18)), "white")
        for place, number in enumerate(order):
            left, top = place % 5 * (2 * TALL + 12), place // 5 * (TALL + 18)
            ImageDraw.Draw(picture).text((left, top), f"{place + 1}: {found.pairs[chosen[number]].rest}", fill="black")
            for side, image in enumerate(chosen[number]):
                picture.paste(Image.fromarray(seen[places[image]]), (left + side * (TALL + 2), top + 14))
        if len(order):
            path = sheet.with_name(f"{sheet.stem}-{kind}{sheet.suffix}")
            picture.save(path)
            print(f"{path}: {len(order)} of {len(chosen)} pairs")


def main() -> None:
    """Print a table in Markdown; draw a sheet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--images", type=int, help="of the training images, a draw of so many; by default all")
    parser.add_argument("--each", type=int, default=20, help="copies of each change; 0 plants none")
    parser.add_argument("--sheet", type=Path, help="PNG to draw pairs on that nobody planted")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data, data_dir = options.data, options.data_dir
        if options.each or options.images:
            plant(data, data_dir, options.images, options.each, Path(folder) / "planted")
            data, data_dir = str(Path(folder) / "planted"), None
        contents, parts, found = audited(data, data_dir)
        others = table(parts, found) if options.each else list(found.pairs)
        for kind in ("equal", "copy", "alike"):
            pairs = [pair for pair in others if found.pairs[pair].kind == kind]
            print(
                f"not planted, {kind}: {len(pairs)} pairs of {sum(len(part.labels) for part in parts.values())} images"
            )
        print(f"limit {found.limit:.2f}; " + "; ".join(f"{kind}: {it}" for kind, it in found.estimates.items()))
        if options.sheet:
            draw(contents, parts, found, others, options.sheet)


if __name__ == "__main__":
    main()
