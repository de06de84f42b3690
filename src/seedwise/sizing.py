"""Epochs, batch and image size where a recipe leaves them `auto`: from the data, and from the time there is.

docs/photos.md shows on which data the rule was tuned, and against what.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from seedwise.data.glance import Glance
from seedwise.errors import UserError
from seedwise.recipe import Recipe, TrainConfig, check, is_auto

AUTO = ("epochs", "batch_size", "image_size")
"""The options of `train` that this module writes out."""

STEPS = 440
"""Optimizer steps that ten classes are given."""
FEWEST_EPOCHS, MOST_EPOCHS = 3, 40
SMALLEST_BATCH, LARGEST_BATCH = 8, 128
IMAGE_SIZES = (64, 96, 128)
"""The smallest is only for a lack of time."""
LEAST_STEPS = 100
"""Fewer are no training (see `convergence`): `--time` refuses."""
LONGEST = 2
"""How many times the rule's epochs `--time` gives before it takes larger images."""
LARGER = (160, 192, 224)
"""Image sizes that only `--time` chooses, up to the images' own."""


@dataclass(frozen=True)
class Numbers:
    """What the rule chooses."""

    epochs: int
    batch_size: int
    image_size: int


def rule(images: int, classes: int, short_side: int) -> Numbers:
    """Epochs, batch and image size for so many training images of so many classes, with this median short side.

    Batch: the power of two next below a twentieth of the images, from 8 to 128, so that an epoch has some 20 to 40
    steps. Epochs: 440 steps for up to 10 classes and 70 more whenever their number doubles, but 3 to 40 epochs. Size:
    96 pixels for images of up to 112 (small ones are enlarged), else 128. Source: docs/photos.md, where each of these
    was chosen on validation images; that so few steps do for so few images is BiT's finding (arXiv 1912.11370).
    """
    batch = min(LARGEST_BATCH, max(SMALLEST_BATCH, 2 ** int(math.log2(max(1, images / 20)))))
    steps = STEPS + 70 * max(0.0, math.log2(classes / 10))
    size = 96 if short_side <= 112 else 128
    return Numbers(epochs_of(steps, images, batch), batch, size)


def epochs_of(steps: float, images: int, batch: int) -> int:
    """The epochs that make about so many optimizer steps, within bounds."""
    return min(MOST_EPOCHS, max(FEWEST_EPOCHS, round(steps / math.ceil(images / batch))))


def has_auto(recipe: Recipe) -> bool:
    """Whether anything is left to choose."""
    return any(is_auto(getattr(recipe.train, name)) for name in AUTO)


def filled(recipe: Recipe, seen: Glance) -> Recipe:
    """The recipe with the rule's numbers where it says `auto`; epochs follow from the batch that it really has."""
    numbers = rule(seen.train, seen.classes, seen.short_side)
    train = with_numbers(recipe.train, numbers)
    if is_auto(recipe.train.epochs) and not is_auto(recipe.train.batch_size):
        steps = numbers.epochs * math.ceil(seen.train / numbers.batch_size)
        own = train.batch_size * train.accumulate
        train = train.model_copy(update={"epochs": epochs_of(steps, seen.train, own)})
    return checked(recipe.model_copy(update={"train": train}))


def with_numbers(train: TrainConfig, numbers: "Numbers | TrainConfig") -> TrainConfig:
    """The section with these numbers where it says `auto`."""
    return train.model_copy(
        update={name: getattr(numbers, name) for name in AUTO if is_auto(getattr(train, name))},
    )


def checked(recipe: Recipe) -> Recipe:
    """The recipe, unless its sections contradict now that its numbers are known: a UserError."""
    try:
        check(recipe)
    except ValueError as error:
        raise UserError(str(error)) from error
    return recipe


@dataclass(frozen=True)
class Price:
    """Seconds that a run of some image size takes: once, and for each epoch."""

    once: float
    epoch: float


def within(
    left: Callable[[], float], wanted: int, epoch_steps: int, sizes: tuple[int, ...], price: Callable[[int], Price]
) -> tuple[int, int]:
    """Epochs and image size of the best training that ends in the seconds `left()`; a UserError names the least one.

    `wanted`: the rule's epochs; `sizes`: the rule's size, and behind it the others that may be taken (only the first
    where it is fixed). Time for less than half of the epochs: the largest of the smaller sizes with time for half; time
    for more than twice as many: the largest size with time for all of them. `price` measures, so it is asked rarely,
    and what it takes is gone from `left()`.
    """

    def affordable(size: int) -> int:
        cost = price(size)
        return math.floor((left() - cost.once) / cost.epoch)

    size, best = sizes[0], affordable(sizes[0])
    for larger in sorted(other for other in sizes if other > size):
        if best < LONGEST * wanted or (there := affordable(larger)) < wanted:
            break
        size, best = larger, there
    for smaller in sorted((other for other in sizes if other < size), reverse=True):
        if 2 * best >= wanted:
            break
        size, best = smaller, affordable(smaller)
    least = min(wanted, math.ceil(LEAST_STEPS / epoch_steps))
    if best < least:
        cost = price(size)
        needed = (cost.once + least * cost.epoch + SPENT) / MARGIN
        raise UserError(
            f"--time: too little for any sensible training: {count_of(least, 'epoch')} at {size} px "
            f"({least * epoch_steps} steps) take about {about(needed)} here; "
            f"give --time {math.ceil(needed / 30) / 2:g}m"
        )
    return min(best, LONGEST * wanted), size


MARGIN, SPENT = 0.8, 6.0
"""Share of the time that is planned for, since steps are slower at times; seconds of it for what is not measured: the
program's own start, the network, pictures, files."""


def sizes_within(recipe: Recipe, seen: Glance, first: int) -> tuple[int, ...]:
    """The image sizes that `--time` may choose from, the rule's first; only the recipe's where it gives a number."""
    if not is_auto(recipe.train.image_size):
        return (first,)
    larger = tuple(size for size in LARGER if size <= seen.short_side)
    return (first, *(size for size in IMAGE_SIZES if size < first), *(size for size in larger if size > first))


def sentence(recipe: Recipe, images: int, steps: int, seconds: float | None) -> str:
    """What was chosen, in a line: `86 photos: 40 epochs of batch 8, 440 steps at 128 px, about 3 min`."""
    train = recipe.train
    words = f"{images:,} photos: {count_of(train.epochs, 'epoch')} of batch {train.batch_size}"
    time = "" if seconds is None else f", about {about(seconds)}"
    return f"{words}, {steps} steps at {train.image_size} px{time}"


def count_of(number: int, noun: str) -> str:
    """`1 epoch`, `40 epochs`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def about(seconds: float) -> str:
    """A duration as one says it: `40 s`, `3 min`, `1 h 20 min`."""
    if seconds < 55:
        return f"{max(5, 5 * round(seconds / 5))} s"
    minutes = max(1, round(seconds / 60))
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
