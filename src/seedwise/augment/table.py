"""The table of techniques, in the order of application: one line joins a name, its config and its function."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from seedwise.augment import (
    blur,
    color_jitter,
    custom,
    cutmix,
    flip,
    grayscale,
    mixup,
    rand_augment,
    random_crop,
    random_erasing,
    random_resized_crop,
    rotation,
    trivial_augment_wide,
)
from seedwise.augment import config as c
from seedwise.augment.measure import Measured
from seedwise.base.batch import Batch
from seedwise.config.section import Section

Stage = Literal["frame", "native", "final", "mix"]


@dataclass(frozen=True)
class Augmentation:
    """A technique that draws: `apply(batch, draws, config) -> (batch, measured)` on uint8 images.

    `draws` is float32[n, columns] in [0, 1) on the CPU, where parameters are derived in float64, so that they are the
    same on every device.
    """

    name: str
    """Its field in AugmentConfig, and its stream's name."""
    config: type[Section]
    """Its section."""
    columns: int
    """How many numbers it draws for each image and epoch."""
    apply: Callable[..., tuple[Batch, Measured]]
    """Its function."""
    stage: Stage
    """Where it acts: `frame` makes images of any shape size x size; `native` comes before, `final` after the resize to
    the training size; `mix` comes last and takes each image's partner from the batch that no other has mixed."""
    takes: tuple[str, ...] = ()
    """What its function takes besides, by name: `size`, `interpolation`, the weights' `mean`, or `mixing`."""
    strength: str | None = None
    """The option that progressive learning raises: `Augmenter.train` takes it as `<name>.<strength>`."""


TECHNIQUES: tuple[Augmentation, ...] = (
    Augmentation(
        "random_resized_crop",
        c.RandomResizedCropConfig,
        random_resized_crop.COLUMNS,
        random_resized_crop.apply,
        "frame",
        takes=("size", "interpolation"),
    ),
    Augmentation("random_crop", c.RandomCropConfig, random_crop.COLUMNS, random_crop.apply, "native"),
    Augmentation("horizontal_flip", c.HorizontalFlipConfig, flip.COLUMNS, flip.apply_horizontal, "native"),
    Augmentation("vertical_flip", c.VerticalFlipConfig, flip.COLUMNS, flip.apply_vertical, "native"),
    Augmentation("rotation", c.RotationConfig, rotation.COLUMNS, rotation.apply, "native"),
    Augmentation("color_jitter", c.ColorJitterConfig, color_jitter.COLUMNS, color_jitter.apply, "native"),
    Augmentation(
        "rand_augment",
        c.RandAugmentConfig,
        rand_augment.COLUMNS,
        rand_augment.apply,
        "native",
        strength="magnitude",
    ),
    Augmentation(
        "trivial_augment_wide",
        c.TrivialAugmentWideConfig,
        trivial_augment_wide.COLUMNS,
        trivial_augment_wide.apply,
        "native",
    ),
    Augmentation("grayscale", c.GrayscaleConfig, grayscale.COLUMNS, grayscale.apply, "native"),
    Augmentation("blur", c.BlurConfig, blur.COLUMNS, blur.apply, "native"),
    Augmentation("custom", c.CustomConfig, custom.COLUMNS, custom.apply, "final"),
    Augmentation(
        "random_erasing",
        c.RandomErasingConfig,
        random_erasing.COLUMNS,
        random_erasing.apply,
        "final",
        takes=("mean",),
    ),
    Augmentation("mixup", c.MixUpConfig, mixup.COLUMNS, mixup.apply, "mix", takes=("mixing",), strength="alpha"),
    Augmentation("cutmix", c.CutMixConfig, cutmix.COLUMNS, cutmix.apply, "mix", takes=("mixing",), strength="alpha"),
)
