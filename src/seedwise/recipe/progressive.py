"""Progressive learning: turns a preset or a list of stages into planned stages before training begins.

`resolve` writes the stages out in the recipe, `planned` counts their steps, `stage_rows` and `measured` say what
happened. Tables: EfficientNetV2 (arXiv 2104.00298, Table 6) and google/automl's `effnetv2_configs.py`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from pydantic import ValidationError

from seedwise.augment.config import SCHEDULED_STRENGTHS, AugmentConfig, CutMixConfig, MixUpConfig, RandAugmentConfig
from seedwise.base.errors import UserError
from seedwise.recipe.progressive_config import Stage
from seedwise.recipe.schema import Recipe, check_stages
from seedwise.records.run import EpochRow, StageRow

MULTIPLE, SMALLEST = 8, 16
"""Rescaled sizes are multiples of 8 pixels, at least 16."""
STAGES, FIRST_SIZE = 4, 128
"""Number of stages and first image size in pixels of both presets."""

PAPER = {
    "s": {"final": 300, "magnitude": (5, 15), "mixup": (0.0, 0.0), "dropout": (0.1, 0.3)},
    "m": {"final": 380, "magnitude": (5, 20), "mixup": (0.0, 0.2), "dropout": (0.1, 0.4)},
    "l": {"final": 380, "magnitude": (5, 25), "mixup": (0.0, 0.5), "dropout": (0.1, 0.5)},
}
"""Table 6 of the paper: final size in pixels, and the first and last stage's strengths."""
AUTOML = {
    "s": {"final": 300, "magnitude": (5, 10), "alpha": (0.0, 0.0)},
    "m": {"final": 384, "magnitude": (5, 15), "alpha": (0.0, 0.2)},
    "l": {"final": 384, "magnitude": (5, 20), "alpha": (0.0, 0.5)},
}
"""google/automl's released code: one alpha for Mixup and CutMix; dropout is the recipe's throughout."""


@dataclass(frozen=True)
class PlannedStage:
    """A stage of progressive learning as the training loop follows it."""

    number: int
    """From 1."""
    first_step: int
    """Optimizer steps before it."""
    image_size: int
    """Height and width in pixels of its training images."""
    augment: Mapping[str, float] = field(default_factory=dict)
    """Strengths by option for `Augmenter.train`."""
    dropout: float | None = None
    """The classifier's dropout rate in [0, 1); None: the recipe's."""

    @property
    def strengths(self) -> dict[str, float]:
        """All that it sets besides the image size, by name."""
        return {**self.augment, **({} if self.dropout is None else {"dropout": self.dropout})}


def resolve(recipe: Recipe) -> Recipe:
    """Write the recipe's stages out in full, and switch on every technique whose strength a stage raises above 0.

    What the recipe has on keeps its options; Mixup comes with prob 1 and CutMix with prob 1, so that with both on every
    image goes to one of them. A network built without dropout gets the largest one of the stages. A UserError where the
    stages contradict the recipe.
    """
    if recipe.progressive == "none":
        return recipe
    final = recipe.train.image_size
    given = recipe.progressive
    stages = preset(given, recipe.model.name, final) if isinstance(given, str) else given
    stages = tuple(_complete(stages, number, recipe) for number in range(len(stages)))
    largest = max(stage.dropout or 0.0 for stage in stages)
    model = recipe.model.model_copy(update={"dropout": recipe.model.dropout or largest})
    update = {"progressive": stages, "model": model, "augment": _switched_on(recipe.augment, stages)}
    try:
        check_stages(recipe.model_copy(update={"progressive": stages}))
    except ValueError as error:
        raise UserError(str(error)) from error
    return recipe.model_copy(update=update)


def preset(name: str, model: str, final: int) -> tuple[Stage, ...]:
    """A preset's stages for a model, rescaled to a final size.

    EfficientNetV2-S, M and L have a table each; every other network follows S. A strength whose table is 0 throughout
    is left to the recipe. At the table's own final size the sizes are the table's.
    """
    kind = next((size for size in "ml" if f"efficientnetv2_{size}" in model), "s")
    table: Mapping[str, object] = (PAPER if name == "paper" else AUTOML)[kind]
    published = int(table["final"])  # type: ignore[call-overload]
    columns = {"rand_augment_magnitude": "magnitude", "mixup_alpha": "mixup", "dropout": "dropout"}
    if name == "automl":
        columns = {"rand_augment_magnitude": "magnitude", "mixup_alpha": "alpha", "cutmix_alpha": "alpha"}
    ends: dict[str, tuple[float, float]] = {option: table[column] for option, column in columns.items()}  # type: ignore[misc]
    stages = []
    for k in range(STAGES):
        size = Fraction(k, STAGES - 1) if name == "paper" else Fraction(k + 1, STAGES)
        pixels = FIRST_SIZE + (published - FIRST_SIZE) * size
        pixels = _round(pixels) if name == "paper" else int(pixels)
        strengths = {
            option: round(low + (high - low) * k / (STAGES - 1), 4)
            for option, (low, high) in ends.items()
            if max(low, high) > 0
        }
        image_size = scaled(Fraction(pixels, published), final) if final != published else pixels
        stages.append(Stage.model_validate({"until": (k + 1) / STAGES, "image_size": image_size, **strengths}))
    return tuple(stages)


def scaled(share: float | Fraction, final: int) -> int:
    """A share of the final size in pixels, rounded to a multiple of 8; at least 16, at most the final size."""
    if share == 1:
        return final
    return min(final, max(SMALLEST, MULTIPLE * _round(Fraction(str(share)) * final / MULTIPLE)))


def stages_of(recipe: Recipe) -> tuple[Stage, ...]:
    """The stages of a resolved recipe, none without progressive learning; a ValueError if it isn't resolved."""
    if recipe.progressive == "none":
        return ()
    if isinstance(recipe.progressive, str):
        raise ValueError("the recipe isn't resolved")
    return recipe.progressive


def planned(stages: Sequence[Stage], total_steps: int) -> tuple[PlannedStage, ...]:
    """Plan the optimizer steps of resolved stages; those too short for a single step are left out."""
    plan: list[PlannedStage] = []
    first = 0
    for number, stage in enumerate(stages, 1):
        end = _round((stage.until or 1.0) * total_steps)
        if end > first:
            by_name = {name: getattr(stage, option) for name, option in SCHEDULED_STRENGTHS.items()}
            strengths = {name: value for name, value in by_name.items() if value is not None}
            plan.append(PlannedStage(number, first, int(stage.image_size or 0), strengths, stage.dropout))
        first = end
    return tuple(plan)


def stage_rows(plan: Sequence[PlannedStage], rows: Sequence[EpochRow]) -> list[StageRow]:
    """Measurements of each planned stage in the epochs so far; zeros for one that hasn't begun."""
    found = []
    for stage in plan:
        parts = [part for row in rows for part in row.parts if part.stage == stage.number]
        images, seconds = sum(part.images for part in parts), sum(part.seconds for part in parts)
        found.append(
            StageRow(
                first_step=stage.first_step,
                image_size=stage.image_size,
                strengths=stage.strengths,
                images=images,
                seconds=seconds,
                images_per_second=images / seconds if seconds else None,
            )
        )
    return found


def measured(rows: Sequence[EpochRow], final: int) -> dict[str, float]:
    """Effects of progressive learning, from the batches that were trained on.

    `share` of the images that were smaller than the final size, and of each epoch the mean size in pixels.
    """
    parts = [part for row in rows for part in row.parts]
    images = sum(part.images for part in parts)
    smaller = sum(part.images for part in parts if part.image_size < final)
    effects: dict[str, float] = {"images": images, "share": smaller / images if images else 0.0}
    effects["stages"] = len({part.stage for part in parts})
    for row in rows:
        fed = sum(part.images for part in row.parts)
        if fed:
            effects[f"size_epoch_{row.epoch}"] = sum(part.images * part.image_size for part in row.parts) / fed
    return effects


def _complete(stages: Sequence[Stage], number: int, recipe: Recipe) -> Stage:
    """A stage with its end and size written out, and its dropout if another stage has any."""
    stage, final = stages[number], recipe.train.image_size
    until = stage.until or (number + 1) / len(stages)
    size = stage.image_size or scaled(1.0 if stage.size is None else stage.size, final)
    dropout = stage.dropout
    if dropout is None and any(other.dropout is not None for other in stages):
        dropout = recipe.model.dropout
    return stage.model_copy(update={"until": until, "image_size": size, "size": None, "dropout": dropout})


def _switched_on(augment: AugmentConfig, stages: Sequence[Stage]) -> AugmentConfig:
    """Switch on the techniques that a stage raises above 0, at their greatest strength where they were off."""

    def greatest(option: str) -> float:
        return max(getattr(stage, option) or 0.0 for stage in stages)

    magnitude, mixup, cutmix = map(greatest, ("rand_augment_magnitude", "mixup_alpha", "cutmix_alpha"))
    update: dict[str, object] = {}
    try:
        if magnitude > 0 and augment.rand_augment is None:
            update["rand_augment"] = RandAugmentConfig(magnitude=magnitude)
        if mixup > 0 and augment.mixup is None:
            update["mixup"] = MixUpConfig(prob=1.0, alpha=mixup)
        if cutmix > 0 and augment.cutmix is None:
            update["cutmix"] = CutMixConfig(prob=1.0, alpha=cutmix)
    except ValidationError as error:
        raise UserError(f"progressive: {error.errors(include_url=False)[0]['msg']}") from error
    return augment.model_copy(update=update)


def _round(value: float | Fraction) -> int:
    """Round to the nearest integer, halves up."""
    return math.floor(value + Fraction(1, 2))
