"""Which techniques were on and did nothing, although that was all but impossible."""

import math
from collections.abc import Mapping

from seedwise.augment.config import (
    AugmentConfig,
    BlurConfig,
    ColorJitterConfig,
    CustomConfig,
    CutMixConfig,
    MixUpConfig,
    RandAugmentConfig,
    RandomCropConfig,
    RandomErasingConfig,
    RandomResizedCropConfig,
    RotationConfig,
    TrivialAugmentWideConfig,
)
from seedwise.config.section import Section

CHANCE = 1e-6
"""A technique that changed nothing is inert if the chance of that was smaller."""
UNKNOWN = 0.01
"""For a chance that depends on the images: which angle moves a pixel, which box fits, what a user's function does. Who
changes fewer of them than that hardly augments."""


def inert(config: AugmentConfig, effects: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Names of the techniques that changed none of the images they met, although the chance of that was below 1e-6.

    `effects` are as `Augmenter.effects` returns them and the record stores them. What was asked to do nothing
    (`prob: 0`, `degrees: 0`, switched off in every epoch) isn't inert: that chance is 1.
    """
    names = []
    for name, measured in effects.items():
        section = getattr(config, name, None)
        if isinstance(section, Section) and measured["share"] == 0:
            chance = least_chance(section, config)
            if chance > 0 and measured["images"] * _log_miss(chance) < math.log(CHANCE):
                names.append(name)
    return names


def least_chance(section: Section, config: AugmentConfig) -> float:
    """A lower bound of the chance that a technique changes an image; the switch of Mixup and CutMix stands in `config`.

    Beta(alpha, alpha) is symmetric, so that half of the images to mix really take half or more from their partner.
    """
    switch = config.mixup.switch_prob if config.mixup is not None else 1.0
    match section:
        case MixUpConfig():
            return section.prob / 2 * (1 - switch if config.cutmix is not None else 1)
        case CutMixConfig():
            return section.prob / 2 * switch
        case RandomCropConfig():
            return 1 - 1 / (2 * section.padding + 1) ** 2
        case RandomResizedCropConfig():
            return UNKNOWN if section.scale[0] < 1 or section.ratio != (1, 1) else 0.0
        case RotationConfig():
            return UNKNOWN if section.degrees > 0 else 0.0
        case ColorJitterConfig():
            return UNKNOWN if any(strength > 0 for _, strength in section) else 0.0
        case BlurConfig():
            return section.prob * UNKNOWN
        case RandAugmentConfig() | TrivialAugmentWideConfig():
            return 1 / 14  # equalize alone changes all but even images, whatever the magnitude
        case RandomErasingConfig():
            return section.prob / 2  # a box may not fit
        case CustomConfig():
            return UNKNOWN
        case _:
            return float(getattr(section, "prob", 0.0))


def _log_miss(chance: float) -> float:
    return math.log1p(-chance) if chance < 1 else -math.inf
