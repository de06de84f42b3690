"""Everything that a run trains with, and how far it is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seedwise.engine.checkpoint import model_tensors
from seedwise.engine.distributed import SINGLE_PROCESS, World
from seedwise.engine.evaluate import predict
from seedwise.engine.feed import Feed
from seedwise.engine.loss_scale import LossScale
from seedwise.engine.placement import Placement
from seedwise.engine.protocols import Augment, Average, Images, Meter, Teacher
from seedwise.engine.repeats import Repeats
from seedwise.engine.stages import Dropout
from seedwise.engine.warm_start import WarmStart
from seedwise.models.freeze_schedule import FreezeSchedule
from seedwise.optim.config import OptimConfig
from seedwise.optim.loss import Loss
from seedwise.optim.sam import Sam
from seedwise.optim.schedules import lr_at
from seedwise.recipe.progressive import PlannedStage, planned
from seedwise.recipe.progressive_config import Stage
from seedwise.recipe.schema import TrainConfig
from seedwise.records.predictions import Predictions
from seedwise.records.run import EpochRow


@dataclass(frozen=True)
class Setup:
    """Everything that the loop needs: model, optimizer, loss, data, augmentation, options."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    loss: Loss
    augment: Augment
    train: Images
    val: Images | None
    num_classes: int
    config: TrainConfig
    optim: OptimConfig
    placement: Placement
    seed: int
    folder: Path
    """The folder for checkpoints."""
    world: World = SINGLE_PROCESS
    """The processes that train this model together."""
    average: Average | None = None
    """A running average of the weights."""
    warm_start: WarmStart | None = None
    """Trains the classifier before the first step."""
    stages: tuple[Stage, ...] = ()
    """Resolved stages of progressive learning."""
    dropout: Dropout | None = None
    """The dropout that the stages set."""
    dropout_meter: Meter | None = None
    """Counts what dropout and stochastic depth drop."""
    freezing: FreezeSchedule | None = None
    """Freezes and unfreezes stages of the model between steps."""
    sam: Sam | None = None
    """Moves the weights for a second pass of each step."""
    scale: LossScale | None = None
    """Scales the loss, in fp16."""
    repeats: Repeats | None = None
    """Tells copies of an image apart."""
    teacher: Teacher | None = None
    """What the model learns from beside the labels."""
    equal_batches: bool = False
    """Whether every batch has the same number of images, some then twice in an epoch."""
    data_lines: Sequence[str] = ()
    """Description of the data, for the observer."""

    @cached_property
    def plan(self) -> tuple[PlannedStage, ...]:
        """The planned stages; a single one without progressive learning."""
        return planned(self.stages, self.total_steps) or (PlannedStage(1, 0, self.config.image_size),)

    def stage(self, step: int) -> PlannedStage:
        """The stage of optimizer step `step`, from 0."""
        return next(stage for stage in reversed(self.plan) if stage.first_step <= step)

    def phase(self, step: int) -> "Phase":
        """What stays the same around optimizer step `step`, from 0."""
        frozen = None if self.freezing is None else self.freezing.at(step, self.total_steps)
        return Phase(self.stage(step), frozen)

    @property
    def phase_starts(self) -> list[int]:
        """The steps, from 0, at which a phase begins, in order."""
        frozen = () if self.freezing is None else self.freezing.starts(self.total_steps)
        return sorted({0, *(stage.first_step for stage in self.plan), *frozen})

    def enter(self, phase: "Phase") -> None:
        """Set the model's dropout and its frozen stages to those of a phase."""
        if self.dropout is not None and phase.stage.dropout is not None:
            self.dropout.set(phase.stage.dropout)
        if self.freezing is not None and phase.frozen is not None and self.freezing.set(phase.frozen):
            vars(self).pop("forward", None)  # DistributedDataParallel waits for the gradients that there were

    @cached_property
    def forward(self) -> nn.Module:
        """The model for the training step, wrapped for distributed training."""
        return self.world.ddp(self.model)

    @cached_property
    def feed(self) -> Feed:
        """The training images on the device."""
        return Feed(self.train, self.placement)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps per epoch."""
        return self.config.steps_per_epoch(len(self.train.ids))

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.steps_per_epoch * self.config.epochs

    @cached_property
    def meters(self) -> dict[str, Meter]:
        """What counts effects during the training besides `augment`, by its name in a checkpoint."""
        named: dict[str, Meter | None] = {
            "noise": self.dropout_meter,
            "teacher": self.teacher,
            "sam": self.sam,
            "loss_scale": self.scale,
            "freezing": self.freezing,
            "repeats": self.repeats,
        }
        return {name: meter for name, meter in named.items() if meter is not None}

    def averaged_tensors(self) -> dict[str, Tensor]:
        """The averaged weights, named `ema/...`; empty without an average."""
        return {} if self.average is None else model_tensors(self.average.module, "ema")

    def predict(
        self,
        images: Images,
        *,
        model: nn.Module | None = None,
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Predictions:
        """Predict images at the size of evaluation, by `model` (None: the trained one), as `evaluate.predict` does."""
        return predict(
            model or self.model,
            images,
            self.augment,
            size=self.config.evaluation_size,
            placement=self.placement,
            world=self.world,
            on_progress=on_progress,
        )

    def lr(self, step: int) -> float:
        """Learning rate of optimizer step `step`, from 0."""
        return lr_at(self.optim, step, steps_per_epoch=self.steps_per_epoch, total_steps=self.total_steps)


class Phase(NamedTuple):
    """Steps in a row of one cost, with the same sizes, strengths and trained layers."""

    stage: PlannedStage
    frozen: int | None
    """How many stages are frozen, by the freeze schedule; None without one."""


@dataclass
class State:
    """Progress of a run, stored as JSON beside the tensors in the checkpoint."""

    step: int = 0
    """Number of optimizer steps made."""
    loss_sum: float = 0.0
    """Sum over the images of the current epoch; so is `hit_sum`."""
    hit_sum: float = 0.0
    images: int = 0
    """Images seen in the current epoch."""
    epoch_seconds: float = 0.0
    """Wall seconds of the current epoch's steps."""
    parts: list[dict[str, Any]] = field(default_factory=list)
    """With progressive learning, the current epoch by stage, as StagePart."""
    evaluate_seconds: float = 0.0
    """Wall seconds of validation so far."""
    warm_start: dict[str, float] = field(default_factory=dict)
    """Measurements of the warm start; empty without one."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    """Finished epochs, as EpochRow."""
    best_epoch: int | None = None
    best_top1: float = -1.0
    estimated_images: int = 0
    """Images on which BatchNorm's statistics were estimated for an average, after the last step."""
    done: bool = False
    """Whether no epoch is left to train."""

    @property
    def epochs(self) -> list[EpochRow]:
        """The finished epochs."""
        return [EpochRow.model_validate(row) for row in self.rows]
