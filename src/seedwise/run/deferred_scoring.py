"""Predicts with finished runs as their training did, and scores test images that a run left unread, once."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from seedwise.augment.pipeline import Augmenter
from seedwise.base.errors import UserError
from seedwise.base.files import sha256_of, sole_writer
from seedwise.data.dataset import Subset
from seedwise.data.source import Progress
from seedwise.engine.evaluate import Predictions, predict, score
from seedwise.engine.placement import Placement, computing
from seedwise.engine.tta import predict_tta
from seedwise.kernels.swap import accelerate
from seedwise.recipe.tta_config import TtaConfig
from seedwise.records.predictions import read_originals, read_predictions, write_predictions
from seedwise.records.run import PREDICTIONS, RunRecord, demand_final, write_record
from seedwise.run import resolve
from seedwise.run.data import open_for
from seedwise.run.run import Run

Kind = Literal["raw", "ema"]

log = logging.getLogger("seedwise")


def score_test(folder: Path, *, data_dir: Path | None = None, progress: Progress | None = None) -> RunRecord:
    """Score a run on its test images as its training would have, and add the scores to its folder, once.

    A kill at any moment leaves a whole run, and the next call completes it. A UserError where data or files changed.
    """
    with sole_writer(folder):
        run = Run(folder)
        record, final = run.record, demand_final(folder, run.record)
        if final.test is not None or not record.data.splits["test"]:
            return record
        found_in = data_dir or (Path(record.data.data_dir) if record.data.data_dir else None)
        dataset = open_for(run.recipe, record.data.source, data_dir=found_in, progress=progress)
        if dataset.fingerprint != record.data.fingerprint or dataset.test is None:
            raise UserError(f"{record.data.source}: is not the data that {folder} was trained on; put that back")
        if (said := resolve.said_of_move(run.recipe.compute)) is not None:
            log.warning("%s: %s", folder, said)
        models: dict[str, Kind] = {"test": "raw"}
        if record.ema is not None:
            models["test_ema"] = "ema"
        # in the file's order, for the same bytes; a call that was killed may have added the models' own
        kept = {split: it for split, it in read_predictions(folder, record).items() if split not in models}
        for name, weights in models.items():
            kept[name] = logits_of(run, dataset.test, weights)
        kept["test"] = replace(kept["test"], files=dataset.test.files)
        originals = read_originals(folder, record) | {"test": dataset.test.originals}
        digest = record.files.pop(PREDICTIONS, None)
        if digest is not None:  # until the new file's stands there
            write_record(folder, record)
        write_predictions(folder / PREDICTIONS, kept, originals)
        final.test = score(kept["test"])
        if record.ema is not None:
            record.ema.test = score(kept["test_ema"])
        record.test_evaluations += len(models)
        record.files[PREDICTIONS] = sha256_of(folder / PREDICTIONS)
        write_record(folder, record)
        return record


def logits_of(
    run: Run,
    subset: Subset,
    weights: Kind,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    tta: TtaConfig | None = None,
    device: str | None = None,
) -> Predictions:
    """Predict as the training did after its last epoch: same preprocessing, kernels and precision.

    On its device where that is here and `device` names no other; else as `resolve.at_hand`.
    """
    compute = resolve.at_hand(run.recipe.compute, device)
    placement = Placement.of(compute)
    model = placement.module(run.model if weights == "raw" else run.ema_model)
    accelerate(model, compute.kernels, run.record.kernels)
    augment = Augmenter(
        run.recipe.augment,
        seed=run.record.seed,
        rows=subset.rows_in_part,
        mean=run.record.model.mean,
        std=run.record.model.std,
        device=placement.device,
    )
    with computing(compute, f"an evaluation of {run.folder}"):
        size = run.recipe.train.evaluation_size
        if tta is not None:
            return predict_tta(model, subset, augment, tta, size=size, placement=placement, on_progress=on_progress)
        return predict(model, subset, augment, size=size, placement=placement, on_progress=on_progress)
