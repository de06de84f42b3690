"""Run and study folders made from nothing but records: no training, no torch."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from seedwise.base.files import sha256_of, write_text
from seedwise.config.options import plain
from seedwise.config.section import dump
from seedwise.ensembles.build import build
from seedwise.recipe import library
from seedwise.recipe.schema import Recipe
from seedwise.records.ensemble import EnsembleRecord
from seedwise.records.finished import read_finished
from seedwise.records.run import (
    INSIGHT,
    PREDICTIONS,
    RECIPE,
    DataRecord,
    EpochRow,
    Final,
    ModelRecord,
    RunRecord,
    Scores,
    write_record,
)
from seedwise.stats import compare_arms
from seedwise.study.progress import trial_folder
from seedwise.study.record import StudyRecord, write_study
from seedwise.study.results import Results

CLASSES = [f"class {index}" for index in range(12)]
SUPERCLASSES = ["animals", "plants", "things"]
RECIPE_OF = {"base": library.read("demo", ["augment.horizontal_flip=default"])}


def predictions(seed: int, skill: float, classes: int, images: int = 240) -> dict[str, Any]:
    """Logits that are right the more often, the larger `skill` is; targets and images are the same for all seeds."""
    arrays: dict[str, Any] = {}
    for number, (split, count) in enumerate((("val", images // 2), ("test", images))):
        targets = np.arange(count, dtype=np.int64) % classes
        logits = np.random.default_rng((seed, number)).normal(size=(count, classes))
        logits[np.arange(count), targets] += skill
        arrays |= {f"{split}_ids": np.arange(count), f"{split}_targets": targets}
        arrays[f"{split}_logits"] = logits.astype(np.float32)
        arrays[f"{split}_files"] = np.array([f"{split}/<{row}> & co.jpg" for row in range(count)])
    return arrays


def pictures(arrays: dict[str, Any]) -> dict[str, Any]:
    """A small insight.npz."""

    def packed(name: str, count: int) -> dict[str, Any]:
        files = []
        for index in range(count):
            buffer = io.BytesIO()
            Image.new("RGB", (8, 8), (20 * index % 256, 90, 160)).save(buffer, format="PNG")
            files.append(buffer.getvalue())
        ends = np.cumsum([len(file) for file in files], dtype=np.int64)
        return {f"{name}_bytes": np.frombuffer(b"".join(files), np.uint8), f"{name}_ends": ends}

    wrong = np.flatnonzero(arrays["test_logits"].argmax(1) != arrays["test_targets"])[:4]
    found: dict[str, Any] = {"split": np.array("test"), "grid_rows": np.array(["random_crop", "all together"])}
    for name in ("errors", "pairs", "gradcam"):
        found |= {f"{name}_rows": wrong} | packed(name, len(wrong))
    return found | packed("gradcam_predicted", len(wrong)) | packed("gradcam_target", len(wrong)) | packed("grid", 12)


def scores(arrays: dict[str, Any], split: str) -> Scores:
    logits, targets = arrays[f"{split}_logits"], arrays[f"{split}_targets"]
    rank = (-logits).argsort(axis=1)[:, :5] == targets[:, None]
    return Scores(top1=float(rank[:, 0].mean()), top5=float(rank.any(axis=1).mean()), loss=1.0)


def make_run(
    folder: Path,
    seed: int = 1,
    skill: float = 3.0,
    *,
    classes: list[str] = CLASSES,
    grouped: bool = True,
    recipe: Recipe = RECIPE_OF["base"],
) -> RunRecord:
    """A finished run with predictions and pictures."""
    folder.mkdir(parents=True)
    arrays = predictions(seed, skill, len(classes))
    write_text(folder / RECIPE, dump(recipe))
    np.savez(folder / PREDICTIONS, **arrays)
    np.savez(folder / INSIGHT, **pictures(arrays))
    final = Final(train=Scores(top1=0.99, top5=1.0, loss=0.1), val=scores(arrays, "val"), test=scores(arrays, "test"))
    record = RunRecord(
        status="finished",
        recipe=recipe.name,
        seed=seed,
        data=DataRecord(
            name="pets",
            source="/pets, 'new' ä",
            fingerprint="0" * 64,
            classes=classes,
            superclasses=SUPERCLASSES if grouped else None,
            superclass_of=[index % len(SUPERCLASSES) for index in range(len(classes))] if grouped else None,
            splits={"train": 800, "val": 120, "test": 240},
        ),
        model=ModelRecord(
            name="small", architecture="seedwise:small", weights="none", mean=(0.5,) * 3, std=(0.25,) * 3
        ),
        parameters=1000,
        machine={"cpu": "Z80", "cores": 2, "gpus": []},
        versions={"torch": "2.6"},
        seconds={"train": 60.0 + seed, "total": 80.0 + seed},
        images_per_second=99.0,
        epochs=[epoch_row(number, seed, final) for number in range(1, 6)],
        final=final,
        selected_epoch=5,
        test_evaluations=1,
        techniques={
            "random_crop": {"images": 4000.0, "share": 0.9, "mean_shift": 1.9, "min_shift": 0.0, "max_shift": 2.8},
            "horizontal_flip": {"images": 4000.0, "share": 0.0},
        },
        inert=["horizontal_flip"],
        files={name: sha256_of(folder / name) for name in (RECIPE, PREDICTIONS, INSIGHT)},
    )
    write_record(folder, record)
    return record


def epoch_row(number: int, seed: int, final: Final) -> EpochRow:
    assert final.val is not None
    val = final.val.top1 * number / 5
    return EpochRow(
        epoch=number,
        steps=10 * number,
        lr=0.1 / number,
        image_size=16 if number < 3 else 32,
        train_loss=3.0 / number + seed / 1000,
        train_top1_mixed=number / 6,
        val=Scores(top1=val, top5=1.0, loss=2.0 / number),
        seconds=12.0,
        images_per_second=99.0,
    )


def make_study(
    folder: Path,
    skills: dict[str, float],
    seeds: int | Sequence[int] = 4,
    *,
    compared: bool = True,
    classes: list[str] = CLASSES,
) -> StudyRecord:
    """A finished study of so many seeds, or of these; every arm but the base is compared with it on test."""
    folder.mkdir(parents=True)
    numbers = list(range(1, seeds + 1)) if isinstance(seeds, int) else list(seeds)
    recipe = RECIPE_OF["base"]
    arms = {
        arm: recipe.model_copy(update={"optim": recipe.optim.model_copy(update={"lr": 0.001 * (index + 1)})})
        for index, arm in enumerate(skills)
    }
    for arm, skill in skills.items():
        for seed in numbers:
            make_run(folder / trial_folder(arm, seed), seed, skill, recipe=arms[arm], classes=classes)
    study = StudyRecord(
        data="/pets",
        data_dir=None,
        master_seed=0,
        seeds=numbers,
        arms={arm: plain(recipe) for arm, recipe in arms.items()},
        margin=0.005 if compared else None,
    )
    study = Results(folder).refresh(study)
    outcomes = {arm: dict(zip(numbers, study.summary[arm]["test"]["top1"]["values"])) for arm in skills}
    if compared:
        found = compare_arms(outcomes, "base", margin=0.005)
        comparisons = {arm: {"test": comparison.to_json()} for arm, comparison in found.items()}
        study = study.model_copy(update={"comparisons": comparisons})
    write_study(folder, study)
    return study


def make_ensemble(
    folder: Path, skills: Sequence[float] = (3.0, 2.5, 3.5, 2.8), *, classes: list[str] = CLASSES, **options: Any
) -> EnsembleRecord:
    """An ensemble of runs that lie beside it, in `members`."""
    places = [folder.parent / f"{folder.name} members" / f"seed-{seed}" for seed in range(1, len(skills) + 1)]
    for seed, (place, skill) in enumerate(zip(places, skills), 1):
        make_run(place, seed, skill, classes=classes)
    return build([read_finished(place) for place in places], folder, **options)
