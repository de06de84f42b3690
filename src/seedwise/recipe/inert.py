"""Finds techniques that were on and had no effect, although that was all but impossible."""

import math
from collections.abc import Callable, Mapping

from seedwise.augment.inert import CHANCE
from seedwise.augment.inert import inert as inert_augmentation
from seedwise.recipe.schema import Recipe

Measured = Mapping[str, float]


def inert(recipe: Recipe, effects: Mapping[str, Measured]) -> list[str]:
    """Names of the techniques that were on and had no effect, although the chance of that was below one in a million.

    `recipe` is resolved; `effects` are those of the run's record. What was asked to do nothing (`prob: 0`, a head_lr
    equal to lr) isn't inert, nor is what couldn't be measured.
    """
    names = inert_augmentation(recipe.augment, effects)
    return names + [name for name, nothing in _NOTHING.items() if name in effects and nothing(recipe, effects[name])]


def _unlikely(rate: float, tries: float) -> bool:
    """Whether that many tries at this rate fail all together with a chance below one in a million."""
    return rate >= 1 or tries * math.log1p(-rate) < math.log(CHANCE)


def _mix_off(recipe: Recipe, measured: Measured) -> bool:
    return measured["images"] > 0 and measured["share"] == 0


def _drop_path(recipe: Recipe, measured: Measured) -> bool:
    """Whether there was no branch to drop, or none was dropped.

    Rates that differ between blocks make that rarer than their mean says. A user's own network may drop branches in
    layers that aren't counted.
    """
    if measured["blocks"] == 0:
        return recipe.model.factory is None
    tries = measured["images"] * measured["blocks"]
    return measured["share"] == 0 and _unlikely(measured["rate"], tries)


def _dropout(recipe: Recipe, measured: Measured) -> bool:
    stages = [] if isinstance(recipe.progressive, str) else recipe.progressive
    rate = min([recipe.model.dropout, *(stage.dropout for stage in stages if stage.dropout is not None)])
    return measured["share"] == 0 and rate > 0 and _unlikely(rate, measured["images"])


def _progressive(recipe: Recipe, measured: Measured) -> bool:
    """Whether every image had the final size, although a stage asks for smaller ones."""
    stages = () if isinstance(recipe.progressive, str) else recipe.progressive
    smaller = any((stage.image_size or 0) < recipe.train.image_size for stage in stages)
    return measured["images"] > 0 and measured["share"] == 0 and smaller


def _class_weights(recipe: Recipe, measured: Measured) -> bool:
    """Whether `balanced` met balanced classes, or weights met classes without images; a list of ones isn't inert."""
    return measured["share"] == 0 and (recipe.loss.class_weights == "balanced" or measured["max_weight"] != 1)


_NOTHING: dict[str, Callable[[Recipe, Measured], bool]] = {
    "mix_off_epochs": _mix_off,
    "progressive": _progressive,
    "dropout": _dropout,
    "drop_path": _drop_path,
    "smoothing": lambda recipe, measured: measured["loss_added"] == 0,
    "class_weights": _class_weights,
    "head_lr": lambda recipe, measured: measured["parameters"] == 0,
    "layer_decay": lambda recipe, measured: measured["layers"] < 2,
    "decay_norms_and_biases": lambda recipe, measured: (
        measured["tensors_excluded"] == 0 and recipe.optim.weight_decay > 0
    ),
    "ema": lambda recipe, measured: measured["distance"] == 0,
    "swa": lambda recipe, measured: measured["averaged"] < 2 or measured["distance"] == 0,
    "bce": lambda recipe, measured: measured["images"] == 0,
    "muon": lambda recipe, measured: measured["matrices"] == 0,
    "sam": lambda recipe, measured: measured["images"] == 0,
    "distill": lambda recipe, measured: measured["images"] == 0,
    "freeze": lambda recipe, measured: measured["parameters"] == 0,
    "freeze_schedule": lambda recipe, measured: measured["changes"] == 0,
    "warm_start": lambda recipe, measured: measured["images"] == 0,
    "repeated_augmentation": lambda recipe, measured: measured["copies"] <= 1,
    "tta": lambda recipe, measured: measured["views"] == 1 and measured["image_size"] == recipe.train.evaluation_size,
    "eval_image_size": lambda recipe, measured: measured["evaluated"] == measured["trained"],
}
"""By record block of a technique outside of augmentation: whether its measurements say that nothing happened."""
