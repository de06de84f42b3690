"""Opens a data set by name and configuration."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from seedwise.data.cache import StoredPart, open_cached, silent
from seedwise.data.config import DataConfig
from seedwise.data.damage import REASON as DAMAGED
from seedwise.data.dataset import Dataset, Subset
from seedwise.data.find import find_source
from seedwise.data.folder import FolderSource
from seedwise.data.formats import advice
from seedwise.data.pixel_range import remarks
from seedwise.data.published import DownloadSource
from seedwise.data.selection import TEST_LEFT_OUT, unscored
from seedwise.data.source import Progress, Source, Survey, Tally, require_classes
from seedwise.data.splits import hold_out, limit_train
from seedwise.data.unused import unused_options


def open_data(
    name: str,
    config: DataConfig,
    *,
    data_dir: Path | None = None,
    short_side: int,
    train_short_side: int | None = None,
    progress: Progress | None = None,
    least_classes: int = 2,
) -> Dataset:
    """Find the data, decode them on the first start, and split them; a UserError for all that can't be used.

    `name`: `digits`, `cifar10`, `cifar100`, a folder of images or Parquet files, a Parquet file, a CSV, or an archive
    of a folder of images. `data_dir`: where local copies lie (else the environment variable SEEDWISE_DATA). The network
    is touched only when `config.download` says so and there is no local copy. `short_side`: pixels of the short side
    that larger images are stored at. `train_short_side`: as much for those to train on, when it is another; both stores
    have the same rows. `least_classes`: with fewer they are refused; one is enough to be scored.
    """
    source = find_source(name, data_dir, config)
    if isinstance(source, DownloadSource):
        source.fetch(progress or silent)
    stored = open_cached(source, config, short_side, progress=progress, least_classes=least_classes)
    require_classes(stored.classes, source.path or source.name, least_classes)  # whoever decoded them may want fewer
    parts = {part: _subset(kept) for part, kept in stored.parts.items()}
    train, val, test = _divided(parts, config, stored.classes)
    disk = stored.disk_bytes
    if train_short_side not in (None, short_side):
        larger = open_cached(source, config, train_short_side, progress=progress, least_classes=least_classes)
        disk += larger.disk_bytes
        train = replace(train, images=larger.parts["train"].images)
    left_out = Tally()
    if not config.val and "val" in parts:
        left_out.add("images", "the val part, by data.val=0", "val", len(parts["val"]))
    if config.limit is not None:
        whole, train = len(train), limit_train(train, config.limit, seed=config.split_seed)
        if len(train) < whole:
            left_out.add("images", "by data.limit", "train", whole - len(train))
    dataset = Dataset(
        name=source.name,
        path=source.path,
        fingerprint=stored.fingerprint,
        originals=stored.originals,
        classes=stored.classes,
        superclasses=stored.superclasses,
        superclass_of=stored.superclass_of,
        train=train,
        val=val,
        test=test,
        given=tuple(parts),
        survey=_survey(source, stored.survey) + Survey(left_out.passed_over()),
        pixel_range=stored.pixel_range,
        storage=stored.storage,
        disk_bytes=disk,
    )
    also = Survey(doubts=(*unused_options(source, config), *unscored(dataset, config)))
    return replace(dataset, survey=dataset.survey + remarks(config.pixel_range, stored.pixel_range) + also)


def _subset(kept: StoredPart) -> Subset:
    """All images of a part."""
    count = len(kept.labels)
    return Subset(np.arange(count), kept.labels, count, kept.images, names=kept.names, prints=kept.originals)


def _divided(
    parts: Mapping[str, Subset], config: DataConfig, classes: tuple[str, ...]
) -> tuple[Subset, Subset | None, Subset | None]:
    """Train, val and test: the source's own, or held out of train by the options where it has none."""
    train, val, test = parts["train"], parts.get("val"), parts.get("test")
    if config.test == "none":
        test = None
    elif test is None and config.test:
        train, test = hold_out(train, config.test, option="test", seed=config.split_seed, classes=classes)
    if not config.val:
        val = None
    elif val is None:
        train, val = hold_out(train, config.val, option="val", seed=config.split_seed, classes=classes)
    return train, val, test


def _survey(source: Source, stored: Survey) -> Survey:
    """The survey from decoding; for a folder, with what lies there now and is passed over."""
    now = stored
    if isinstance(source, FolderSource):
        kept = (TEST_LEFT_OUT, DAMAGED)
        chosen = (each for each in stored.passed_over if each.kind == "classes" or each.reason in kept)
        now = replace(stored, passed_over=source.passed_over + tuple(chosen))
    return now + Survey(doubts=tuple(advice({each.reason: each.count for each in now.passed_over})))
