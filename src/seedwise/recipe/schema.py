"""The recipe: all that decides a run's weights besides data and seed, frozen and validated once."""

import contextlib
import math
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from pydantic import Field, field_validator, model_validator

from seedwise.augment.config import SCHEDULED_STRENGTHS, AugmentConfig, RandAugmentConfig
from seedwise.base import durations
from seedwise.config.section import Section
from seedwise.data.config import DataConfig
from seedwise.models.config import ModelConfig
from seedwise.optim.config import LossConfig, OneCycle, OptimConfig
from seedwise.recipe.progressive_config import Progressive, check_order
from seedwise.recipe.tta_config import TtaConfig
from seedwise.recipe.warm_start_config import WarmStartConfig

Auto = Literal["auto"]

if TYPE_CHECKING:
    # `auto` is written out (`seedwise.run.sizing`) before anything counts with these, so to whoever reads them they are
    # numbers; what may meet them earlier asks `is_auto`.
    Epochs: TypeAlias = int
    BatchSize: TypeAlias = int
    ImageSize: TypeAlias = int
else:
    Epochs = Auto | Annotated[int, Field(ge=1, le=100_000)]
    BatchSize = Auto | Annotated[int, Field(ge=1, le=1_000_000)]
    ImageSize = Auto | Annotated[int, Field(ge=8, le=2048)]


def is_auto(value: object) -> bool:
    """Whether an option is `auto`, still to be chosen."""
    return value == "auto"


class TrainConfig(Section):
    """Length of the training, batch and image size, and which epoch's weights are kept."""

    epochs: Epochs = 10
    """Passes over the training images; auto: from their number and that of the classes (docs/photos.md), or what fits
    into `--time`."""
    batch_size: BatchSize = 128
    """Images per forward pass; auto: from the number of training images. An epoch is cut into equal batches of at most
    this size; none is dropped."""
    repeats: int = Field(1, ge=1, le=64)
    """How many copies of an image a batch holds, each with draws of its own; 1: as usual. An epoch keeps its number of
    steps and its cost: it takes 1/repeats of the images, repeats times each, and so many epochs together take every
    image that often. Copies are next to each other, so that only those at a batch's edge may be parted. A copy may be
    mixed with another image or with a copy. Helps: gradients of several views of one image vary less, most with strong
    augmentation in long trainings. Hurts: short schedules, whose epochs see fewer different images, and small batches,
    whose BatchNorm then sees few. Source: batch augmentation (Hoffer et al. 2019, arXiv 1901.09335); repeated
    augmentation in timm's `--aug-repeats`, which draws each epoch's images anew, so that some may never come."""
    accumulate: int = Field(1, ge=1)
    """Batches whose gradients are averaged into one optimizer step."""
    image_size: ImageSize = 64
    """Height and width in pixels at which images enter the model, in training and evaluation; auto: from the
    images' own size."""
    eval_image_size: int | None = Field(None, ge=8, le=2048)
    """Height and width in pixels at which validation and test images enter the model, and those of `predict`, exports
    and reports, after a training at train.image_size; null: the same. No weight depends on it unless train.select or
    train.patience does. Helps: random crops show a network objects larger than evaluation does, so that a somewhat
    larger size suits it better, and costs nothing in training. Hurts: where it is much larger, the maps look unlike
    those that BatchNorm and the classifier know; where the images have no more detail to show. Source:
    Touvron et al. 2019, train-test resolution discrepancy (arXiv 1906.06423), without its fine-tuning."""
    select: Literal["last", "best"] = "last"
    """Which weights are kept: the last epoch's, or those with the best validation top-1. Never by test."""
    patience: int | None = Field(None, ge=1)
    """Stop after this many epochs without a better validation top-1; null: train all epochs."""
    score_test: bool = True
    """Score the test images after the last epoch; false leaves them unread, as `seedwise sweep` does with all settings
    but the one that is best on validation."""
    checkpoint_every: int | str = "1m"
    """How often progress is saved, which is what a kill can lose at most: a time such as `1m`, `30s` or `2h`; or a
    number of optimizer steps, 1 or more, and then at each epoch's end too. Saving copies the weights; a thread writes
    the copy while the training goes on. No weight depends on it."""
    insight: bool = True
    """Keep pictures for the report in insight.npz: errors, confused pairs, Grad-CAM, augmentation. Takes seconds, and
    changes neither weights nor draws."""

    @field_validator("checkpoint_every", mode="before")
    @classmethod
    def _steps_or_a_time(cls, every: object) -> object:
        """A text is a time, with its unit."""
        with contextlib.suppress(ValueError):
            if isinstance(every, int) and not isinstance(every, bool) and every >= 1:
                return every
            if isinstance(every, str) and not every.strip().isdecimal() and durations.seconds(every) > 0:
                return every
        raise ValueError("give a time such as 1m or 30s, or a whole number of optimizer steps from 1 on")

    def steps_per_epoch(self, images: int) -> int:
        """Optimizer steps of an epoch of so many training images."""
        return math.ceil(images / (self.batch_size * self.accumulate))

    @property
    def evaluation_size(self) -> int:
        """Side in pixels of the images that are scored."""
        return self.eval_image_size or self.image_size


class ComputeConfig(Section):
    """Device, precision, threads and kernels. Each `auto` is chosen once, before training, and stored in the run's
    recipe."""

    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")] = "auto"
    """`cpu`, `mps`, `cuda` (under torchrun each process's own GPU), `cuda:N`; auto: the first GPU that this torch has
    code for, then MPS, then CPU."""
    precision: Literal["auto", "fp32", "tf32", "bf16", "fp16"] = "auto"
    """`fp32`: IEEE float32. `tf32`: float32 whose factors are rounded to 10 bits of mantissa, by NVIDIA GPUs from sm_80
    on (PyTorch's own default for convolutions there). `bf16`, `fp16`: autocast; in fp16 the loss is scaled, so that
    small gradients don't vanish, and a step whose gradients overflow is skipped, which the record counts. auto: bf16
    where the hardware multiplies it (AMX; NVIDIA GPUs from sm_80 on), else fp16 on NVIDIA GPUs from sm_70 on, such as
    the T4, else fp32. Source: Micikevicius et al. 2018 (arXiv 1710.03740); NVIDIA, A100 white paper."""
    threads: Auto | Annotated[int, Field(ge=1)] = "auto"
    """CPU threads; auto: OMP_NUM_THREADS where it is set, else every core this process may use (its share of them under
    torchrun, whose own OMP_NUM_THREADS=1 doesn't count). The weights' last bits depend on it."""
    channels_last: Auto | bool = "auto"
    """Memory layout of images and weights; auto: true on CPU and CUDA."""
    kernels: Literal["auto", "stock", "fallback", "native", "tuned"] = "auto"
    """Layers on a CPU. `stock`: PyTorch's. `fallback`: gradients of depthwise convolutions put together from PyTorch's
    faster operations. `native`: C++ kernels for depthwise and dense 3x3 convolutions and for BatchNorm with its
    activation, in training and in evaluation, where a rule says that they are faster; built when seedwise is installed,
    or at first use. `tuned`: the same, but timed on this machine instead of by the rule: a few percent faster at best,
    and two runs of one recipe and seed may give other weights. auto: native where the kernels are or a compiler is
    found, else fallback; stock off the CPU."""
    compile: Auto | bool | Literal["reduce-overhead", "max-autotune"] = "auto"
    """torch.compile the model: true, or one of its modes; auto: false. Batches are then of one size, so that it is
    compiled once: an epoch's last places, fewer than one step has, go to images that it began with, which it sees
    twice. Compiling takes minutes. Source: PyTorch, torch.compile's `mode`."""
    deterministic: bool = False
    """Same weights from the same recipe and seed on the same kind of GPU, drivers and libraries, as far as PyTorch
    promises it: its deterministic implementations, which may be slower, and one line where an operation has none. What
    it costs and that bits are equal has not been measured on a GPU by seedwise's authors. On a CPU it changes nothing:
    the bits are the same anyway."""

    @property
    def compiled(self) -> bool:
        """Whether a resolved section compiles the model."""
        return self.compile not in ("auto", False)

    @field_validator("kernels", mode="before")
    @classmethod
    def _by_todays_word(cls, kernels: object) -> object:
        """`composed`, as 0.2.0 and earlier versions wrote it into the recipes of runs, is `fallback`."""
        return "fallback" if kernels == "composed" else kernels


class Recipe(Section):
    """A complete recipe. Parts read their own section, never the whole."""

    name: str = "custom"
    """A short name, used in the default folder's name and in tables."""
    seed: int = Field(0, ge=0, lt=2**63)
    """The master seed that `--seeds N` draws the runs' seeds from; a single run's default seed."""
    data: DataConfig = DataConfig()
    """Splits and subsets."""
    model: ModelConfig = ModelConfig()
    """Architecture and initial weights."""
    augment: AugmentConfig = AugmentConfig()
    """One optional field a technique, applied in the order of the fields."""
    optim: OptimConfig = OptimConfig()
    """Optimizer and schedule."""
    loss: LossConfig = LossConfig()
    """Cross-entropy's options."""
    train: TrainConfig = TrainConfig()
    """Length, batch and image size, selection."""
    progressive: Progressive = "none"
    """Progressive learning, in stages that raise image size and strengths: `none`; `paper` or `automl`, the four stages
    of EfficientNetV2 as published or as released, of the model's size (S's for any but M and L) and rescaled to
    train.image_size; or a list of stages of your own. A technique is switched on if a stage's strength for it is above
    0. Helps: speed, since early epochs are trained on small images; with strength raised beside the size, accuracy over
    long schedules. Hurts: short schedules, which leave the final size too few steps. Source: Tan and Le 2021 (arXiv
    2104.00298, Table 6); google/automl."""
    warm_start: WarmStartConfig | None = None
    """Trains the classifier alone before the first step; `{}` turns it on with its defaults."""
    tta: TtaConfig | None = None
    """Test-time augmentation, scored beside the plain scores; `{}`: each image and its mirror image."""
    compute: ComputeConfig = ComputeConfig()
    """Device, precision, threads."""

    @model_validator(mode="after")
    def _check_across_sections(self) -> "Recipe":
        check(self)
        return self


def check(recipe: Recipe) -> None:
    """Raise ValueError that begins with the option's path where sections contradict; `auto` fits everything."""
    train, epochs = recipe.train, recipe.train.epochs
    if recipe.data.val == 0 and train.select == "best":
        raise ValueError("train.select: 'best' needs validation images; set data.val above 0 or select to last")
    if recipe.data.val == 0 and train.patience is not None:
        raise ValueError("train.patience: needs validation images; set data.val above 0 or patience to null")
    if recipe.optim.swa is not None and recipe.optim.ema is not None:
        raise ValueError("optim.swa: a run has one average of its weights, and optim.ema is on; set one to null")
    if recipe.optim.swa is not None and train.patience is not None:
        raise ValueError(
            "optim.swa: averages the last part of train.epochs, before which train.patience may end the training; "
            "set one to null"
        )
    schedule, mix_off = recipe.optim.schedule, recipe.augment.mix_off_epochs
    if not is_auto(epochs) and mix_off >= epochs:
        raise ValueError(f"augment.mix_off_epochs: must be below train.epochs ({epochs}), is {mix_off}")
    if not is_auto(epochs) and not isinstance(schedule, OneCycle) and schedule.warmup_epochs >= epochs:
        raise ValueError(
            f"optim.schedule.warmup_epochs: must be below train.epochs ({epochs}), is {schedule.warmup_epochs}"
        )
    if recipe.model.freeze_schedule and recipe.compute.compiled:
        raise ValueError("compute.compile: can't go with model.freeze_schedule, which changes the network; drop one")
    check_stages(recipe)


def check_stages(recipe: Recipe) -> None:
    """Raise ValueError that begins with the option's path unless the recipe's stages are in order and fit it."""
    if isinstance(recipe.progressive, str):
        return
    check_order(recipe.progressive)
    final, on = recipe.train.image_size, recipe.augment.rand_augment
    strongest = (on.num_magnitude_bins if on else RandAugmentConfig().num_magnitude_bins) - 1
    for number, stage in enumerate(recipe.progressive):
        place = f"progressive.{number}"
        if stage.image_size is not None and not is_auto(final) and stage.image_size > final:
            raise ValueError(
                f"{place}.image_size: must be at most train.image_size ({final}), the final size, is {stage.image_size}"
            )
        if (stage.rand_augment_magnitude or 0) > strongest:
            raise ValueError(
                f"{place}.rand_augment_magnitude: must be at most {strongest}, the end of RandAugment's scale, "
                f"is {stage.rand_augment_magnitude:g}"
            )
        for name, option in SCHEDULED_STRENGTHS.items():
            technique = name.split(".")[0]
            off = getattr(recipe.augment, technique) is None
            if (
                off
                and getattr(stage, option) is None
                and any(getattr(s, option) is not None for s in recipe.progressive)
            ):
                raise ValueError(f"{place}: has no {option}; give it to every stage, or set augment.{technique}")
