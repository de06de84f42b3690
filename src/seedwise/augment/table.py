"""The table of techniques, in the order of application: one line joins a name, its config and its function."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from seedwise.augment import color_jitter, custom, cutmix, flip, random_crop, random_resized_crop, rotation
from seedwise.augment.config import (
    ColorJitterConfig,
    CustomConfig,
    CutMixConfig,
    HorizontalFlipConfig,
    RandomCropConfig,
    RandomResizedCropConfig,
    RotationConfig,
    VerticalFlipConfig,
)
from seedwise.augment.measure import Measured
from seedwise.batch import Batch
from seedwise.config import Section

Stage = Literal["frame", "native", "final"]


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
    """Where it acts: `frame` makes images of any shape size x size, and also takes the size and the interpolation;
    `native` comes before, `final` after the resize to the training size."""


TECHNIQUES: tuple[Technique, ...] = (
    Technique(
        "random_resized_crop",
        RandomResizedCropConfig,
        random_resized_crop.COLUMNS,
        random_resized_crop.apply,
        "frame",
    ),
    Technique("random_crop", RandomCropConfig, random_crop.COLUMNS, random_crop.apply, "native"),
    Technique("horizontal_flip", HorizontalFlipConfig, flip.COLUMNS, flip.apply_horizontal, "native"),
    Technique("vertical_flip", VerticalFlipConfig, flip.COLUMNS, flip.apply_vertical, "native"),
    Technique("rotation", RotationConfig, rotation.COLUMNS, rotation.apply, "native"),
    Technique("color_jitter", ColorJitterConfig, color_jitter.COLUMNS, color_jitter.apply, "native"),
    Technique("custom", CustomConfig, custom.COLUMNS, custom.apply, "final"),
    Technique("cutmix", CutMixConfig, cutmix.COLUMNS, cutmix.apply, "final"),
)
