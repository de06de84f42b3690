"""Scores a trained run: predictions, effects of its techniques, report images; test images come last."""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from seedwise.data.dataset import Dataset, Subset
from seedwise.data.open import open_data
from seedwise.data.splits import train_probe
from seedwise.engine.control import RunControl, phase_progress
from seedwise.engine.evaluate import Predictions
from seedwise.engine.setup import Setup, State
from seedwise.engine.tta import predict_tta, tta_effects
from seedwise.models.build import BuiltModel
from seedwise.models.export_config import timm_config
from seedwise.models.freezing import freeze_effects
from seedwise.models.weights import classifier_names
from seedwise.optim.ema import relative_distance
from seedwise.optim.groups import group_effects
from seedwise.optim.loss import loss_effects
from seedwise.optim.swa import Swa
from seedwise.recipe.progressive import measured
from seedwise.recipe.schema import Recipe, TrainConfig
from seedwise.recipe.tta_config import TtaConfig
from seedwise.run import report_images, resolve
from seedwise.run.writer import Averaged, Outcome


def outcome_of(
    recipe: Recipe,
    setup: Setup,
    state: State,
    dataset: Dataset,
    built: BuiltModel,
    data_seconds: float,
    control: RunControl,
) -> Outcome:
    """Score the selected weights, and their average if there is one; test images last, once by each."""
    began, size = time.perf_counter(), recipe.train.evaluation_size
    test = dataset.test if recipe.train.score_test else None
    subsets = {"train": train_probe(dataset.train), "oob": dataset.oob, "val": dataset.val, "test": test}
    scored = {name: _predict(setup, setup.model, it, name, control) for name, it in subsets.items() if it is not None}
    averaged = _averaged(
        setup, {name: it for name, it in subsets.items() if it is not None and name in ("val", "test")}, control
    )
    held_out = dataset.test or dataset.val or dataset.train
    best = state.best_epoch if recipe.train.select == "best" else None
    return Outcome(
        rows=state.epochs,
        selected_epoch=len(state.rows) if best is None else best,
        scored=scored,
        effects=_effects(recipe, setup, state, dataset, scored["train"]) | _average_effects(setup, state, averaged),
        weights=setup.model.state_dict(),
        originals={
            name: it.originals
            for name, it in (("train", dataset.train), ("val", dataset.val), ("test", test))
            if it is not None
        },
        averaged=averaged,
        tta={},
        warm_start_seconds=state.warm_start.get("seconds"),
        model_config=timm_config(
            built,
            num_classes=len(dataset.classes),
            classes=dataset.classes,
            size=size,
            # where photos were shrunk to this size for the cache, which is bicubic, nothing is left to resize
            interpolation="bicubic" if held_out.short_side == size else recipe.augment.resize.interpolation,
        ),
        lag=statistics_lag(setup.model, _steps_of_all(setup, state.step) * recipe.train.accumulate),
        insight=_insight(recipe, setup, dataset, scored, control),
        data_seconds=data_seconds,
        evaluate_seconds=state.evaluate_seconds + time.perf_counter() - began,
    )


def _steps_of_all(setup: Setup, steps: int) -> int:
    """Of the optimizer steps made, the last ones, which trained all that trains at their end."""
    return steps if setup.freezing is None else steps - setup.freezing.last_unfreezing(steps, setup.total_steps)


def statistics_lag(model: torch.nn.Module, batches: int) -> float | None:
    """The largest share that a BatchNorm's running statistics hold of their values `batches` ago; None without any."""
    norms = [it for it in model.modules() if isinstance(it, torch.nn.modules.batchnorm._BatchNorm)]
    trained = [it for it in norms if it.track_running_stats and any(p.requires_grad for p in it.parameters())]
    left = [1 / (batches + 1) if it.momentum is None else (1 - it.momentum) ** batches for it in trained]
    return max(left, default=None)


def _insight(
    recipe: Recipe, setup: Setup, dataset: Dataset, scored: Mapping[str, Predictions], control: RunControl
) -> report_images.Arrays:
    """Images for the report; none in processes that don't write, or where they are off."""
    if not recipe.train.insight or not setup.world.is_first:
        return {}
    report = phase_progress(control)
    return report_images.look(
        setup, recipe.augment, dataset, scored, lambda done, total: report("insight", done, total)
    )


def _effects(
    recipe: Recipe, setup: Setup, state: State, dataset: Dataset, probe: Predictions
) -> dict[str, dict[str, float]]:
    """Measured effect of each technique that was on, by its name."""
    return {
        **setup.augment.effects(),
        **({} if setup.dropout_meter is None else setup.dropout_meter.effects()),
        **(freeze_effects(setup.model) if setup.freezing is None else setup.freezing.effects()),
        **({"warm_start": state.warm_start} if setup.warm_start is not None else {}),
        **loss_effects(recipe.loss, dataset.train.targets, probe.logits, probe.targets),
        **group_effects(recipe.optim, setup.model, classifier_names(setup.model), setup.optimizer),
        **({} if setup.sam is None else setup.sam.effects()),
        **({} if setup.scale is None else setup.scale.effects()),
        **({} if setup.repeats is None else setup.repeats.effects()),
        **({} if setup.teacher is None else setup.teacher.effects()),
        **_sizes(recipe.train),
        **({"progressive": measured(state.epochs, recipe.train.image_size)} if setup.stages else {}),
    }


def _sizes(train: TrainConfig) -> dict[str, dict[str, float]]:
    if train.eval_image_size is None:
        return {}
    return {"eval_image_size": {"trained": train.image_size, "evaluated": train.evaluation_size}}


def _averaged(setup: Setup, subsets: Mapping[str, Subset], control: RunControl) -> Averaged | None:
    """The averaged weights with their predictions on these images; None without an average."""
    if setup.average is None:
        return None
    module = setup.average.module
    scored = {name: _predict(setup, module, it, f"{name} by the average", control) for name, it in subsets.items()}
    kind: Literal["ema", "swa"] = "swa" if isinstance(setup.average, Swa) else "ema"
    return Averaged(kind, module.state_dict(), scored, relative_distance(module, setup.model))


def _average_effects(setup: Setup, state: State, averaged: Averaged | None) -> dict[str, dict[str, float]]:
    if averaged is None:
        return {}
    effects = {"distance": averaged.distance}
    if isinstance(setup.average, Swa):
        effects |= {"averaged": setup.average.averaged(state.step), "estimated_images": state.estimated_images}
    return {averaged.kind: effects}


def stored_for_tta(
    recipe: Recipe, tta: TtaConfig, data: str, data_dir: Path | None, dataset: Dataset, control: RunControl
) -> Dataset:
    """Reopen the data for test-time augmentation: photos that were shrunk for the plain scores, stored larger."""
    size, held_out = recipe.train.evaluation_size, dataset.test or dataset.val
    if held_out is None or held_out.short_side < size or tta.resized_to(size) <= size:
        return dataset
    sides = resolve.storage_resolution_for_tta(recipe, tta)
    return open_data(data, recipe.data, data_dir=data_dir, **sides, progress=phase_progress(control))


def with_tta(
    outcome: Outcome, tta: TtaConfig, setup: Setup, dataset: Dataset, began: float, control: RunControl
) -> Outcome:
    """Add scores with test-time augmentation to the plain ones, and how far they differ."""
    subsets = {
        name: it
        for name, it in (("val", dataset.val), ("test", dataset.test))
        if it is not None and name in outcome.scored
    }
    report = phase_progress(control)
    scored = {
        name: predict_tta(
            setup.model,
            subset,
            setup.augment,
            tta,
            size=setup.config.evaluation_size,
            placement=setup.placement,
            world=setup.world,
            on_progress=lambda done, total, name=name: report(f"scoring {name} with TTA", done, total),  # type: ignore[misc]
        )
        for name, subset in subsets.items()
    }
    effects = {"tta": tta_effects(tta, setup.config.evaluation_size, outcome.scored, scored)}
    return replace(
        outcome,
        tta=scored,
        effects=outcome.effects | effects,
        evaluate_seconds=outcome.evaluate_seconds + time.perf_counter() - began,
    )


def _predict(setup: Setup, model: torch.nn.Module, subset: Subset, name: str, control: RunControl) -> Predictions:
    report = phase_progress(control)
    found = setup.predict(subset, model=model, on_progress=lambda done, total: report(f"scoring {name}", done, total))
    return replace(found, files=subset.files)
