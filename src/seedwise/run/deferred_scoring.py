"""Scores the test images of a finished run that has not read them (train.score_test=false), once."""

from dataclasses import replace
from pathlib import Path

from seedwise.augment.pipeline import Augmenter
from seedwise.base.errors import UserError
from seedwise.base.files import sha256_of, sole_writer
from seedwise.data.source import Progress
from seedwise.engine.evaluate import predict, score
from seedwise.engine.placement import Placement, computing_threads
from seedwise.kernels.swap import accelerate
from seedwise.records.predictions import read_originals, read_predictions, write_predictions
from seedwise.records.run import PREDICTIONS, RunRecord, demand_final, write_record
from seedwise.run.data import open_for
from seedwise.run.run import Run


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
        models = {"test": run.model} | ({"test_ema": run.ema_model} if record.ema is not None else {})
        # in the file's order, for the same bytes; a call that was killed may have added the models' own
        kept = {split: it for split, it in read_predictions(folder, record).items() if split not in models}
        compute, size = run.recipe.compute, run.recipe.train.image_size
        placement = Placement.of(compute)
        augment = Augmenter(
            run.recipe.augment,
            seed=record.seed,
            rows=dataset.test.rows_in_part,
            mean=record.model.mean,
            std=record.model.std,
            device=placement.device,
        )
        for name, module in models.items():
            model = placement.module(module)
            accelerate(model, compute.kernels, record.kernels)
            with computing_threads(int(compute.threads)):
                kept[name] = predict(model, dataset.test, augment, size=size, placement=placement)
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
