"""The table that joins each technique's options with its function, a line each."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass

from seedwise.augment import (
    augmix,
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

Apply = Callable[..., tuple[Batch, Measured]]

FUNCTIONS: dict[type[c.TechniqueConfig], tuple[int, Apply]] = {
    c.RandomResizedCropConfig: (random_resized_crop.COLUMNS, random_resized_crop.apply),
    c.RandomCropConfig: (random_crop.COLUMNS, random_crop.apply),
    c.HorizontalFlipConfig: (flip.COLUMNS, flip.apply_horizontal),
    c.AlternatingFlipConfig: (flip.COLUMNS, flip.apply_alternating),
    c.VerticalFlipConfig: (flip.COLUMNS, flip.apply_vertical),
    c.RotationConfig: (rotation.COLUMNS, rotation.apply),
    c.ColorJitterConfig: (color_jitter.COLUMNS, color_jitter.apply),
    c.RandAugmentConfig: (rand_augment.COLUMNS, rand_augment.apply),
    c.TrivialAugmentWideConfig: (trivial_augment_wide.COLUMNS, trivial_augment_wide.apply),
    c.AugMixConfig: (augmix.COLUMNS, augmix.apply),
    c.GrayscaleConfig: (grayscale.COLUMNS, grayscale.apply),
    c.BlurConfig: (blur.COLUMNS, blur.apply),
    c.CustomConfig: (custom.COLUMNS, custom.apply),
    c.RandomErasingConfig: (random_erasing.COLUMNS, random_erasing.apply),
    c.MixUpConfig: (mixup.COLUMNS, mixup.apply),
    c.CutMixConfig: (cutmix.COLUMNS, cutmix.apply),
}
"""Draws for each image, and the function of each technique: `apply(batch, draws, config) -> (batch, measured)`."""


@dataclass(frozen=True)
class Augmentation:
    """A technique that draws random numbers and changes uint8 images.

    `draws` is float32[n, columns] in [0, 1) on the CPU, where parameters are derived in float64, so that they are the
    same on every device.
    """

    name: str
    """Its field in AugmentConfig, and the name of its random stream."""
    config: type[c.TechniqueConfig]
    """Class of its options."""
    columns: int
    """Random numbers that it draws for each image."""
    apply: Apply
    """Function of (batch, draws, options) that returns the changed batch and its measurements."""

    @property
    def keywords(self) -> tuple[str, ...]:
        """Names of its function's keyword arguments: of `size`, `interpolation`, `mean`, `epoch` and `mixing`."""
        parameters = inspect.signature(self.apply).parameters.values()
        return tuple(parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY)


TECHNIQUES = tuple(Augmentation(name, config, *FUNCTIONS[config]) for name, config in c.TECHNIQUES.items())
"""All techniques, in the order of application."""
