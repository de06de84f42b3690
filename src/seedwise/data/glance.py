"""What a default may depend on: how many images there are, of how many classes, how large; before any is decoded."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seedwise import machine
from seedwise.data.cache import cache_errors, key_of, place_of, silent
from seedwise.data.config import DataConfig
from seedwise.data.find import find_source
from seedwise.data.formats import readers
from seedwise.data.parallel import in_order
from seedwise.data.published import DownloadSource
from seedwise.data.selection import read_contents
from seedwise.data.source import Contents, Progress, RawImage, Source
from seedwise.data.splits import share_of
from seedwise.files import write_json


@dataclass(frozen=True)
class Glance:
    """Data as far as it decides defaults. `train`: images to train on; `short_side`: median of the training part's own
    short sides, in pixels."""

    train: int
    classes: int
    short_side: int


def glance(name: str, config: DataConfig, *, data_dir: Path | None, progress: Progress | None = None) -> Glance:
    """Look at labels and at the head of each file; the same for a folder, a table or an archive of the same images."""
    source, report = find_source(name, data_dir, config), progress or silent
    if isinstance(source, DownloadSource):
        source.fetch(report)
    contents = read_contents(source, config)
    return Glance(_train_count(contents, config), len(contents.classes), _short_side(source, contents, config, report))


def _train_count(contents: Contents, config: DataConfig) -> int:
    """Images that are left to train on when test, validation and a limit have been taken off (`open_data` does it)."""
    left = len(contents.parts["train"].labels)
    spare = len(contents.classes)  # each class keeps one
    for part, share in (("test", config.test), ("val", config.val)):
        if part not in contents.parts and share != "none":
            left -= min(share_of(share, left), max(0, left - spare))
    return left if config.limit is None else min(left, config.limit)


def _short_side(source: Source, contents: Contents, config: DataConfig, report: Progress) -> int:
    """Kept beside the decoded images, since the heads of 50,000 photos take seconds to read."""
    memo = place_of(source) / f"sides-{key_of(source, config)}.txt"
    try:
        return int(memo.read_text())
    except (OSError, ValueError):
        pass
    part, label = contents.parts["train"], f"looking at {source.name}"
    count = len(part.labels)
    looked = in_order(part.images(), _side, machine.cores(), lambda done: report(label, done, count))
    sides = [side for side in looked if side]
    median = int(np.sort(sides)[len(sides) // 2]) if sides else 1
    with cache_errors(memo.parent):
        memo.parent.mkdir(parents=True, exist_ok=True)
    write_json(memo, median)
    return median


def _side(raw: RawImage) -> int:
    """Pixels of an image's short side; 0 for one that can't be read, which decoding will name."""
    from PIL import Image

    if isinstance(raw.data, np.ndarray):
        return int(min(raw.data.shape[:2]))
    try:
        with Image.open(io.BytesIO(raw.data) if isinstance(raw.data, bytes) else raw.data, formats=readers()) as image:
            return min(image.size)
    except Exception:  # of a dozen types, as in `images.opened`
        return 0
