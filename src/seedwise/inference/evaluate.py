"""Scores a finished run or an ensemble again: on its own data, or on any whose classes it knows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from seedwise.base.errors import UserError
from seedwise.config.section import load
from seedwise.data.config import DataConfig
from seedwise.data.dataset import Dataset, Subset
from seedwise.data.find import find_source
from seedwise.data.labels import as_in_train
from seedwise.data.open import open_data
from seedwise.data.selection import NOTHING_JOINED, unscored
from seedwise.data.source import Progress
from seedwise.data.unused import unused
from seedwise.engine.evaluate import Predictions, score
from seedwise.ensembles.model import Ensemble
from seedwise.ensembles.votes import combine, log_probabilities
from seedwise.recipe.schema import Recipe
from seedwise.recipe.tta_config import TtaConfig
from seedwise.records.evaluations import ClassScore, Evaluation, TtaGain
from seedwise.records.predictions import read_originals
from seedwise.run import resolve
from seedwise.run.deferred_scoring import Kind, logits_of
from seedwise.run.run import Run
from seedwise.stats import mcnemar
from seedwise.stats.proportion import wilson

Split = Literal["val", "test", "all"]
READING = (
    *("class_level", "image_column", "label_column", "split_column", "image_folder", "image_suffix"),
    *("join_spellings", "min_per_class", "pixel_range", "test", "download"),
)
"""Options of the data that say how other data are read."""


@dataclass(frozen=True)
class ScoredImages:
    """Images to score. `own`: they are of the data of the training, so `subset` is one of its splits."""

    dataset: Dataset
    subset: Subset
    split: Split
    own: bool


def evaluate(
    run: Run | Ensemble,
    data: str | None = None,
    *,
    data_dir: Path | None = None,
    split: Split | None = None,
    weights: Kind = "raw",
    tta: str | None = None,
    progress: Progress = lambda label, done, total: None,
    on_data: Callable[[list[str]], None] = lambda lines: None,
    settings: Sequence[str] = (),
    device: str | None = None,
) -> Evaluation:
    """Score a run's weights, or an ensemble's vote, on a split of its own data, or on data with classes of those names.

    `data`: as for training; by default the run's own. `split`: by default test where there is one; of other data
    without parts, all images. `tta`: one of tta_config.SHORTHANDS, for test-time augmentation. `on_data` gets the first
    lines of other data, before they are scored. `settings`: how other data are read, such as `data.class_level=2`;
    else as the run's own. `device`: by default the run's own, or what there is. Raises UserError.
    """
    views = None if tta is None else TtaConfig.named(tta)
    voters = run.members if isinstance(run, Ensemble) else [run]
    images = find_images(voters[0], data, data_dir, split, progress, views, settings)
    targets, missing = match_classes(run.classes, images, join=_joins(voters[0], settings))
    subset = replace(images.subset, targets=targets)
    if not images.own:
        on_data(images.dataset.lines())
    known = _trained_on(run, subset)
    predictions = _answers(run, subset, f"scoring {images.split}", weights, progress, views, device)
    scores = score(predictions)
    agrees, largest = (None, None) if tta else _compare(run, images, weights, predictions)
    gain = None
    if tta:
        plain = _stored(run, images, weights, predictions)
        gain = _gain(
            plain or _answers(run, subset, f"scoring {images.split} without it", weights, progress, None, device),
            predictions,
        )
    return Evaluation(
        data=str(images.dataset.path or images.dataset.name),
        fingerprint=images.dataset.fingerprint,
        own=images.own,
        split=images.split,
        weights=weights,
        tta=tta,
        images=len(subset),
        scores=scores,
        top1_interval=wilson(round(scores.top1 * len(subset)), len(subset)),
        agrees=agrees,
        largest_difference=largest,
        gain=gain,
        trained=None if known is None else int(known.sum()),
        new_top1=float(predictions.correct()[~known].mean())
        if known is not None and known.any() and not known.all()
        else None,
        missing=missing,
        classes=_by_class(run.classes, predictions),
    )


def moves(run: Run | Ensemble, precision: str | None = None) -> list[str]:
    """A line for each device that a run or an ensemble's members were trained on and that is not here."""
    computes = (each.recipe.compute for each in (run.members if isinstance(run, Ensemble) else [run]))
    said = (resolve.said_of_move(compute, precision) for compute in computes)
    return [*dict.fromkeys(line for line in said if line is not None)]


def find_images(
    run: Run,
    data: str | None,
    data_dir: Path | None,
    split: Split | None,
    progress: Progress,
    tta: TtaConfig | None = None,
    settings: Sequence[str] = (),
) -> ScoredImages:
    """Find the images of a split: of the run's own data, recognized by their fingerprint, or of other data."""
    asked = read_options(settings)
    if asked and data is None:
        raise UserError(f"-s {settings[0]}: says how other data are read: give them with --data, or drop it")
    record, config = run.record.data, run.recipe.data
    sides = (
        resolve.storage_resolution(run.recipe) if tta is None else resolve.storage_resolution_for_tta(run.recipe, tta)
    )
    own_dir = data_dir or (Path(record.data_dir) if record.data_dir else None)
    if data is not None:
        other = _other_config(run, data, data_dir, asked)
        read = partial(
            open_data, data, data_dir=data_dir, short_side=sides["short_side"], progress=progress, least_classes=1
        )
        dataset = read(other)
        if dataset.pixel_range not in (None, record.pixel_range, asked.get("pixel_range")):
            raise UserError(
                f"{data}: has images of more than 8 bits a channel, and {run.folder} was trained on images of 8 bits: "
                "convert them to 8 bits, or say what is black and what is white with -s data.pixel_range=[0,65535]"
            )
        if dataset.fingerprint != record.fingerprint:
            return _of_other(read, dataset, data, split, other)
        config = config.model_copy(update={"factory": None} | {name: asked[name] for name in asked if name != "test"})
        own_dir = data_dir
    dataset = open_data(data or record.source, config, data_dir=own_dir, progress=progress, **sides)
    if dataset.fingerprint != record.fingerprint:
        raise UserError(
            f"{record.source}: is not the data that {run.folder} was trained on (it changed since); "
            f"give it as --data {record.source} to score it as other data"
        )
    chosen = split or ("test" if dataset.test is not None else "val")
    subset = {"val": dataset.val, "test": dataset.test, "all": dataset.train}[chosen]
    if subset is None:
        raise UserError(f"{run.folder}: was trained without {chosen} images; choose another --split, or give --data")
    return ScoredImages(dataset, subset, chosen, own=True)


def read_options(settings: Sequence[str]) -> dict[str, Any]:
    """Parse overrides such as `data.class_level=2` to options of the data and values; a UserError for any other."""
    config, asked = load(Recipe, "{}", overrides=settings).data, {}
    for word in settings:
        section, _, name = word.partition("=")[0].strip().partition(".")
        if section != "data" or name not in READING:
            raise UserError(f"-s {word}: evaluate takes only how data are read: data.{', data.'.join(READING)}")
        asked[name] = getattr(config, name)
    if asked.get("test", "none") != "none":
        raise UserError(f"-s data.test={asked['test']}: no test images are drawn from other data: give data.test=none")
    return asked


def _joins(run: Run, settings: Sequence[str]) -> bool:
    return bool(read_options(settings).get("join_spellings", run.recipe.data.join_spellings))


def _other_config(run: Run, data: str, data_dir: Path | None, asked: dict[str, Any]) -> DataConfig:
    """Configuration for other data: the run's own, where that applies to them, with the options asked for."""
    record, config = run.record.data, run.recipe.data
    names = [name for name in READING if name not in ("test", "min_per_class", "pixel_range")]
    names += ["min_per_class"] if str(Path(data).resolve()) == record.source else []
    options = {name: getattr(config, name) for name in names} | {"pixel_range": record.pixel_range}
    other = DataConfig(val=0, test="none" if config.test == "none" else 0, **options)
    inert = unused(find_source(data, data_dir, other), other)
    return other.model_copy(update=dict.fromkeys(inert) | asked)


def _of_other(
    read: Callable[[DataConfig], Dataset], dataset: Dataset, data: str, split: Split | None, config: DataConfig
) -> ScoredImages:
    spurious = [*unscored(dataset, config), NOTHING_JOINED]  # these speak of what is trained on
    doubts = tuple(doubt for doubt in dataset.survey.doubts if doubt not in spurious)
    dataset = replace(dataset, survey=replace(dataset.survey, doubts=doubts))
    if split == "val":  # a part of its own is passed over at val=0; nothing is ever held out of other data
        dataset = read(config.model_copy(update={"val": 1}))
        if dataset.val is not None and dataset.val.images is not dataset.train.images:
            return ScoredImages(dataset, dataset.val, "val", own=False)
        raise UserError(f"{data}: has no validation part; leave --split out to score all its images")
    if dataset.test is not None:
        return ScoredImages(dataset, dataset.test, "test", own=False)
    if split == "test":
        raise UserError(f"{data}: has no test part; leave --split out to score all its images")
    return ScoredImages(dataset, dataset.train, "all", own=False)


def match_classes(
    classes: list[str], images: ScoredImages, *, join: bool = False
) -> tuple[NDArray[np.int64], list[str]]:
    """Targets int64[m] in the run's class indices, matched by name (in any spelling with `join`); and the run's classes
    without images. A UserError for a class that the run doesn't know."""
    number = {name: index for index, name in enumerate(classes)}
    if join:
        number |= {name: number[to] for name, to in as_in_train(classes, images.dataset.classes).items()}
    present = np.unique(images.subset.targets)
    unknown = [images.dataset.classes[index] for index in present if images.dataset.classes[index] not in number]
    if unknown:
        named = ", ".join(f"'{name}'" for name in unknown[:10]) + (", …" if len(unknown) > 10 else "")
        raise UserError(
            f"{images.dataset.path or images.dataset.name}: {len(unknown)} of its {len(present)} classes are not the "
            f"run's ({named}); rename or remove them"
        )
    renumbered = np.array([number.get(name, -1) for name in images.dataset.classes], np.int64)
    targets = renumbered[images.subset.targets]
    seen = set(targets.tolist())
    return targets, [name for index, name in enumerate(classes) if index not in seen]


def _trained_on(run: Run | Ensemble, subset: Subset) -> NDArray[np.bool_] | None:
    """bool[m]: whether each image was trained on by the run or a member; None where unknown."""
    trained, own = read_originals(run.folder, run.record).get("train"), subset.originals
    return None if trained is None or own is None else np.isin(own, trained)


def _answers(
    run: Run | Ensemble,
    subset: Subset,
    label: str,
    weights: Kind,
    progress: Progress,
    views: TtaConfig | None,
    device: str | None,
) -> Predictions:
    """Predictions of a run, or of the vote of an ensemble's members."""
    voters, predictions = run.members if isinstance(run, Ensemble) else [run], []
    for number, voter in enumerate(voters, 1):
        said = label + (f", member {number} of {len(voters)}" if len(voters) > 1 else "")
        told = lambda *done, said=said: progress(said, *done)  # noqa: E731
        predictions.append(logits_of(voter, subset, weights, told, views, device))
    return _vote(run, predictions) if isinstance(run, Ensemble) else predictions[0]


def _gain(plain: Predictions, averaged: Predictions) -> TtaGain:
    """Images that test-time augmentation won and lost."""
    found = mcnemar(averaged.correct(), plain.correct())
    return TtaGain(without=score(plain).top1, won=found.only_arm, lost=found.only_base, ci95=found.ci95, p=found.p)


def _vote(ensemble: Ensemble, predictions: list[Predictions]) -> Predictions:
    """Combine the members' predictions, as the ensemble's stored ones were."""
    voting = [member for member in ensemble.record.members if member.weight]
    weights = [member.picks if ensemble.record.vote == "hard" else member.weight for member in voting]
    log_p = np.stack([log_probabilities(it.logits) for it in predictions])
    return replace(predictions[0], logits=combine(log_p, weights, ensemble.record.vote).astype(np.float32))


def _compare(
    run: Run | Ensemble, images: ScoredImages, weights: Kind, predictions: Predictions
) -> tuple[bool, float] | tuple[None, None]:
    """Whether the stored logits are equal, and their largest absolute difference."""
    if not images.own or images.split == "all":
        return None, None
    stored = _stored(run, images, weights, predictions)
    if stored is None:
        return False, float("inf")
    largest = float(np.abs(stored.logits - predictions.logits).max(initial=0))
    return np.array_equal(stored.logits, predictions.logits), largest


def _stored(run: Run | Ensemble, images: ScoredImages, weights: Kind, predictions: Predictions) -> Predictions | None:
    """Predictions that the training stored on these very images; None without any."""
    if not images.own or images.split == "all":
        return None
    stored = run.predictions(images.split if weights == "raw" else f"{images.split}_ema")
    same = np.array_equal(stored.ids, predictions.ids) and np.array_equal(stored.targets, predictions.targets)
    return stored if same else None


def _by_class(classes: list[str], predictions: Predictions) -> list[ClassScore]:
    counts = np.bincount(predictions.targets, minlength=len(classes))
    right = predictions.targets[predictions.correct()]
    correct = np.bincount(right, minlength=len(classes))
    found = [
        ClassScore(name=name, images=int(count), top1=float(hit / count))
        for name, count, hit in zip(classes, counts, correct, strict=True)
        if count
    ]
    return sorted(found, key=lambda each: each.top1)
