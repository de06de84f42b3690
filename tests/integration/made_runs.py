"""Run and study folders made from given logits, without any training: for what works on stored answers."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seedwise.base.files import sha256_of, write_bytes, write_text
from seedwise.config.options import plain
from seedwise.config.section import dump
from seedwise.recipe.schema import Recipe
from seedwise.records.predictions import Predictions, score, write_predictions
from seedwise.records.run import (
    PREDICTIONS,
    RECIPE,
    WEIGHTS,
    DataRecord,
    EmaRecord,
    EpochRow,
    Final,
    ModelRecord,
    RunRecord,
    Scores,
    Status,
    write_record,
)
from seedwise.study.progress import trial_folder
from seedwise.study.record import StudyRecord, Trial, write_study

CLASSES = ["bear", "cod", "rose", "trout"]
SUPERCLASSES, SUPERCLASS_OF = ["fish", "mammal", "plant"], [1, 0, 2, 0]


def answers_for(targets: ArrayLike, right: ArrayLike, classes: int = 4) -> NDArray[np.float32]:
    """Logits that are right exactly where `right` says so; elsewhere they name the next class."""
    labels = np.asarray(targets)
    named = np.where(np.asarray(right, dtype=bool), labels, (labels + 1) % classes)
    return np.asarray(3.0 * (named[:, None] == np.arange(classes)), np.float32)


def make_run(
    folder: Path,
    targets: ArrayLike,
    logits: Mapping[str, ArrayLike],
    *,
    seed: int = 0,
    recipe: Recipe | None = None,
    train_top1: float = 0.9,
    seconds: float = 10.0,
    status: Status = "finished",
    fingerprint: str = "f" * 64,
    classes: list[str] | None = None,
    ids: Mapping[str, ArrayLike] | None = None,
    curve: Sequence[float] = (),
    steps: int = 100,
    files: Mapping[str, ArrayLike] | None = None,
) -> Path:
    """A run's folder that answered `logits` (split -> float[n, k]; val, test and oob, and `val_ema` and `test_ema` for
    an average of its weights) for images of these classes.

    `targets`: int[n], the same for every split, unless it is a mapping too. `ids`: by split, 0, 1, … if not given.
    `curve`: validation top-1 after each epoch, of so many `steps`.
    `files`: by split, what the images are called, as runs of today keep it.
    """
    folder.mkdir(parents=True)
    stored = {split: _stored(split, given, targets, ids or {}, files or {}) for split, given in logits.items()}
    recipe = recipe or Recipe()
    write_text(folder / RECIPE, dump(recipe))
    write_bytes(folder / WEIGHTS, f"weights of {folder}".encode())
    write_predictions(folder / PREDICTIONS, stored)
    scores = {split: score(it) for split, it in stored.items()}
    final = Final(train=Scores(top1=train_top1, top5=1, loss=0.1), val=scores.get("val"), test=scores.get("test"))
    record = RunRecord(
        status=status,
        recipe=recipe.name,
        seed=seed,
        data=DataRecord(
            name="made",
            source=f"/made/{fingerprint[:4]}",
            fingerprint=fingerprint,
            classes=classes or CLASSES,
            superclasses=None if classes else SUPERCLASSES,
            superclass_of=None if classes else SUPERCLASS_OF,
            splits={"train": 100}
            | {split: len(stored[split].ids) if split in stored else 0 for split in ("val", "test")},
        ),
        model=ModelRecord(name="small", architecture="seedwise:small", weights="none", mean=(0,) * 3, std=(1,) * 3),
        parameters=1000,
        machine={"cpu": "a machine", "cores": 2},
        versions={},
        seconds={"train": seconds, "total": seconds + 1},
        images_per_second=100.0,
        epochs=[_epoch(number, top1, steps) for number, top1 in enumerate(curve, 1)],
        final=final,
        ema=EmaRecord(val=scores["val_ema"], test=scores["test_ema"], distance=0.1) if "test_ema" in scores else None,
        test_evaluations=int("test" in stored),
        files={name: sha256_of(folder / name) for name in (RECIPE, WEIGHTS, PREDICTIONS)},
    )
    write_record(folder, record)
    return folder


def _stored(
    split: str, logits: ArrayLike, targets: ArrayLike, ids: Mapping[str, ArrayLike], files: Mapping[str, ArrayLike]
) -> Predictions:
    labels = np.asarray(targets[split] if isinstance(targets, Mapping) else targets, dtype=np.int64)
    numbers = np.asarray(ids.get(split, np.arange(len(labels))), dtype=np.int64)
    names = np.array(files[split]) if split in files else None
    return Predictions(numbers, labels, np.asarray(logits, dtype=np.float32), names)


def _epoch(number: int, top1: float, steps: int) -> EpochRow:
    return EpochRow(
        epoch=number,
        steps=number * steps,
        lr=0.1,
        image_size=32,
        train_loss=1.0,
        train_top1_mixed=0.5,
        val=Scores(top1=top1, top5=1, loss=1),
        seconds=1.0,
        images_per_second=100.0,
    )


def make_study(
    folder: Path, targets: ArrayLike, arms: Mapping[str, Mapping[int, Mapping[str, ArrayLike]]], **options: object
) -> Path:
    """A study's folder: arm -> seed -> split -> logits."""
    for arm, by_seed in arms.items():
        for seed, logits in by_seed.items():
            make_run(folder / trial_folder(arm, seed), targets, logits, seed=seed, **options)  # type: ignore[arg-type]
    seeds = list(dict.fromkeys(seed for by_seed in arms.values() for seed in by_seed))
    trials = [
        Trial(arm=arm, seed=seed, folder=trial_folder(arm, seed).as_posix(), status="finished")
        for arm, by_seed in arms.items()
        for seed in by_seed
    ]
    recipes = {arm: plain(Recipe()) for arm in arms}
    write_study(
        folder, StudyRecord(data="digits", data_dir=None, master_seed=0, seeds=seeds, arms=recipes, trials=trials)
    )
    return folder
