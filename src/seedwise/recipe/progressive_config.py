"""Options of progressive learning: a preset's name, or a list of stages."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from seedwise.config.section import Section

PRESETS = ("paper", "automl")


class Stage(Section):
    """A part of the training with its own image size and strengths; what it doesn't name is the recipe's own."""

    until: float | None = Field(None, gt=0, le=1)
    """Where it ends, as a share of all epochs, in (0, 1]: 0.5 is half way. The last one ends at 1. null in every
    stage: they are equally long."""
    image_size: int | None = Field(None, ge=8, le=2048)
    """Height and width in pixels of its training images, at most `train.image_size`, which is the default."""
    size: float | None = Field(None, gt=0, le=1)
    """In place of image_size: a share of `train.image_size`, rounded to a multiple of 8 (at least 16; 1 is exact)."""
    rand_augment_magnitude: float | None = Field(None, ge=0)
    """`augment.rand_augment.magnitude` in this stage."""
    mixup_alpha: float | None = Field(None, ge=0)
    """`augment.mixup.alpha` in this stage; 0: no Mixup."""
    cutmix_alpha: float | None = Field(None, ge=0)
    """`augment.cutmix.alpha` in this stage; 0: no CutMix."""
    dropout: float | None = Field(None, ge=0, lt=1)
    """`model.dropout` in this stage, in [0, 1)."""

    @model_validator(mode="after")
    def _one_size(self) -> "Stage":
        if self.image_size is not None and self.size is not None:
            raise ValueError("size: image_size is given too; drop one of them")
        return self


Stages = Annotated[tuple[Stage, ...], Field(min_length=1, max_length=1000)]
Progressive = Literal["none", "paper", "automl"] | Stages


def check_order(stages: Sequence[Stage]) -> None:
    """Raise ValueError unless each stage ends after the one before it, the last at 1, or none says where it ends."""
    if all(stage.until is None for stage in stages):
        return
    before = 0.0
    for number, stage in enumerate(stages):
        last = number == len(stages) - 1
        end = 1.0 if last and stage.until is None else stage.until
        if end is None:
            raise ValueError(f"progressive.{number}: has no until; give it to every stage, or to none")
        if end <= before:
            raise ValueError(f"progressive.{number}.until: must be above the stage before's {before:g}, is {end:g}")
        if last and end != 1:
            raise ValueError(f"progressive.{number}.until: must be 1 in the last stage, is {end:g}")
        before = end
