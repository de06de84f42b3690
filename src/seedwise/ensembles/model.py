"""An ensemble as an object, with the methods of a run."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seedwise.base.errors import UserError
from seedwise.base.notebook import html_table
from seedwise.ensembles.votes import combine
from seedwise.records.ensemble import EnsembleRecord
from seedwise.records.finished import Finished, is_ensemble, read_ensemble
from seedwise.records.predictions import Predictions
from seedwise.records.run import RECORD, score_rows
from seedwise.run.image_predictions import read_image_predictions
from seedwise.stats import Scale

if TYPE_CHECKING:  # these import torch, which reading what an ensemble came to doesn't need
    from seedwise.run.inputs import Given
    from seedwise.run.run import Run


class Ensemble:
    """The folder of an ensemble. `record` is read at once and checked; the members when they are first needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.record: EnsembleRecord = read_ensemble(folder)

    @property
    def classes(self) -> list[str]:
        """Class names by class index."""
        return self.record.data.classes

    @cached_property
    def members(self) -> "list[Run]":
        """The runs that vote, in the record's order; a UserError when one is gone or was trained anew."""
        from seedwise.run.run import Run

        runs = []
        for member in self.record.members:
            if not member.weight:
                continue
            place = self.folder / member.folder
            if not (place / RECORD).is_file():
                raise UserError(
                    f"{place}: this member of {self.folder} is gone; put it back, or make the ensemble anew without it"
                )
            run = Run(place)
            if any(run.record.files.get(name) != digest for name, digest in member.files.items()):
                raise UserError(f"{place}: is another run than the one that {self.folder} was made of; make it anew")
            runs.append(run)
        return runs

    def logits(self, split: str = "test") -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Stored ids int64[m], targets int64[m], and log probabilities float32[m, k] of the vote on `val` or `test`."""
        stored = self.predictions(split)
        return stored.ids, stored.targets, stored.logits

    def predictions(self, split: str = "test") -> Predictions:
        """The vote's stored predictions on `val` or `test`, as `Run.predictions`."""
        return Finished(self.folder, self.record).predictions(split)

    def table(self, split: str = "test") -> list[dict[str, Any]]:
        """A row for each image of `val` or `test`, as `Run.table`."""
        return read_image_predictions(Finished(self.folder, self.record), split).table()

    def to_dict(self) -> dict[str, Any]:
        """The content of record.json."""
        return self.record.to_dict()

    def _repr_html_(self) -> str:
        held = self.record.test or self.record.val
        rows: list[dict[str, Any]] = []
        if held is not None:
            scores = {f"{self.record.vote} vote": held.scores, "mean of members": held.mean_of_members}
            rows = score_rows(scores | {"best member (by val)": held.best_member}, of="network")
        lines = []
        if held is not None:
            said = Scale().difference(held.gain_over_mean.mean, held.gain_over_mean.ci95)
            lines = [f"gain over the mean of members: {said}"]
        split = "test" if self.record.test is not None else "val"
        return html_table(rows, f"{self.folder}: {self.record.networks} networks, {split} images", lines)

    def predict(self, images: "Given", *, device: str | None = None) -> NDArray[np.float32]:
        """Class probabilities float32[n, k] of images by the members' vote, as `Run.predict` for a single run.

        Each image is read once, and no more than a batch of them is held.
        """
        from seedwise.run.inputs import batches
        from seedwise.run.run import PREDICT_BATCH

        votes = [self._vote(batch, device) for batch in batches(images, PREDICT_BATCH, self.record.data.pixel_range)]
        return np.concatenate([np.empty((0, len(self.classes)), np.float32), *votes])

    def _vote(self, images: list[NDArray[np.uint8]], device: str | None) -> NDArray[np.float32]:
        weights = [votes for votes in self.record.votes if votes]
        each = [run.predict(images, device=device) for run in self.members]
        with np.errstate(divide="ignore"):
            log_p = np.log(np.stack(each).astype(np.float64))
        return np.asarray(np.exp(combine(np.maximum(log_p, LEAST), weights, self.record.vote)), np.float32)


LEAST = float(np.log(np.finfo(np.float32).tiny))
"""Log of the least probability, for a float32 that underflowed to 0."""


def load(folder: Path | str) -> "Run | Ensemble":
    """Open the run or the ensemble in this folder; a UserError when it is neither or is damaged."""
    place = Path(folder)
    from seedwise.run.run import Run

    return Ensemble(place) if is_ensemble(place) else Run(place)
