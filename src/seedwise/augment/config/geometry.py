"""Options of the techniques that move pixels."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from seedwise.augment.config.technique import UNKNOWN, TechniqueConfig
from seedwise.augment.config.types import Positive, Probability, Sampling

if TYPE_CHECKING:
    from seedwise.augment.config import AugmentConfig


class RandomResizedCropConfig(TechniqueConfig):
    """Cut a box of random area and shape, and resample it to the training size.

    Helps: photos whose object may be of any size or place; with ImageNet-sized training sets and long schedules.
    Hurts: small images and short schedules, where a box of 8% no longer shows the object; raise the lower `scale`.
    Every later pixel unit (the padding of `random_crop`) counts at the training size, since that is what this leaves.
    Source: Szegedy et al. 2015 (arXiv 1409.4842); the sampling is torchvision's `RandomResizedCrop`.
    """

    stage: ClassVar = "frame"
    needs_epochs: ClassVar = True

    scale: tuple[Positive, Positive] = (0.08, 1.0)
    """Smallest and largest area of the box, as a share of the image's, in (0, 1]. Default: torchvision's."""
    ratio: tuple[Positive, Positive] = (3 / 4, 4 / 3)
    """Smallest and largest width / height of the box, drawn evenly in its logarithm. Default: torchvision's."""

    @model_validator(mode="after")
    def _increasing(self) -> "RandomResizedCropConfig":
        if not self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"scale: must be increasing and at most 1, not {list(self.scale)}")
        if self.ratio[0] > self.ratio[1]:
            raise ValueError(f"ratio: must be increasing, not {list(self.ratio)}")
        return self

    def least_chance(self, augment: "AugmentConfig") -> float:
        """UNKNOWN: which box shows other pixels depends on the images."""
        return UNKNOWN if self.scale[0] < 1 or self.ratio != (1, 1) else 0.0


class RandomCropConfig(TechniqueConfig):
    """Pad every side and cut the original size out again at a random place: a shift by up to `padding` pixels.

    Helps: nearly always on small centered images (CIFAR), at almost no cost. Hurts: where position carries the class.
    Source: He et al. 2016 (arXiv 1512.03385, section 4.2); torchvision's `RandomCrop(size, padding, padding_mode)`.
    """

    padding: int = Field(default=4, ge=0)
    """Pixels added on each side, at the native size of the images (before `resize`). 4 suits 32 px."""
    padding_mode: Literal["reflect", "zero", "edge"] = "reflect"
    """What is padded: the mirrored image, black, or its outermost pixels repeated."""

    def least_chance(self, augment: "AugmentConfig") -> float:
        """The share of shifts that move an image: all are equally likely, and one of them is none."""
        return 1 - 1 / (2 * self.padding + 1) ** 2


class HorizontalFlipConfig(TechniqueConfig):
    """Mirror left and right, each image by a coin tossed in each epoch.

    Where `alternating_flip` is on too, that one acts in its place.
    Helps: natural images. Hurts: digits, letters, signs, and anything whose left and right differ.
    Source: Krizhevsky et al. 2012; torchvision's `RandomHorizontalFlip`.
    """

    prob: Probability = 0.5
    """Share of images that are mirrored, in [0, 1]."""


class AlternatingFlipConfig(TechniqueConfig):
    """Mirror left and right in every other epoch, each image from its own coin.

    A fair coin, tossed once in a run for each image, says whether its first epoch mirrors it; from then on it takes
    turns, so that any two epochs in a row show it once each way, where the coins of `horizontal_flip` show the same
    side again every second time. Where both are on, this one takes the place of `horizontal_flip`: the way of tossing
    is then what an ablation compares. It has no options.
    Helps: where `horizontal_flip` does; its source found it the better one wherever flipping helped at all.
    Hurts: what `horizontal_flip` hurts: digits, letters, signs, and anything whose left and right differ.
    Source: Jordan 2024 (arXiv 2404.00498), airbench.
    """

    replaces: ClassVar = "horizontal_flip"
    draws: ClassVar = "run"

    def least_chance(self, augment: "AugmentConfig") -> float:
        """1/2: in a single epoch an image's coin may leave it unmirrored."""
        return 0.5


class VerticalFlipConfig(TechniqueConfig):
    """Mirror top and bottom.

    Helps: images without an upright position (from above, through a microscope). Hurts: ordinary photos, which the
    weights have only seen upright.
    Source: torchvision's `RandomVerticalFlip`.
    """

    prob: Probability = 0.5
    """Share of images that are mirrored, in [0, 1]."""


class RotationConfig(TechniqueConfig):
    """Rotate about the center by an angle drawn evenly from ±`degrees`; the corners it uncovers are black.

    Helps: where cameras or objects tilt; a few tenths of a point at best on CIFAR. Hurts: large angles on upright
    objects; on small images the resampling itself costs detail.
    Source: torchvision's `RandomRotation`.
    """

    degrees: float = Field(default=15.0, ge=0, le=180)
    """Largest angle on either side, in degrees, in [0, 180]."""
    interpolation: Sampling = "nearest"
    """How pixels are read between pixels: `nearest` (torchvision's default; sharp, jagged) or `bilinear` (soft)."""

    def least_chance(self, augment: "AugmentConfig") -> float:
        """UNKNOWN: which angle moves a pixel depends on the images' size."""
        return UNKNOWN if self.degrees > 0 else 0.0
