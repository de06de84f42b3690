"""Joins the parts of a resolved recipe into the loop's setup."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from seedwise.augment.pipeline import Augmenter
from seedwise.data.dataset import Dataset
from seedwise.engine.loss_scale import LossScale
from seedwise.engine.placement import Placement
from seedwise.engine.protocols import Average
from seedwise.engine.repeats import Repeats
from seedwise.engine.setup import Setup
from seedwise.engine.stages import dropout_of
from seedwise.engine.warm_start import WarmStart
from seedwise.kernels.swap import accelerate
from seedwise.models.build import BuiltModel
from seedwise.models.dropout_meter import meter_dropout
from seedwise.models.freeze_schedule import FreezeSchedule
from seedwise.models.weights import classifier_names
from seedwise.optim.ema import Ema
from seedwise.optim.groups import parameter_groups
from seedwise.optim.loss import build_loss
from seedwise.optim.optimizers import build_optimizer
from seedwise.optim.sam import Sam
from seedwise.optim.swa import Swa
from seedwise.recipe.progressive import stages_of
from seedwise.recipe.schema import ComputeConfig, Recipe
from seedwise.run.resolve import doubts
from seedwise.run.teacher import RunTeacher


def prepare(
    folder: Path,
    recipe: Recipe,
    seed: int,
    dataset: Dataset,
    built: BuiltModel,
    *,
    num_classes: int | None = None,
    known_kernels: Mapping[str, str] | None = None,
) -> Setup:
    """Build the loop's setup from a resolved recipe, a seed, data and a network.

    `num_classes` is the data's unless given; `known_kernels`: implementations that a run's record says were chosen.
    """
    num_classes = num_classes or len(dataset.classes)
    placement = Placement.of(recipe.compute)
    model = placement.module(built.module)
    accelerate(model, recipe.compute.kernels, known_kernels or {})
    rates = {"dropout": recipe.model.dropout, "drop_path": recipe.model.drop_path}
    meter = meter_dropout(model, classifier_names(model), **rates)
    average = _average_of(recipe, model, len(dataset.train))
    _compile(model, recipe.compute)
    repeats = None if recipe.train.repeats == 1 else Repeats(recipe.train.repeats, dataset.train.draw_rows)
    optimizer = build_optimizer(recipe.optim, parameter_groups(recipe.optim, model, classifier_names(model)))
    setup = Setup(
        model=model,
        optimizer=optimizer,
        loss=build_loss(recipe.loss, dataset.train.targets, num_classes, placement.device),
        augment=Augmenter(
            recipe.augment,
            seed=seed,
            rows=dataset.train.draw_rows * recipe.train.repeats,
            epochs=recipe.train.epochs,
            mean=built.mean,
            std=built.std,
            device=placement.device,
        ),
        train=dataset.train,
        val=dataset.val,
        num_classes=num_classes,
        config=recipe.train,
        optim=recipe.optim,
        placement=placement,
        seed=seed,
        folder=folder,
        average=average,
        dropout_meter=meter,
        warm_start=warm_start_of(recipe, model),
        stages=stages_of(recipe),
        freezing=_freezing(recipe, model, optimizer),
        sam=None if recipe.optim.sam is None else Sam(recipe.optim.sam),
        teacher=None
        if (distill := recipe.loss.distill) is None
        else RunTeacher(recipe, distill, built.mean, built.std),
        scale=LossScale(placement.device) if placement.precision == "fp16" else None,
        repeats=repeats,
        equal_batches=recipe.compute.compiled,
        data_lines=_lines(recipe, dataset, repeats),
    )
    return replace(setup, dropout=dropout_of(model, recipe.model.dropout, setup.plan))


def _compile(model: torch.nn.Module, compute: ComputeConfig) -> None:
    """Compile the model in the section's mode, if it asks for it."""
    if compute.compiled:
        model.compile(mode=compute.compile if isinstance(compute.compile, str) else None)


def _lines(recipe: Recipe, dataset: Dataset, repeats: Repeats | None) -> list[str]:
    """What is said before the training: the data, doubts about the recipe, and what an epoch is if not all images."""
    kept = [dataset.storage_line()] if dataset.storage == "encoded" else []
    return [*dataset.lines(), *kept, *doubts(recipe), *([] if repeats is None else [repeats.line(len(dataset.train))])]


def _freezing(recipe: Recipe, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> FreezeSchedule | None:
    """The recipe's freeze schedule of this model; None without one."""
    if not recipe.model.freeze_schedule:
        return None
    size, kernels = recipe.train.image_size, recipe.compute.kernels
    return FreezeSchedule(
        recipe.model, model, optimizer, head=classifier_names(model), image_size=size, kernels=kernels
    )


def warm_start_of(recipe: Recipe, model: torch.nn.Module) -> WarmStart | None:
    """The recipe's warm start of this model's classifier; None without one."""
    return None if recipe.warm_start is None else WarmStart(recipe.warm_start, model, classifier_names(model))


def _average_of(recipe: Recipe, model: torch.nn.Module, images: int) -> Average | None:
    """The average of the weights that the recipe asks for, of a training on so many images."""
    train, optim = recipe.train, recipe.optim
    if optim.ema is not None:
        return Ema(optim.ema, model)
    if optim.swa is None:
        return None
    steps = train.steps_per_epoch(images)
    return Swa(optim.swa, model, steps_per_epoch=steps, total_steps=steps * train.epochs)
