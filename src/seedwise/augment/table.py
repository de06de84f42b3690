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
class Technique:
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


TECHNIQUES: tuple[Technique, ...] = (
    Technique(
        "random_resized_crop",
        c.RandomResizedCropConfig,
        random_resized_crop.COLUMNS,
        random_resized_crop.apply,
        "frame",
        takes=("size", "interpolation"),
    ),
    Technique("random_crop", c.RandomCropConfig, random_crop.COLUMNS, random_crop.apply, "native"),
    Technique("horizontal_flip", c.HorizontalFlipConfig, flip.COLUMNS, flip.apply_horizontal, "native"),
    Technique("vertical_flip", c.VerticalFlipConfig, flip.COLUMNS, flip.apply_vertical, "native"),
    Technique("rotation", c.RotationConfig, rotation.COLUMNS, rotation.apply, "native"),
    Technique("color_jitter", c.ColorJitterConfig, color_jitter.COLUMNS, color_jitter.apply, "native"),
    Technique(
        "rand_augment",
        c.RandAugmentConfig,
        rand_augment.COLUMNS,
        rand_augment.apply,
        "native",
        strength="magnitude",
    ),
    Technique(
        "trivial_augment_wide",
        c.TrivialAugmentWideConfig,
        trivial_augment_wide.COLUMNS,
        trivial_augment_wide.apply,
        "native",
    ),
    Technique("grayscale", c.GrayscaleConfig, grayscale.COLUMNS, grayscale.apply, "native"),
    Technique("blur", c.BlurConfig, blur.COLUMNS, blur.apply, "native"),
    Technique("custom", c.CustomConfig, custom.COLUMNS, custom.apply, "final"),
    Technique(
        "random_erasing",
        c.RandomErasingConfig,
        random_erasing.COLUMNS,
        random_erasing.apply,
        "final",
        takes=("mean",),
    ),
    Technique("mixup", c.MixUpConfig, mixup.COLUMNS, mixup.apply, "mix", takes=("mixing",), strength="alpha"),
    Technique("cutmix", c.CutMixConfig, cutmix.COLUMNS, cutmix.apply, "mix", takes=("mixing",), strength="alpha"),
)
