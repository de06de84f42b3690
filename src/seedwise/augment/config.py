"""What augmentation can be asked for: one optional section a technique, in the order in which they are applied."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from seedwise.config import Section
from seedwise.own_code import ImportPath

Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Strength = Annotated[float, Field(ge=0)]

Interpolation = Literal["nearest", "bilinear", "bicubic"]


class RandomResizedCropConfig(Section):
    """Cut a box of random area and shape, and resample it to the training size.

    Helps: photos whose object may be of any size or place; with ImageNet-sized training sets and long schedules.
    Hurts: small images and short schedules, where a box of 8% no longer shows the object; raise the lower `scale`.
    Every later pixel unit (the padding of `random_crop`) counts at the training size, since that is what this leaves.
    Source: Szegedy et al. 2015 (arXiv 1409.4842); the sampling is torchvision's `RandomResizedCrop`.
    """

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


class RandomCropConfig(Section):
    """Pad every side and cut the original size out again at a random place: a shift by up to `padding` pixels.

    Helps: nearly always on small centered images (CIFAR), at almost no cost. Hurts: where position carries the class.
    Source: He et al. 2016 (arXiv 1512.03385, section 4.2); torchvision's `RandomCrop(size, padding, padding_mode)`.
    """

    padding: int = Field(default=4, ge=0)
    """Pixels added on each side, at the native size of the images (before `resize`). 4 suits 32 px."""
    padding_mode: Literal["reflect", "zero", "edge"] = "reflect"
    """What is padded: the mirrored image, black, or its outermost pixels repeated."""


class HorizontalFlipConfig(Section):
    """Mirror left and right.

    Helps: natural images. Hurts: digits, letters, signs, and anything whose left and right differ.
    Source: Krizhevsky et al. 2012; torchvision's `RandomHorizontalFlip`.
    """

    prob: Probability = 0.5
    """Share of images that are mirrored, in [0, 1]."""


class VerticalFlipConfig(Section):
    """Mirror top and bottom.

    Helps: images without an upright position (from above, through a microscope). Hurts: ordinary photos, which the
    weights have only seen upright.
    Source: torchvision's `RandomVerticalFlip`.
    """

    prob: Probability = 0.5
    """Share of images that are mirrored, in [0, 1]."""


class RotationConfig(Section):
    """Rotate about the center by an angle drawn evenly from ±`degrees`; the corners it uncovers are black.

    Helps: where cameras or objects tilt; a few tenths of a point at best on CIFAR. Hurts: large angles on upright
    objects; on small images the resampling itself costs detail.
    Source: torchvision's `RandomRotation`.
    """

    degrees: float = Field(default=15.0, ge=0, le=180)
    """Largest angle on either side, in degrees, in [0, 180]."""
    interpolation: Literal["nearest", "bilinear"] = "nearest"
    """How pixels are read between pixels: `nearest` (torchvision's default; sharp, jagged) or `bilinear` (soft)."""


class ColorJitterConfig(Section):
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


class ResizeConfig(Section):
    """Resample every image to the training size: always on, for training and evaluation alike.

    `bicubic` keeps most detail when small images are enlarged, `nearest` is blocky. Shrinking is antialiased, except
    with `nearest`.
    Source: torchvision's `resize(..., antialias=True)`, which is Pillow's filter.
    """

    interpolation: Interpolation = "bilinear"
    """`nearest`, `bilinear` or `bicubic`."""


class CustomConfig(Section):
    """Your own function, by import path; `custom: my_pkg.aug:fn` is short for `custom: {function: my_pkg.aug:fn}`.

    It is called as `fn(images, draws)` with the whole batch at the training size, uint8[n, 3, h, w], and float32[n, 8]
    draws in [0, 1), both on the device, and returns images of the same shape and type. All randomness must come from
    `draws`, a row an image: then an image's change depends on seed, epoch and image alone, as with every technique.
    Helps: what only you know about your images. Hurts: the step's speed, if it loops over images.
    Source: yours; docs/own-code.md has an example. A run records the SHA-256 of the file that defines it.
    """

    function: ImportPath
    """`my_pkg.aug:fn`, from the current folder or the Python path."""

    @model_validator(mode="before")
    @classmethod
    def _path_alone(cls, given: Any) -> Any:
        return {"function": given} if isinstance(given, str) else given


class CutMixConfig(Section):
    """Paste a box from another image of the batch, and mix the labels by the share of pixels.

    Helps: long schedules and models that overfit (CIFAR-100, PyramidNet-200, 300 epochs: 16.45 to 14.23% error).
    Hurts: short schedules, which may not repay it; fine classes whose telling part is small.
    Source: Yun et al. 2019 (arXiv 1905.04899) and clovaai/CutMix-PyTorch, here with a box and partner for each image.
    """

    prob: Probability = 0.5
    """Share of images that receive a box, in [0, 1]. Default: the paper's for CIFAR."""
    alpha: Positive = 1.0
    """lambda ~ Beta(alpha, alpha) is the share an image keeps; 1 (the paper's) draws it evenly from [0, 1]."""


class AugmentConfig(Section):
    """What happens to a batch on the device. A technique that is null is off; `{}` turns it on with its defaults.

    The order is fixed, and is that of the fields: random_resized_crop (without it, the center square), random_crop,
    horizontal_flip, vertical_flip, rotation, color_jitter, resize, custom, cutmix. Normalization, which acts on each
    pixel alone, comes last; mean and standard deviation belong to the weights, not to the recipe. Evaluation takes the
    center square, `resize` and the normalization.
    """

    random_resized_crop: RandomResizedCropConfig | None = None
    """A box of random area and shape, resampled to the training size."""
    random_crop: RandomCropConfig | None = None
    """A random shift by a few pixels."""
    horizontal_flip: HorizontalFlipConfig | None = None
    """Mirrored left and right."""
    vertical_flip: VerticalFlipConfig | None = None
    """Mirrored top and bottom."""
    rotation: RotationConfig | None = None
    """Rotated by a random angle."""
    color_jitter: ColorJitterConfig | None = None
    """Random brightness, contrast, saturation and hue."""
    resize: ResizeConfig = ResizeConfig()
    """How images reach the training size (always on)."""
    custom: CustomConfig | None = None
    """Your own function, `my_pkg.aug:fn`."""
    cutmix: CutMixConfig | None = None
    """A box pasted from another image, with mixed labels."""
