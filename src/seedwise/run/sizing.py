"""Chooses epochs, batch and image size that a recipe leaves `auto`: from the data, and from the time given.

docs/photos.md shows on which data the rule was tuned, and against what.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from seedwise.base.durations import short
from seedwise.base.errors import UserError
from seedwise.data.glance import Glance
from seedwise.models.config import TIMM_NAMES, ModelConfig
from seedwise.recipe.schema import Recipe, TrainConfig, check, is_auto

AUTO = ("epochs", "batch_size", "image_size")
"""The options of `train` that this module writes out."""

STEPS, STEPS_FROM = 200, 200
"""Optimizer steps for ten classes, with up to so many images; eight times as many images get twice as many steps."""
FEWEST_EPOCHS, MOST_EPOCHS = 3, 40
SMALLEST_BATCH, LARGEST_BATCH = 8, 128
IMAGE_SIZES = (64, 96, 128, 160, 224)
"""Image sizes in pixels; the smallest is only for a lack of time."""
FEW, MANY = 1000, 2000
"""Numbers of training images below which most is frozen and images are larger, and from which nothing is frozen."""
FROZEN_OF_FEW, FROZEN = 6, 4
"""Stages, of 8, that stay as ImageNet left them."""
LARGE_SIDE = 192
"""Short side in pixels from which on photos count as large."""
LEAST_STEPS = 100
"""Least number of optimizer steps (see `convergence`), below which `--time` refuses."""
LONGEST = 2
"""Largest factor on the rule's epochs that `--time` chooses before larger images."""
LARGER = (160, 192, 224)
"""Image sizes that only `--time` chooses, up to the images' own."""


@dataclass(frozen=True)
class Numbers:
    """The numbers that the rule chooses."""

    epochs: int
    batch_size: int
    image_size: int
    """Height and width in pixels."""


def rule(images: int, classes: int, short_side: int) -> Numbers:
    """Epochs, batch and image size for so many training images of so many classes, with this median short side.

    Batch: the power of two next below a fortieth of the images, from 8 to 128. Epochs: those that make 200 optimizer
    steps, times the cube root of images / 200 where there are more, and a quarter more whenever 10 classes double; from
    3 to 40. Size: for fewer than 1,000 images 224 pixels, or 160 if they are smaller than 192 pixels; for fewer than
    5,000 images 160, or 128 if they are that small (small ones are enlarged); else 96, so that a run takes minutes on
    two cores. Source: docs/photos.md, where it was chosen on validation images; that so few steps do for so few images
    is BiT's finding (arXiv 1912.11370).
    """
    batch = min(LARGEST_BATCH, max(SMALLEST_BATCH, 2 ** int(math.log2(max(1, images / 40)))))
    steps = STEPS * max(1.0, images / STEPS_FROM) ** (1 / 3) * (1 + 0.25 * max(0.0, math.log2(classes / 10)))
    small, large = (160, 224) if images < FEW else (128, 160)
    size = 96 if images >= 5000 else large if short_side >= LARGE_SIDE else small
    return Numbers(epochs_of(steps, images, batch), batch, size)


def frozen_stages(images: int) -> int:
    """How many of a network's 8 stages stay as ImageNet left them: 6 for fewer than 1,000 training images, 4 for fewer
    than 2,000, else none."""
    return FROZEN_OF_FEW if images < FEW else FROZEN if images < MANY else 0


def epochs_of(steps: float, images: int, batch: int) -> int:
    """Epochs that make about this many optimizer steps, within bounds."""
    return min(MOST_EPOCHS, max(FEWEST_EPOCHS, round(steps / math.ceil(images / batch))))


def has_auto(recipe: Recipe) -> bool:
    """Whether anything is left to choose."""
    return is_auto(recipe.model.freeze) or any(is_auto(getattr(recipe.train, name)) for name in AUTO)


def filled(recipe: Recipe, seen: Glance) -> Recipe:
    """Fill in the rule's numbers where the recipe says `auto`; epochs follow from the batch that it then has."""
    numbers = rule(seen.train, seen.classes, seen.short_side)
    train = with_numbers(recipe.train, numbers)
    if is_auto(recipe.train.epochs) and not is_auto(recipe.train.batch_size):
        steps = numbers.epochs * math.ceil(seen.train / numbers.batch_size)
        own = train.batch_size * train.accumulate
        train = train.model_copy(update={"epochs": epochs_of(steps, seen.train, own)})
    model = with_freeze(recipe.model, frozen_stages(seen.train))
    return checked(recipe.model_copy(update={"train": train, "model": model}))


def with_freeze(model: ModelConfig, stages: int) -> ModelConfig:
    """The section with this many frozen stages where it says `auto`, for a network to which that applies."""
    if not is_auto(model.freeze):
        return model
    suits = model.name in TIMM_NAMES and model.weights != "none"
    return model.model_copy(update={"freeze": stages if suits else 0})


def with_numbers(train: TrainConfig, numbers: "Numbers | TrainConfig") -> TrainConfig:
    """The section with these numbers where it says `auto`."""
    return train.model_copy(
        update={name: getattr(numbers, name) for name in AUTO if is_auto(getattr(train, name))},
    )


def checked(recipe: Recipe) -> Recipe:
    """Return the recipe; a UserError if its sections contradict now that its numbers are known."""
    try:
        check(recipe)
    except ValueError as error:
        raise UserError(str(error)) from error
    return recipe


@dataclass(frozen=True)
class Price:
    """Seconds of a run at some image size: once, and for each epoch."""

    once: float
    epoch: float


def within(
    left: Callable[[], float],
    wanted: int,
    epoch_steps: int,
    sizes: tuple[int, ...],
    price: Callable[[int], Price],
    elapsed: Callable[[], float] = lambda: 0.0,
    trials: int = 1,
) -> tuple[int, int]:
    """Choose epochs and image size of the best training that ends within a trial's seconds, `left()`.

    `wanted`: the rule's epochs; `sizes`: the rule's size, and behind it the others that may be taken (only the first
    where it is fixed). Time for less than half of the epochs: the largest of the smaller sizes with time for half; time
    for more than twice as many: the largest size with time for all of them. `price` measures, so it is asked rarely,
    and what it takes is gone from `left()` and comes to `elapsed()`. A UserError names the least time.
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
        at_most = (best + 1) * (
            size / smaller
        ) ** 2  # a step of a quarter of the pixels takes at least a quarter of the time
        if smaller == min(sizes) or 2 * at_most >= wanted:
            size, best = smaller, affordable(smaller)
    best = affordable(size)  # once more, for measuring took time
    least = least_epochs(wanted, epoch_steps)
    if best < least:
        cost = price(size)
        needed = elapsed() + (cost.once + least * cost.epoch + SPENT) / MARGIN
        raise UserError(
            f"--time: too little for any sensible training: {training(least, epoch_steps, size)} take about "
            f"{about(needed)} here; give {enough(needed, trials)}"
        )
    return min(best, LONGEST * wanted), size


def least_epochs(wanted: int, epoch_steps: int) -> int:
    """The fewest epochs that count as a training, for so many steps each."""
    return min(wanted, math.ceil(LEAST_STEPS / epoch_steps))


def training(epochs: int, epoch_steps: int, size: int) -> str:
    """A training in words: `10 epochs at 64 px (110 steps)`."""
    return f"{count_of(epochs, 'epoch')} at {size} px ({epochs * epoch_steps} steps)"


def enough(seconds: float, trials: int) -> str:
    """The `--time` that gives each trial this many seconds: `--time 2.5m`."""
    return f"--time {short(30 * math.ceil(seconds * trials / 30))}" + (f" for {trials} runs" if trials > 1 else "")


WRITES = 0.5
"""Seconds for each epoch's checkpoint and records, which measuring a step doesn't see."""
MARGIN, SPENT = 0.8, 6.0
"""Share of the time that is planned for, since steps are slower at times; seconds of it for what is not measured: the
program's own start, the network, pictures, files."""


def sizes_within(recipe: Recipe, seen: Glance, first: int) -> tuple[int, ...]:
    """Image sizes in pixels that `--time` may choose from, the rule's first; only the recipe's if it is a number."""
    if not is_auto(recipe.train.image_size):
        return (first,)
    larger = tuple(size for size in LARGER if size <= seen.short_side)
    return (first, *(size for size in IMAGE_SIZES if size < first), *(size for size in larger if size > first))


def sentence(recipe: Recipe, images: int, steps: int, seconds: float | None) -> str:
    """The choices in a line: `86 photos: 40 epochs of batch 8, 440 steps at 128 px, about 3 min`."""
    train = recipe.train
    words = f"{images:,} photos: {count_of(train.epochs, 'epoch')} of batch {train.batch_size}"
    time = "" if seconds is None else f", about {about(seconds)}"
    return f"{words}, {steps} steps at {train.image_size} px{time}"


def count_of(number: int, noun: str) -> str:
    """A number with its noun: `1 epoch`, `40 epochs`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def about(seconds: float) -> str:
    """A rounded duration in words: `40 s`, `3 min`, `1 h 20 min`."""
    if seconds < 55:
        return f"{max(5, 5 * round(seconds / 5))} s"
    minutes = max(1, round(seconds / 60))
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
