"""Options of the techniques that cover or mix images at the training size."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import model_validator

from seedwise.augment.config.technique import TechniqueConfig
from seedwise.augment.config.types import Positive, Probability

if TYPE_CHECKING:
    from seedwise.augment.config import AugmentConfig


class RandomErasingConfig(TechniqueConfig):
    """Cover a box of random area and shape.

    Helps: objects that are partly hidden in use; models that look at one telling part only. Common with long schedules.
    Hurts: small objects, which the box may hide whole while the label stays; short schedules.
    Source: Zhong et al. 2017 (arXiv 1708.04896); the box is drawn as in torchvision's `RandomErasing`.
    """

    stage: ClassVar = "final"
    needs_epochs: ClassVar = True

    prob: Probability = 0.5
    """Share of images with a box, in [0, 1]. Default: torchvision's and the paper's."""
    scale: tuple[Positive, Positive] = (0.02, 0.33)
    """Smallest and largest area of the box, as a share of the image's, in (0, 1]. Default: torchvision's."""
    ratio: tuple[Positive, Positive] = (0.3, 3.3)
    """Smallest and largest height / width of the box, drawn evenly in its logarithm. Default: torchvision's."""
    value: Literal["zero", "random", "mean"] = "zero"
    """What the box shows: `zero` is black; `random` an even draw from [0, 255] for each value (the paper's best);
    `mean` the color that the weights' normalization turns into 0 (what torchvision's value 0 comes to)."""

    @model_validator(mode="after")
    def _increasing(self) -> "RandomErasingConfig":
        if not self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"scale: must be increasing and at most 1, not {list(self.scale)}")
        if self.ratio[0] > self.ratio[1]:
            raise ValueError(f"ratio: must be increasing, not {list(self.ratio)}")
        return self

    def least_chance(self, augment: "AugmentConfig") -> float:
        """`prob` / 2: a box may not fit."""
        return self.prob / 2


class MixUpConfig(TechniqueConfig):
    """Blend each image with another of the batch, and its label by the same share.

    With CutMix each image gets one or the other, by a coin with `switch_prob`; both take partners from the batch as
    it was before anything was mixed. Pixels are rounded to whole numbers; the label's share is lambda itself.
    Helps: long schedules and models that overfit; calibration. Hurts: short schedules, which may not repay it.
    Source: Zhang et al. 2017 (arXiv 1710.09412), here with a lambda and partner for each image; the switch is timm's.
    """

    stage: ClassVar = "mix"
    strength: ClassVar = "alpha"
    needs_epochs: ClassVar = True

    prob: Probability = 1.0
    """Share of images that are blended, of those that `switch_prob` leaves to it, in [0, 1]. Default: the paper's."""
    alpha: Positive = 0.2
    """lambda ~ Beta(alpha, alpha) is the share an image keeps; 0.2 (the paper's for ImageNet) seldom blends much."""
    switch_prob: Probability = 0.5
    """Only where CutMix acts too: the share of images that are left to it (of which it takes its own `prob`)."""

    def least_chance(self, augment: "AugmentConfig") -> float:
        """Half the chance to be mixed: half of the mixed images take half or more from their partner."""
        return self.prob / 2 * (1 - self.switch_prob if augment.cutmix is not None else 1)


class CutMixConfig(TechniqueConfig):
    """Paste a box from another image of the batch, and mix the labels by the share of pixels.

    With Mixup each image gets one or the other (`mixup.switch_prob`); both take partners from the unmixed batch.
    Helps: long schedules and models that overfit (CIFAR-100, PyramidNet-200, 300 epochs: 16.45 to 14.23% error).
    Hurts: short schedules, which may not repay it; fine classes whose telling part is small.
    Source: Yun et al. 2019 (arXiv 1905.04899) and clovaai/CutMix-PyTorch, here with a box and partner for each image.
    """

    stage: ClassVar = "mix"
    strength: ClassVar = "alpha"
    needs_epochs: ClassVar = True

    prob: Probability = 0.5
    """Share of images that receive a box, in [0, 1]. Default: the paper's for CIFAR."""
    alpha: Positive = 1.0
    """lambda ~ Beta(alpha, alpha) is the share an image keeps; 1 (the paper's) draws it evenly from [0, 1]."""

    def least_chance(self, augment: "AugmentConfig") -> float:
        """Half the chance to be mixed, as Mixup's."""
        return self.prob / 2 * (1 if augment.mixup is None else augment.mixup.switch_prob)
