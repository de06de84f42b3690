"""Finds techniques that were on and had no effect, although that was all but impossible."""

import math
from collections.abc import Mapping

from seedwise.augment.config import AugmentConfig, TechniqueConfig

CHANCE = 1e-6
"""A technique that changed nothing is inert if the probability of that was smaller."""


def inert(config: AugmentConfig, effects: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Names of the techniques that changed none of the images they met, although the chance of that was below 1e-6.

    `effects` are as `Augmenter.effects` returns them and the record stores them. What was asked to do nothing
    (`prob: 0`, `degrees: 0`, switched off in every epoch) isn't inert: that chance is 1.
    """
    names = []
    for name, measured in effects.items():
        section = getattr(config, name, None)
        if isinstance(section, TechniqueConfig) and measured["share"] == 0:
            chance = section.least_chance(config)
            if chance > 0 and measured["images"] * _log_miss(chance) < math.log(CHANCE):
                names.append(name)
    return names


def _log_miss(chance: float) -> float:
    return math.log1p(-chance) if chance < 1 else -math.inf
