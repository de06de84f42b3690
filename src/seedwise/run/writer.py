"""Writes a run folder's files as the run goes on; with several processes only the first one writes."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray
from torch import Tensor

from seedwise.base import devices, machine
from seedwise.base.errors import Interrupted, UserError, in_words
from seedwise.base.files import sha256_of, write_error, write_json, write_text
from seedwise.config.section import dump
from seedwise.data.dataset import Dataset
from seedwise.data.find import KNOWN_NAMES
from seedwise.engine import checkpoint
from seedwise.engine.protocols import Observer
from seedwise.models.build import BuiltModel
from seedwise.models.checkpoint import EMA_FILE
from seedwise.recipe.inert import inert
from seedwise.recipe.progressive import PlannedStage, stage_rows
from seedwise.recipe.schema import Recipe
from seedwise.records.predictions import Originals, Predictions, score, write_arrays, write_predictions
from seedwise.records.run import (
    INSIGHT,
    MODEL_CONFIG,
    PREDICTIONS,
    RECIPE,
    RECORD,
    WEIGHTS,
    DataRecord,
    EmaRecord,
    EpochRow,
    Final,
    ModelRecord,
    PartRecord,
    PassedOverRecord,
    RunRecord,
    Scores,
    Status,
    TtaRecord,
    read_record,
    write_record,
)
from seedwise.run.convergence import convergence_of

METRICS = "metrics.jsonl"

log = logging.getLogger("seedwise")


@dataclass(frozen=True)
class Averaged:
    """The averaged weights at the end of a run, with their predictions."""

    kind: Literal["ema", "swa"]
    weights: dict[str, Tensor]
    scored: Mapping[str, Predictions]
    """Predictions by split: val and test where they exist."""
    distance: float
    """L2 distance to the selected raw weights, relative to their norm."""


@dataclass(frozen=True)
class Outcome:
    """Everything that a finished run writes; times are wall seconds."""

    rows: list[EpochRow]
    selected_epoch: int
    scored: Mapping[str, Predictions]
    """Predictions by split: train (a fixed sample), val and test where they exist."""
    effects: dict[str, dict[str, float]]
    """Measured effects by technique."""
    weights: dict[str, Tensor]
    originals: Mapping[str, Originals | None]
    """By split, train too: uint64[n] hashes of its original images."""
    averaged: Averaged | None
    tta: Mapping[str, Predictions]
    """Predictions with test-time augmentation, by split; empty without it."""
    warm_start_seconds: float | None
    model_config: dict[str, Any]
    """config.json, for timm."""
    lag: float | None
    """As in the record's Convergence."""
    insight: Mapping[str, NDArray[Any]]
    """Arrays of insight.npz, images for the report; empty with train.insight off."""
    data_seconds: float
    evaluate_seconds: float


class RunWriter(Observer):
    """An observer of the training loop that writes the run folder, and calls the user's own observer."""

    def __init__(self, folder: Path, recipe: Recipe, record: RunRecord, inner: Observer, *, writes: bool) -> None:
        self._folder, self._recipe, self._record = folder, recipe, record
        self._inner, self._writes = inner, writes
        self.kernels: Callable[[], dict[str, str]] = dict
        self.plan: Sequence[PlannedStage] = ()

    def begin(self) -> None:
        """Write the recipe and the first record."""
        record = self._record
        if self._writes:
            write_text(self._folder / RECIPE, dump(self._recipe, "Resolved: every automatic choice is written out."))
            record.files = {RECIPE: sha256_of(self._folder / RECIPE)}
            write_record(self._folder, record)
        log.info("data %s, %s", record.data.name, record.data.splits)
        for each in record.data.passed_over:
            log.info("passed over: %d %s (%s): %s", each.count, each.kind, each.reason, ", ".join(each.examples))
        for doubt in record.data.doubts:
            log.warning("doubt: %s", doubt)
        log.info("model %s, %d parameters, %s", record.model.architecture, record.parameters, record.model.weights)

    def on_data(self, lines: Sequence[str]) -> None:
        """Pass on."""
        self._inner.on_data(lines)

    def on_start(self, epochs: int, steps_per_epoch: int, steps_done: int) -> None:
        """Pass on."""
        self._inner.on_start(epochs, steps_per_epoch, steps_done)

    def on_phase(self, name: str, done: int, total: int) -> None:
        """Pass on."""
        self._inner.on_phase(name, done, total)

    def on_step(self, epoch: int, step: int, loss: float, top1: float, images_per_second: float) -> None:
        """Write the kernels that a stopwatch chose before a checkpoint rests on them; a rule chooses the same again."""
        if self._writes and self._recipe.compute.kernels == "tuned" and self._record.kernels != self.kernels():
            self._record.kernels = self.kernels()
            write_record(self._folder, self._record)
        self._inner.on_step(epoch, step, loss, top1, images_per_second)

    def on_epoch(self, row: EpochRow, rows: Sequence[EpochRow]) -> None:
        """Write the epochs so far."""
        self._record.epochs, self._record.kernels = list(rows), self.kernels()
        self._record.stages = stage_rows(self.plan, rows)
        if self._writes:
            self._write_metrics(rows)
            write_record(self._folder, self._record)
        log.info("epoch %s", row.model_dump_json())
        self._inner.on_epoch(row, rows)

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Record how the block ends, so that no record goes on saying `running`; train.log says why.

        What was asked for (Ctrl-C, an exit, a cancelled task) is an interruption, all else a failure.
        """
        try:
            yield
        except BaseException as error:
            stopped = isinstance(error, Interrupted) or not isinstance(error, Exception)
            self._leave("interrupted" if stopped else "failed", error)
            raise

    def _leave(self, status: Status, error: BaseException) -> None:
        """Record how the run ended, even if a full disk keeps the record from being written."""
        foreseen = isinstance(error, UserError | Interrupted | KeyboardInterrupt)
        level = logging.ERROR if status == "failed" else logging.INFO
        log.log(level, "%s: %s", status, in_words(error), exc_info=None if foreseen else error)
        with contextlib.suppress(UserError):
            # Not a run that never began, nor one that was stopped when all was written.
            if self._writes and (self._folder / RECORD).exists() and read_record(self._folder).status != "finished":
                self._record.status = status
                write_record(self._folder, self._record)

    def finish(self, outcome: Outcome) -> None:
        """Write predictions, weights and metrics; only then mark the run finished and remove its checkpoint."""
        if not self._writes:
            return
        folder, record = self._folder, self._record
        averaged = outcome.averaged
        also = {f"{name}_ema": it for name, it in averaged.scored.items()} if averaged is not None else {}
        also |= {f"{name}_tta": it for name, it in outcome.tta.items()}
        kept = {name: it for name, it in outcome.scored.items() if name != "train"}
        write_predictions(folder / PREDICTIONS, {**kept, **also}, outcome.originals)
        if outcome.insight:
            write_arrays(folder / INSIGHT, outcome.insight)
        write_json(folder / MODEL_CONFIG, outcome.model_config)
        checkpoint.write_tensors(folder / WEIGHTS, outcome.weights, {"format": "pt"})
        if averaged is not None:
            checkpoint.write_tensors(folder / EMA_FILE, averaged.weights, {"format": "pt"})
            record.ema = EmaRecord(**_held_out(averaged.scored), distance=averaged.distance, kind=averaged.kind)
        if self._recipe.tta is not None:
            record.tta = TtaRecord(**_held_out(outcome.tta), views=len(self._recipe.tta.views))
        self._write_metrics(outcome.rows)
        record.epochs, record.stages = outcome.rows, stage_rows(self.plan, outcome.rows)
        record.final = Final(**{name: score(it) if it else None for name, it in _by_split(outcome.scored).items()})
        record.convergence = convergence_of(outcome.rows, record.final, record.data.splits["val"], outcome.lag)
        record.seconds = _seconds(outcome)
        record.images_per_second = len(outcome.rows) * record.data.splits["train"] / record.seconds["train"]
        record.selected_epoch = outcome.selected_epoch
        record.epochs_to_95 = _epochs_to_95(outcome.rows)
        record.test_evaluations = sum(name in {**outcome.scored, **also} for name in ("test", "test_ema", "test_tta"))
        record.techniques = outcome.effects
        record.inert = inert(self._recipe, outcome.effects)
        names = [RECIPE, METRICS, PREDICTIONS, MODEL_CONFIG, WEIGHTS]
        names += [EMA_FILE] * (averaged is not None) + [INSIGHT] * bool(outcome.insight)
        record.files = {name: sha256_of(folder / name) for name in names}
        record.status = "finished"
        write_record(folder, record)
        checkpoint.clear(folder)
        log.info("finished: %s", record.final)

    def _write_metrics(self, rows: Sequence[EpochRow]) -> None:
        write_text(self._folder / METRICS, "".join(row.model_dump_json() + "\n" for row in rows))


def new_record(recipe: Recipe, seed: int, data: str, dataset: Dataset, built: BuiltModel) -> RunRecord:
    """The record of a run that is about to train."""
    named = data in KNOWN_NAMES
    return RunRecord(
        status="running",
        recipe=recipe.name,
        seed=seed,
        data=DataRecord(
            name=dataset.name,
            source=data if named else str(dataset.path),
            data_dir=str(dataset.path) if named and dataset.path is not None else None,
            fingerprint=dataset.fingerprint,
            originals=dataset.originals,
            classes=list(dataset.classes),
            superclasses=None if dataset.superclasses is None else list(dataset.superclasses),
            superclass_of=None if dataset.superclass_of is None else dataset.superclass_of.tolist(),
            splits=dataset.splits,
            parts={
                part: PartRecord(images=count, given=part in dataset.given)
                for part, count in dataset.splits.items()
                if count
            },
            passed_over=[PassedOverRecord(**asdict(each)) for each in dataset.survey.passed_over],
            doubts=list(dataset.survey.doubts),
            pixel_range=dataset.pixel_range,
            storage=dataset.storage,
        ),
        model=ModelRecord(
            name=recipe.model.name,
            architecture=built.architecture,
            weights=built.weights,
            mean=built.mean,
            std=built.std,
        ),
        parameters=sum(p.numel() for p in built.module.parameters() if p.requires_grad),
        machine=machine.facts() | devices.facts(recipe.compute.device),
        versions=machine.versions(),
    )


def _held_out(scored: Mapping[str, Predictions]) -> dict[str, Scores | None]:
    return {name: score(scored[name]) if name in scored else None for name in ("val", "test")}


def _by_split(scored: Mapping[str, Predictions]) -> dict[str, Predictions | None]:
    return {name: scored.get(name) for name in ("train", "val", "test")}


def _seconds(outcome: Outcome) -> dict[str, float]:
    phases = {
        "data": outcome.data_seconds,
        **({} if outcome.warm_start_seconds is None else {"warm_start": outcome.warm_start_seconds}),
        "train": sum(row.seconds for row in outcome.rows),
        "evaluate": outcome.evaluate_seconds,
    }
    return phases | {"total": sum(phases.values())}


def _epochs_to_95(rows: Sequence[EpochRow]) -> int | None:
    tops = [row.val.top1 for row in rows if row.val is not None]
    return next((i for i, top1 in enumerate(tops, 1) if top1 >= 0.95 * max(tops)), None)


@contextlib.contextmanager
def logging_to(path: Path) -> Iterator[None]:
    """Append the program's log to the run's train.log during the block; a UserError where it can't be written."""
    try:
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        raise write_error(path, error) from error
    handler.handleError = lambda record: None  # type: ignore[method-assign]  # a full disk stops the run, not its log
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        with contextlib.suppress(OSError):  # what is left of a log on a full disk must not hide what the disk refused
            handler.close()
