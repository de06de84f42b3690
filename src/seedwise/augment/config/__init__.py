"""Options of augmentation: one optional section for each technique, in the order in which they are applied."""

from typing import Any, ClassVar

from pydantic import Field, model_validator

from seedwise.augment.config.color import (
    AugMixConfig,
    BlurConfig,
    ColorJitterConfig,
    GrayscaleConfig,
    RandAugmentConfig,
    TrivialAugmentWideConfig,
)
from seedwise.augment.config.geometry import (
    AlternatingFlipConfig,
    HorizontalFlipConfig,
    RandomCropConfig,
    RandomResizedCropConfig,
    RotationConfig,
    VerticalFlipConfig,
)
from seedwise.augment.config.mix import CutMixConfig, MixUpConfig, RandomErasingConfig
from seedwise.augment.config.technique import UNKNOWN, TechniqueConfig
from seedwise.augment.config.types import Interpolation
from seedwise.base.user_code import ImportPath
from seedwise.config.options import Type
from seedwise.config.section import Section

__all__ = [
    "SCHEDULED_STRENGTHS",
    "TECHNIQUES",
    "AlternatingFlipConfig",
    "AugMixConfig",
    "AugmentConfig",
    "BlurConfig",
    "ColorJitterConfig",
    "CustomConfig",
    "CutMixConfig",
    "GrayscaleConfig",
    "HorizontalFlipConfig",
    "MixUpConfig",
    "RandAugmentConfig",
    "RandomCropConfig",
    "RandomErasingConfig",
    "RandomResizedCropConfig",
    "ResizeConfig",
    "RotationConfig",
    "TechniqueConfig",
    "TrivialAugmentWideConfig",
    "VerticalFlipConfig",
]


class ResizeConfig(Section):
    """Resample every image to the training size: always on, for training and evaluation alike.

    `bicubic` keeps most detail when small images are enlarged, `nearest` is blocky. Shrinking is antialiased, except
    with `nearest`.
    Source: torchvision's `resize(..., antialias=True)`, which is Pillow's filter.
    """

    interpolation: Interpolation = "bilinear"
    """`nearest`, `bilinear` or `bicubic`."""


class CustomConfig(TechniqueConfig):
    """Your own function, by import path; `custom: my_pkg.aug:fn` is short for `custom: {function: my_pkg.aug:fn}`.

    It is called as `fn(images, draws)` with the whole batch at the training size, uint8[n, 3, h, w], and float32[n, 8]
    draws in [0, 1), both on the device, and returns images of the same shape and type. All randomness must come from
    `draws`, a row an image: then an image's change depends on seed, epoch and image alone, as with every technique.
    Helps: what only you know about your images. Hurts: the step's speed, if it loops over images.
    Source: yours; docs/own-code.md has an example. A run records the SHA-256 of the file that defines it.
    """

    stage: ClassVar = "final"
    on: ClassVar = "my_pkg.aug:fn"

    function: ImportPath
    """`my_pkg.aug:fn`, from the current folder or the Python path."""

    @model_validator(mode="before")
    @classmethod
    def _path_alone(cls, given: Any) -> Any:
        return {"function": given} if isinstance(given, str) else given

    def least_chance(self, augment: "AugmentConfig") -> float:
        """UNKNOWN: nothing is known about the user's function."""
        return UNKNOWN


class AugmentConfig(Section):
    """What happens to a batch on the device. A technique that is null is off; `{}` turns it on with its defaults.

    The order is fixed, and is that of the fields. First the frame: random_resized_crop brings images to the training
    size, and without it the center square is taken at the native size. Then, at the size that this leaves:
    random_crop, horizontal_flip, alternating_flip, vertical_flip, rotation, color_jitter, rand_augment,
    trivial_augment_wide, augmix, grayscale, blur. That is torchvision's order (crop, flip, automatic augmentation),
    and before an enlargement it is the cheaper place; lengths in pixels count at that size. Then resize, and at the
    training size custom and random_erasing. Then mixup and cutmix: an image goes to one of them at most, and what was
    erased in it or its partner stays erased. Normalization, which acts on each pixel alone, comes last; mean and
    standard deviation belong to the weights, not to the recipe. Evaluation takes the center square, `resize` and the
    normalization.
    """

    random_resized_crop: RandomResizedCropConfig | None = None
    """A box of random area and shape, resampled to the training size."""
    random_crop: RandomCropConfig | None = None
    """A random shift by a few pixels."""
    horizontal_flip: HorizontalFlipConfig | None = None
    """Mirrored left and right."""
    alternating_flip: AlternatingFlipConfig | None = None
    """Mirrored left and right in every other epoch."""
    vertical_flip: VerticalFlipConfig | None = None
    """Mirrored top and bottom."""
    rotation: RotationConfig | None = None
    """Rotated by a random angle."""
    color_jitter: ColorJitterConfig | None = None
    """Random brightness, contrast, saturation and hue."""
    rand_augment: RandAugmentConfig | None = None
    """Some of 14 operations, all at one magnitude."""
    trivial_augment_wide: TrivialAugmentWideConfig | None = None
    """One of 14 operations, at a random magnitude."""
    augmix: AugMixConfig | None = None
    """Blended with copies of itself that chains of operations changed."""
    grayscale: GrayscaleConfig | None = None
    """Without color."""
    blur: BlurConfig | None = None
    """Blurred by a random width."""
    resize: ResizeConfig = ResizeConfig()
    """How images reach the training size (always on)."""
    custom: CustomConfig | None = None
    """Your own function, `my_pkg.aug:fn`."""
    random_erasing: RandomErasingConfig | None = None
    """A box covered."""
    mixup: MixUpConfig | None = None
    """Blended with another image, with mixed labels."""
    cutmix: CutMixConfig | None = None
    """A box pasted from another image, with mixed labels."""
    mix_off_epochs: int = Field(default=0, ge=0)
    """In this many epochs at the end of training mixup and cutmix are off: the model sees whole images last. Helps:
    where mixing is strong, so that the last, small steps fit what evaluation will show. Hurts: hardly ever; with short
    schedules it leaves little of the mixing. Source: timm's `--mixup-off-epoch`."""


TECHNIQUES: dict[str, type[TechniqueConfig]] = {
    name: section
    for name, field in AugmentConfig.model_fields.items()
    for section in Type.of(field).sections()
    if issubclass(section, TechniqueConfig)
}
"""Every technique of augmentation by its name, in the order of application. The one list: the functions' table
(`augment/table.py`), the catalogue (`recipe/techniques.py`), what progressive learning raises and the conformance suite
follow from it."""

SCHEDULED_STRENGTHS = {
    f"{name}.{section.strength}": f"{name}_{section.strength}"
    for name, section in TECHNIQUES.items()
    if section.strength is not None
}
"""Options that a stage of progressive learning schedules -> the names of its own options for them."""
