"""Stratified, seeded choices of images: held-out parts, limits, samples and folds."""

from dataclasses import replace

import numpy as np

from seedwise.base import rng
from seedwise.base.errors import UserError
from seedwise.data.dataset import Dataset, Subset
from seedwise.data.source import Int64Array


def allocate(counts: Int64Array, total: int, capacity: Int64Array) -> Int64Array:
    """Allocate `total` seats to classes, int64[k], in proportion to `counts` by largest remainder, within `capacity`.

    In whole numbers throughout, so it is exact; ties go to the class with the lower index. A ValueError where
    `capacity` doesn't suffice.
    """
    seats: Int64Array = np.minimum(counts * total // max(1, counts.sum()), capacity)
    by_remainder = np.argsort(-(counts * total % max(1, counts.sum())), kind="stable")
    while (left := total - int(seats.sum())) > 0:
        open_classes = by_remainder[seats[by_remainder] < capacity[by_remainder]]
        if not len(open_classes):
            raise ValueError(f"{total} seats exceed the capacity of {capacity.sum()}")
        seats[open_classes[:left]] += 1
    return seats


def _ranks(targets: Int64Array, generator: np.random.Generator) -> Int64Array:
    """int64[n]: each image's rank, from 0, in a random order of its class."""
    order = np.lexsort((generator.random(len(targets)), targets))
    sorted_targets = targets[order]
    ranks = np.empty(len(targets), np.int64)
    ranks[order] = np.arange(len(targets)) - np.searchsorted(sorted_targets, sorted_targets)
    return ranks


def stratified_sample(targets: Int64Array, count: int, generator: np.random.Generator) -> Int64Array:
    """Draw `count` images by stratified sampling: ascending positions int64[count]; targets int64[n]."""
    counts = np.bincount(targets)
    seats = allocate(counts, count, capacity=counts)
    return np.flatnonzero(_ranks(targets, generator) < seats[targets])


def stratified_order(targets: Int64Array, generator: np.random.Generator) -> Int64Array:
    """An order int64[n] of all images whose every prefix is stratified; targets int64[n].

    Largest remainders would not nest (a class can lose a seat when the total grows, the Alabama paradox), so image r of
    a class of n gets the priority (r + 1/2) / n, which is Sainte-Laguë's method. Equal priorities are ordered by a
    random order of the classes.
    """
    counts = np.bincount(targets)
    priority = (2 * _ranks(targets, generator) + 1) / (2 * counts[targets])
    class_order = generator.permutation(len(counts))
    return np.lexsort((class_order[targets], priority))


def share_of(share: int | float, size: int) -> int:
    """A number of images, from a fraction in [0, 1) of `size` (rounded half up) or a count."""
    return share if isinstance(share, int) else int(share * size + 0.5)


def hold_out(
    train: Subset, share: int | float, *, option: str, seed: int, classes: tuple[str, ...]
) -> tuple[Subset, Subset | None]:
    """Split training images into (rest, held out): a stratified share, drawn by a seed and the option's name.

    Every class keeps at least one image to train on, so those with a single one give none. A fraction that comes to no
    image, or finds none to spare, holds out nothing: None; a number of images that can't be had is a UserError.
    """
    size = len(train)
    count = share_of(share, size)
    counts = np.bincount(train.targets, minlength=len(classes))
    spare = np.maximum(counts - 1, 0)
    if isinstance(share, float) and (count == 0 or not spare.any()):
        return train, None
    if not 0 < count <= spare.sum():
        raise UserError(
            f"data.{option}={share} is {count} of {size} images in {len(classes)} classes: "
            f"choose from 1 to {spare.sum()} images, or 0 for none"
        )
    generator = rng.generator(seed, "data", option)
    seats = allocate(counts, count, capacity=spare)
    held_out = _ranks(train.targets, generator) < seats[train.targets]
    return train.take(np.flatnonzero(~held_out)), train.take(np.flatnonzero(held_out))


def limit_train(train: Subset, limit: int, *, seed: int) -> Subset:
    """`limit` stratified training images, or all if there are fewer; smaller limits lie within larger ones. A UserError
    for a limit below the number of classes."""
    if limit >= len(train):
        return train
    classes = len(np.unique(train.targets))
    if limit < classes:
        raise UserError(f"data.limit={limit} is less than one image for each of {classes} classes: raise it")
    order = stratified_order(train.targets, rng.generator(seed, "data", "limit"))
    return train.take(np.sort(order[:limit]))


def bootstrap(dataset: Dataset, *, seed: int) -> Dataset:
    """Draw a bootstrap sample of the training images, as many with replacement; those not drawn become `oob`."""
    train, size = dataset.train, len(dataset.train)
    drawn = np.sort(rng.generator(seed, "data", "bootstrap").integers(0, size, size))
    copy = np.arange(size) - np.searchsorted(drawn, drawn)  # which one of its image each is, from 0
    sample = replace(
        train,
        ids=train.ids[drawn] + copy * train.rows_in_part,
        targets=train.targets[drawn],
        copies=int(copy.max()) + 1,
    )
    left_out = np.setdiff1d(np.arange(size), drawn)
    return replace(dataset, train=sample, oob=train.take(left_out) if len(left_out) else None)


def folds(labels: Int64Array, count: int) -> Int64Array:
    """int64[n]: the fold of each label int64[n], in [0, count): stratified, by a fixed draw."""
    order = np.lexsort((rng.generator(0, "data", "folds").random(len(labels)), labels))
    fold = np.empty(len(labels), np.int64)
    fold[order] = np.arange(len(labels)) % count
    return fold


def leave_fold(dataset: Dataset, fold: tuple[int, int]) -> Dataset:
    """Leave out one fold of the training images, (number from 1, count), which becomes `oob`.

    A class with two images or more is trained on in every fold. A UserError for too few images.
    """
    (number, count), train = fold, dataset.train
    if len(train) < 2 * count:
        raise UserError(f"data.fold: {len(train)} training images are too few for {count} folds; take fewer")
    left_out = folds(train.targets, count) == number - 1
    return replace(dataset, train=train.take(np.flatnonzero(~left_out)), oob=train.take(np.flatnonzero(left_out)))


def train_probe(train: Subset, count: int = 5000) -> Subset:
    """A fixed stratified sample of min(count, n) training images, on which `final.train` is measured."""
    generator = rng.generator(0, "data", "train_probe")
    return train.take(stratified_sample(train.targets, min(count, len(train)), generator))
