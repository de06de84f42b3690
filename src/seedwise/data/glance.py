"""Counts and sizes of data, from labels and file headers before decoding, for defaults that depend on them."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seedwise.base import machine
from seedwise.base.files import write_json
from seedwise.data.cache import cache_errors, key_of, place_of, silent
from seedwise.data.config import DataConfig
from seedwise.data.find import find_source
from seedwise.data.images import image_size
from seedwise.data.parallel import in_order
from seedwise.data.planning import order_of, sampled
from seedwise.data.published import DownloadSource
from seedwise.data.selection import read_contents
from seedwise.data.source import PARTS, Contents, Progress, RawImage, Source
from seedwise.data.splits import share_of

SAMPLE = 1000
"""Images whose headers are read where data are too large to look at all of them."""


@dataclass(frozen=True)
class Glance:
    """Numbers of images and classes, and the images' size, as far as they decide defaults. `train`: images to train on;
    `short_side`: median of the training part's own short sides, in pixels; `val`, `test`: images that are held out;
    `images`: all that are decoded."""

    train: int
    classes: int
    short_side: int
    val: int = 0
    test: int = 0
    images: int = 0


def glance(name: str, config: DataConfig, *, data_dir: Path | None, progress: Progress | None = None) -> Glance:
    """Read labels and the header of each file; a folder, a table or an archive of the same images give the same. A
    UserError where `open_data` would raise one for labels."""
    source, report = find_source(name, data_dir, config), progress or silent
    if isinstance(source, DownloadSource):
        source.fetch(report)
    contents = read_contents(source, config)
    counts, images = _counts(contents, config), sum(len(part.labels) for part in contents.parts.values())
    side = _short_side(source, contents, config, report)
    return Glance(counts["train"], len(contents.classes), side, counts["val"], counts["test"], images)


def _counts(contents: Contents, config: DataConfig) -> dict[str, int]:
    """Images to train on after test, validation and a limit are taken off (as `open_data` does), and these two."""
    counts = {part: len(contents.parts[part].labels) if part in contents.parts else 0 for part in PARTS}
    spare = len(contents.classes)  # each class keeps one
    for part, share in (("test", config.test), ("val", config.val)):
        if share == "none" or (part == "val" and not share):
            counts[part] = 0
        elif part not in contents.parts:
            counts[part] = min(share_of(share, counts["train"]), max(0, counts["train"] - spare))
            counts["train"] -= counts[part]
    return counts if config.limit is None else counts | {"train": min(counts["train"], config.limit)}


def _short_side(source: Source, contents: Contents, config: DataConfig, report: Progress) -> int:
    """Median short side in pixels; cached beside the decoded images, since 50,000 headers take seconds to read."""
    memo = place_of(source) / f"sides-{key_of(source, config)}.txt"
    try:
        return int(memo.read_text())
    except (OSError, ValueError):
        pass
    part, label = contents.parts["train"], f"looking at {source.name}"
    images: Iterable[RawImage] = part.images()
    count = len(part.labels)
    if order_of(source.stamp(), config) == "listing":
        images = sampled(part, SAMPLE)
        count = len(images)
    looked = in_order(images, _side, machine.cores(), lambda done: report(label, done, count))
    sides = [side for side in looked if side]
    median = int(np.sort(sides)[len(sides) // 2]) if sides else 1
    with cache_errors(memo.parent):
        memo.parent.mkdir(parents=True, exist_ok=True)
    write_json(memo, median)
    return median


def _side(raw: RawImage) -> int:
    """An image's short side in pixels; 0 for one that can't be read, which decoding will name."""
    return min(image_size(raw) or (0,))
