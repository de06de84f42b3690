"""Selects what of a source's contents is used: classes with enough images, and doubts about the rest."""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import replace
from functools import partial
from typing import TypeVar

import numpy as np

from seedwise.base.errors import UserError
from seedwise.data.config import DataConfig
from seedwise.data.dataset import Dataset
from seedwise.data.describe import counted
from seedwise.data.labels import meaning, some
from seedwise.data.source import (
    Contents,
    Int64Array,
    Source,
    SourcePart,
    Survey,
    Tally,
    printable,
    require_classes,
)

Each = TypeVar("Each")
TEST_LEFT_OUT = "the test part, by data.test=none"
NOTHING_JOINED = "data.join_spellings joins nothing: no two classes are spellings of one"
SURELY_IDS = 20
"""Least number of classes for which one image each is a mistake: a column of numbers or names that identify images."""


def read_contents(source: Source, config: DataConfig, least_classes: int = 2) -> Contents:
    """Read a source's contents, with `data.join_spellings` and `data.min_per_class` applied, and check them. A
    UserError for fewer than `least_classes` classes."""
    contents = source.read()
    if config.join_spellings:
        contents = _joined(contents)
    require_classes(contents.classes, source.path or source.name, least_classes)
    if config.test == "none" and "test" in contents.parts:
        left = Tally()
        left.add("images", TEST_LEFT_OUT, "test", len(contents.parts["test"].labels))
        parts = {name: part for name, part in contents.parts.items() if name != "test"}
        contents = replace(contents, parts=parts, survey=contents.survey + Survey(left.passed_over()))
    if config.min_per_class is not None:
        contents = _without_small(contents, config.min_per_class, source, least_classes)
    counts = np.bincount(contents.parts["train"].labels, minlength=len(contents.classes))
    if len(counts) >= SURELY_IDS and (counts <= 1).all():
        raise UserError(
            f"{source.path}: each of {len(counts)} images is a class of its own ({contents.classes[0]}, "
            f"{contents.classes[1]}, …): these are no classes; name the labels with data.label_column or the folders "
            "with data.class_level"
        )
    return contents


def unscored(dataset: Dataset, config: DataConfig) -> list[str]:
    """Doubts about classes without held-out images: nothing says how well they are recognized."""
    found = []
    names = dataset.classes
    alone = np.flatnonzero(np.bincount(dataset.train.targets, minlength=len(names)) == 1)
    held = "test" if dataset.test is not None else "val"
    images = dataset.test if dataset.test is not None else dataset.val
    if images is None and config.val == 0 and config.test in (0, "none"):
        return []
    if images is None:
        return ["no image is held out, neither for validation nor for test: only the training images are scored"]
    missing = np.flatnonzero(np.bincount(images.targets, minlength=len(names)) == 0)
    if len(missing):
        count = counted(len(missing), "classes")
        why = ", of which a single image is there to train on" if set(missing) <= set(alone) else ""
        shown = some(printable(names[number]) for number in missing)
        found.append(
            f"no {held} image of {count} ({shown}){why}: trained on, not scored; data.min_per_class leaves "
            "small classes out"
        )
    return found


def _joined(contents: Contents) -> Contents:
    """Join spellings of one class under the one that most of its training images have."""
    names = contents.classes
    counts = np.bincount(contents.parts["train"].labels, minlength=len(names))
    groups: dict[Hashable, list[int]] = {}
    for number, name in enumerate(names):
        groups.setdefault(meaning(name), []).append(number)
    first = {number: max(group, key=lambda it: (counts[it], -it)) for group in groups.values() for number in group}
    kept = sorted(set(first.values()))
    new_number = np.array([kept.index(first[number]) for number in range(len(names))], np.int64)
    joined = [" + ".join(repr(names[it]) for it in group) for group in groups.values() if len(group) > 1]
    doubt = f"classes joined by data.join_spellings: {some(joined)}"
    if not joined:
        doubt = NOTHING_JOINED
    return replace(
        contents,
        classes=tuple(names[number] for number in kept),
        parts={name: replace(part, labels=new_number[part.labels]) for name, part in contents.parts.items()},
        superclass_of=None if contents.superclass_of is None else contents.superclass_of[kept],
        survey=contents.survey + Survey(doubts=(doubt,)),
    )


def _without_small(contents: Contents, least: int, source: Source, least_classes: int) -> Contents:
    """Drop the classes with fewer than `least` training images, in every part."""
    counts = np.bincount(contents.parts["train"].labels, minlength=len(contents.classes))
    kept = np.flatnonzero(counts >= least)
    if len(kept) == len(counts):
        return contents
    tally = Tally()
    for number in np.flatnonzero(counts < least):
        tally.add("classes", f"fewer than {least} images", contents.classes[number])
    classes = tuple(contents.classes[number] for number in kept)
    if len(classes) < least_classes:
        names = f"{len(classes)} of {len(counts)} classes"
        where = source.path or source.name
        raise UserError(f"{where}: data.min_per_class={least}: {names} have so many images: lower it")
    new_number = np.full(len(counts), -1, np.int64)
    new_number[kept] = np.arange(len(kept))
    parts = {name: _chosen(part, new_number) for name, part in contents.parts.items()}
    parts = {name: part for name, part in parts.items() if name == "train" or len(part.labels)}
    above = None if contents.superclass_of is None else contents.superclass_of[kept]
    survey = contents.survey + Survey(tally.passed_over())
    return replace(contents, classes=classes, parts=parts, superclass_of=above, survey=survey)


def _chosen(part: SourcePart, new_number: Int64Array) -> SourcePart:
    labels = new_number[part.labels]

    def chosen(every: Callable[[], Iterator[Each]]) -> Iterator[Each]:
        return (each for each, label in zip(every(), labels, strict=True) if label >= 0)

    places = None if part.places is None else partial(chosen, part.places)
    return SourcePart(labels[labels >= 0], partial(chosen, part.images), places)
