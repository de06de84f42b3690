"""Reads finished runs and ensembles from disk, records and predictions, without torch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from seedwise.base.errors import UserError
from seedwise.base.files import read_json
from seedwise.base.nearest import demand_folder
from seedwise.records.ensemble import EnsembleRecord
from seedwise.records.predictions import Predictions, read_predictions
from seedwise.records.run import (
    BAGGING,
    DAMAGED,
    RECORD,
    DataRecord,
    RunRecord,
    demand_final,
    read_checked,
    read_record,
)

Judged = Literal["raw", "averaged"]
"""The weights that a verdict is about: `averaged` means an average of the weights in the runs that have one."""


def judged(record: RunRecord, weights: Judged) -> tuple[RunRecord, str]:
    """The record with the scores of these weights in `final`, and what names of their stored predictions end in."""
    if weights == "raw" or record.final is None or record.ema is None:
        return record, ""
    final = record.final.model_copy(update={"val": record.ema.val, "test": record.ema.test})
    return record.model_copy(update={"final": final}), "_ema"


@dataclass(frozen=True)
class Finished:
    """A finished run or ensemble on disk."""

    folder: Path
    record: RunRecord | EnsembleRecord

    @property
    def data(self) -> DataRecord:
        """The record of the data that it was trained on."""
        return self.record.data

    def predictions(self, split: str, weights: Judged = "raw") -> Predictions:
        """Read its stored predictions on a split, by these weights (`oob`: by the raw ones); a UserError when it has
        none."""
        kept = split
        if isinstance(self.record, RunRecord) and split != "oob":
            kept += judged(self.record, weights)[1]
        if (found := read_predictions(self.folder, self.record, kept).get(kept)) is not None:
            return found
        kept = ", ".join(read_predictions(self.folder, self.record, "val", "test", "oob"))
        raise UserError(f"{self.folder}: keeps no answers on {split!r} images; it has {kept or 'none'}")


def is_ensemble(folder: Path) -> bool:
    """Whether the folder's record.json is an ensemble's."""
    content = read_json(folder / RECORD, DAMAGED) if (folder / RECORD).is_file() else None
    return isinstance(content, dict) and content.get("kind") == "ensemble"


def read_finished(folder: Path) -> Finished:
    """Read the finished run or ensemble in this folder; a UserError for anything else."""
    if is_ensemble(folder):
        return Finished(folder, read_ensemble(folder))
    record = read_record(folder)
    if record.status != "finished":
        raise UserError(f"{folder}: not finished (status: {record.status}); `seedwise resume` it first")
    demand_final(folder, record)
    return Finished(folder, record)


def read_ensemble(folder: Path) -> EnsembleRecord:
    """Read an ensemble's record.json; a UserError says what is missing or damaged."""
    if not (folder / RECORD).is_file():
        demand_folder(folder, "an ensemble's")
        raise UserError(f"{folder}: not an ensemble's folder (it has no {RECORD})")
    return read_checked(folder / RECORD, EnsembleRecord)


def find_runs(folder: Path) -> Iterator[Path]:
    """Yield the folders of runs and ensembles at or below a folder, sorted; it doesn't search within a run."""
    if (folder / RECORD).is_file():
        yield folder
        return
    try:
        inner = sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
    except OSError as error:
        raise UserError(f"{folder}: can't be read ({error.strerror or error}); give the folder of a run") from error
    for path in inner:
        yield from find_runs(path)


def find_finished(folder: Path) -> tuple[list[Finished], list[Path]]:
    """Read the finished runs and ensembles at or below a folder; also returns the folders of unfinished runs.

    A UserError when nothing is finished, or when `folder` itself is an unfinished run.
    """
    if (folder / BAGGING).is_file() and not (folder / RECORD).is_file():
        raise UserError(f"{folder}: an ensemble whose members are not all trained; `seedwise resume` it first")
    found = list(find_runs(folder))
    if found == [folder]:
        return [read_finished(folder)], []
    if not found:
        raise UserError(f"{folder}: holds no run; give the folder of a run, of a study, or one that holds runs")
    unfinished = [it for it in found if not is_ensemble(it) and read_record(it).status != "finished"]
    finished = [read_finished(it) for it in found if it not in unfinished]
    if not finished:
        raise UserError(f"{folder}: none of its {len(found)} runs is finished; `seedwise resume` them first")
    return finished, unfinished


def demand_same_images(one: Finished, other: Finished, split: str, ours: Predictions, theirs: Predictions) -> None:
    """Raise a UserError unless both were scored on the same images of the same classes.

    Stored pixels, and with them the fingerprint, depend on the size at which photos are kept; the same place will do.
    """
    a, b = one.data, other.data
    pair = f"{other.folder} and {one.folder}"
    if a.classes != b.classes:
        raise UserError(f"{pair}: have other classes ({_first(b.classes, a.classes)}); take runs on the same data")
    if a.fingerprint != b.fingerprint and (a.source, a.name) != (b.source, b.name):
        raise UserError(f"{pair}: were trained on other data ({b.source}; {a.source}); take runs on the same data")
    if not (np.array_equal(ours.ids, theirs.ids) and np.array_equal(ours.targets, theirs.targets)):
        sizes = f"{len(theirs.ids)} and {len(ours.ids)} of them"
        raise UserError(
            f"{pair}: were scored on other {split} images ({sizes}); take runs with the same data.{split} "
            "and data.split_seed"
        )


def _first(ours: Sequence[str], theirs: Sequence[str]) -> str:
    """The first difference between two lists of classes; the same names in another order differ too."""
    if sorted(ours) == sorted(theirs):
        place = next(i for i, (one, other) in enumerate(zip(ours, theirs, strict=True)) if one != other)
        return f"the same in another order: class {place} is {ours[place]}, and {theirs[place]}"
    only = [
        next((f"'{name}'" for name in a if name not in b), "none more") for a, b in ((ours, theirs), (theirs, ours))
    ]
    return f"{len(ours)} with {only[0]}; {len(theirs)} with {only[1]}"
