"""Options of the techniques that change color and sharpness, and of the automatic augmentations."""

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from seedwise.augment.config.technique import UNKNOWN, TechniqueConfig
from seedwise.augment.config.types import Positive, Probability, Sampling, Strength

if TYPE_CHECKING:
    from seedwise.augment.config import AugmentConfig


class ColorJitterConfig(TechniqueConfig):
    """Change brightness, contrast, saturation and hue by random factors, in an order drawn for each image.

    Helps: light and cameras that differ between training and use. Hurts: classes told apart by their color (fish,
    flowers, fruit), most of all through `hue`.
    Source: Howard 2013 (arXiv 1312.5402); the arithmetic is torchvision's `ColorJitter`.
    """

    brightness: Strength = 0.2
    """The factor is drawn from [max(0, 1 - brightness), 1 + brightness]; 0 leaves it alone."""
    contrast: Strength = 0.2
    """The factor is drawn from [max(0, 1 - contrast), 1 + contrast]; 0 leaves it alone."""
    saturation: Strength = 0.2
    """The factor is drawn from [max(0, 1 - saturation), 1 + saturation]; 0 leaves it alone."""
    hue: float = Field(default=0.05, ge=0, le=0.5)
    """The hue turns by a share of the color circle drawn from [-hue, hue], in [0, 0.5]; 0 leaves it alone."""

    def least_chance(self, augment: "AugmentConfig") -> float:
        """UNKNOWN: which factors change a pixel depends on the images."""
        return UNKNOWN if any(strength > 0 for _, strength in self) else 0.0


class RandAugmentConfig(TechniqueConfig):
    """Apply `num_ops` operations, drawn for each image from 14 geometric and color operations, all at one magnitude.

    The operations: identity, shear_x, shear_y, translate_x, translate_y, rotate, brightness, color, contrast,
    sharpness, posterize, solarize, auto_contrast, equalize. Directions (of turning, of brightening) are coins.
    Helps: long schedules and models that overfit; its magnitude is the strength that progressive learning raises.
    Hurts: short schedules; classes told apart by color or position; small images, which large shears distort.
    Source: Cubuk et al. 2020 (arXiv 1909.13719); operations and ranges are those of torchvision's `RandAugment`.
    """

    strength: ClassVar = "magnitude"
    needs_epochs: ClassVar = True

    num_ops: int = Field(default=2, ge=1, le=8)
    """Operations an image, one after the other, in [1, 8]; the same one may come again."""
    magnitude: float = Field(default=9.0, ge=0)
    """Strength on the scale [0, num_magnitude_bins - 1]; between whole numbers it is interpolated. 9: torchvision's."""
    num_magnitude_bins: int = Field(default=31, ge=2, le=1001)
    """Length of that scale; the last step is the strongest (a rotation by 30 degrees, colors times 0.1 or 1.9)."""
    interpolation: Sampling = "nearest"
    """How pixels are read between pixels: `nearest` (torchvision's default; sharp, jagged) or `bilinear` (soft)."""

    @model_validator(mode="after")
    def _on_the_scale(self) -> "RandAugmentConfig":
        if self.magnitude > self.num_magnitude_bins - 1:
            raise ValueError(f"magnitude: must be at most num_magnitude_bins - 1, {self.num_magnitude_bins - 1}")
        return self

    def least_chance(self, augment: "AugmentConfig") -> float:
        """The chance of equalize, which changes all but even images, whatever the magnitude."""
        return 1 / 14


class TrivialAugmentWideConfig(TechniqueConfig):
    """Apply one operation, drawn for each image, at a strength drawn evenly from a wide range: nothing to tune.

    The operations are RandAugment's; at the far end images turn by 135 degrees, shear by 0.99 or move by 32 pixels.
    Helps: as RandAugment does, without a magnitude to search for.
    Hurts: short schedules; and 32 pixels, which are counted at the native size, push a 32 px image out of its frame.
    Source: Müller and Hutter 2021 (arXiv 2103.10158); operations and ranges are torchvision's `TrivialAugmentWide`.
    """

    needs_epochs: ClassVar = True

    num_magnitude_bins: int = Field(default=31, ge=2, le=1001)
    """Steps of strength that are drawn from; the first one changes (almost) nothing."""
    interpolation: Sampling = "nearest"
    """How pixels are read between pixels: `nearest` (torchvision's default; sharp, jagged) or `bilinear` (soft)."""

    def least_chance(self, augment: "AugmentConfig") -> float:
        """The chance of equalize, as in RandAugment."""
        return 1 / 14


class AugMixConfig(TechniqueConfig):
    """Blend each image with a few copies of it, each of them changed by its own chain of random operations.

    The operations are RandAugment's without identity, at low strength. Chain i of k gets the share (1 - m) w_i and the
    image keeps m, with m ~ Beta(alpha, alpha) and w ~ Dirichlet(alpha, ..., alpha), drawn for each image; pixels are
    rounded to whole numbers. This is the augmentation alone: the paper's Jensen-Shannon loss, which asks for the same
    answer on three views of an image at three times the cost of a step, isn't part of it.
    Helps: photos in use that are noisier, blurrier or otherwise worse than those trained on; calibration. Without that
    loss less than the paper reports. Hurts: short schedules; classes told apart by color or position.
    Source: Hendrycks et al. 2020 (arXiv 1912.02781); operations and ranges are those of torchvision's `AugMix`.
    """

    needs_epochs: ClassVar = True

    severity: int = Field(default=3, ge=1, le=10)
    """Each operation's strength is drawn from the weakest `severity` of 10 steps. The first hardly changes an image,
    but posterize, which never keeps more than 4 bits."""
    mixture_width: int = Field(default=3, ge=1, le=4)
    """Chains for each image, in [1, 4]."""
    chain_depth: Literal["random"] | Annotated[int, Field(ge=1, le=4)] = "random"
    """Operations in a chain, in [1, 4]; `random` (torchvision's -1) draws 1, 2 or 3 for each."""
    alpha: Positive = 1.0
    """Of both distributions of shares: 1 draws them evenly, less leaves most to one chain or to the image."""
    all_ops: bool = True
    """Whether brightness, color, contrast and sharpness are among the operations. The paper leaves them out, since
    they are among the corruptions that it tests on."""
    interpolation: Sampling = "bilinear"
    """How pixels are read between pixels: `nearest` (sharp, jagged) or `bilinear` (torchvision's default; soft)."""

    def least_chance(self, augment: "AugmentConfig") -> float:
        """The chance that a chain with an eighth of the image or more (the heaviest, in half of the cases) ends in
        equalize."""
        return 1 / 26


class GrayscaleConfig(TechniqueConfig):
    """Take the color out of some images.

    Helps: where color misleads, or where cameras without color are met in use; part of contrastive pretraining.
    Hurts: classes told apart by their color. Does nothing to images that are gray already.
    Source: Chen et al. 2020 (arXiv 2002.05709); torchvision's `RandomGrayscale`.
    """

    prob: Probability = 0.1
    """Share of images that become gray, in [0, 1]. Default: torchvision's."""


class BlurConfig(TechniqueConfig):
    """Blur some images with a Gaussian filter of random width.

    Helps: where photos in use may be out of focus or enlarged from few pixels; part of contrastive pretraining.
    Hurts: small images and classes told apart by texture; it acts at the native size, before the resize.
    Source: Chen et al. 2020 (arXiv 2002.05709); the filter is torchvision's `GaussianBlur`.
    """

    kernel_size: int = Field(default=3, ge=3, le=99)
    """Side of the filter in pixels of the native size, odd. SimCLR takes a tenth of the image's side."""
    sigma: tuple[Positive, Positive] = (0.1, 2.0)
    """Smallest and largest standard deviation of the filter, in pixels, drawn evenly. Default: torchvision's."""
    prob: Probability = 0.5
    """Share of images that are blurred, in [0, 1]. Default: SimCLR's."""

    @model_validator(mode="after")
    def _possible(self) -> "BlurConfig":
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size: must be odd, not {self.kernel_size}")
        if self.sigma[0] > self.sigma[1]:
            raise ValueError(f"sigma: must be increasing, not {list(self.sigma)}")
        return self

    def least_chance(self, augment: "AugmentConfig") -> float:
        """UNKNOWN for a blurred image: a narrow filter changes no whole number."""
        return self.prob * UNKNOWN
