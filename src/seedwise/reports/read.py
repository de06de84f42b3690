"""What a report is made from: the files of run and study folders, checked before anything is drawn from them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seedwise.audits.findings import AUDIT, UNUSED, Findings, Image, Leak, find_audit, read_audit
from seedwise.config.section import load
from seedwise.recipe.schema import Recipe
from seedwise.records.ensemble import EnsembleRecord
from seedwise.records.evaluations import later_test_reads
from seedwise.records.finished import read_finished
from seedwise.records.predictions import Originals, Predictions, damage, read_arrays, read_originals, read_predictions
from seedwise.records.run import INSIGHT, PREDICTIONS, RECIPE, RECORD, DataRecord, RunRecord, check_files, read_record

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class RunFiles:
    """A run folder, read and checked."""

    record: RunRecord
    recipe: Recipe
    held: dict[str, Predictions]
    """By split: val and test, as far as they were scored and the file is still there."""
    pictures: Arrays
    """The content of insight.npz; empty without one."""
    leaks: Leak | None
    """Test images that are among the images to train on, as far as is known."""
    later_test_reads: int
    """How often `seedwise evaluate` scored the test images since."""

    @property
    def scored(self) -> Predictions | None:
        """Predictions on test, or on validation images where there is no test."""
        return self.held.get("test") or self.held.get("val")


def read_run(folder: Path) -> RunFiles:
    """A run folder; a UserError says which of its files is damaged. Predictions and pictures may have been dropped."""
    record = read_record(folder)
    demand_classes(folder / RECORD, record.data)
    check_files(folder, record, RECIPE)
    held = read_held(folder, record)
    recipe, seen = load(Recipe, folder / RECIPE), _pictures(folder, record, held)
    return RunFiles(record, recipe, held, seen, read_leaks(folder, record, held), later_test_reads(folder))


def demand_classes(path: Path, data: DataRecord) -> None:
    """Raise a UserError unless a record's classes are there and its superclasses, if any, fit them."""
    if not data.classes:
        raise damage(path, "data.classes is empty")
    if (data.superclasses is None) != (data.superclass_of is None):
        raise damage(path, "superclasses without their classes")
    groups = data.superclass_of
    if groups is not None and (
        len(groups) != len(data.classes) or not all(0 <= group < len(data.superclasses or ()) for group in groups)
    ):
        raise damage(path, "data.superclass_of doesn't fit the classes")


def leaks_of(folder: Path) -> Leak | None:
    """What is known of the test images of a finished run or an ensemble; None where its answers were dropped."""
    record = read_finished(folder).record
    return read_leaks(folder, record, read_held(folder, record, ("test",)))


def read_leaks(folder: Path, record: RunRecord | EnsembleRecord, held: Mapping[str, Predictions]) -> Leak | None:
    """Test images that are among those trained on or selected by: equal in every pixel, by the prints that the folder
    keeps, or one picture by what the last audit of this data says of them, wherever it drew its own."""
    if "test" not in held:
        return None
    rows = _equal(held["test"], read_originals(folder, record)) | _audited(folder, record.data, held["test"])
    return Leak(images=len(rows), of=len(held["test"].ids), rows=sorted(rows)) if rows else None


def _equal(test: Predictions, originals: Mapping[str, Originals]) -> set[int]:
    """The rows of test images whose originals are also in train or val."""
    own = originals.get("test")
    if "train" not in originals or own is None or own.shape != test.ids.shape:
        return set()
    known = np.concatenate([originals[split] for split in ("train", "val") if split in originals])
    return set(test.ids[np.isin(own, known)].tolist())


def _audited(folder: Path, data: DataRecord, held: Predictions) -> set[int]:
    """The rows of those that the last audit of this data found again."""
    if (found := _audit_of(folder, data)) is None:
        return set()
    drawn = "test" in data.parts and not data.parts["test"].given
    part, test = "train" if drawn else "test", set(held.ids.tolist())

    def is_test(image: Image) -> bool:
        return image.part == part and image.row in test

    pairs = [(pair.first, pair.second) for pair in found.pairs if pair.is_same and UNUSED not in pair.splits]
    return {one.row for pair in pairs for one, other in (pair, pair[::-1]) if is_test(one) and not is_test(other)}


def _audit_of(folder: Path, data: DataRecord) -> Findings | None:
    """The kept audit of this data; else the one that was made for this folder, which may have come from elsewhere."""
    return find_audit(data.originals) or read_audit(folder / AUDIT)


def read_held(
    folder: Path, record: RunRecord | EnsembleRecord, splits: tuple[str, ...] = ("val", "test")
) -> dict[str, Predictions]:
    """The predictions of a run or an ensemble by split, as far as it has them."""
    if record.status != "finished" or not (folder / PREDICTIONS).exists():
        return {}
    return read_predictions(folder, record, *splits)


def _pictures(folder: Path, record: RunRecord, held: Mapping[str, Predictions]) -> Arrays:
    path = folder / INSIGHT
    if record.status != "finished" or not path.exists():
        return {}
    check_files(folder, record, INSIGHT)
    arrays = read_arrays(path)
    for name in [key.removesuffix("_ends") for key in arrays if key.endswith("_ends")]:
        content, ends = arrays.get(f"{name}_bytes"), arrays[f"{name}_ends"]
        if content is None or content.dtype != np.uint8 or ends.dtype.kind != "i" or (np.diff(ends) < 0).any():
            raise damage(path, f"the pictures of {name}")
    split = str(arrays["split"]) if "split" in arrays else ""
    count = len(held[split].targets) if split in held else 0
    for name in ("errors", "pairs", "gradcam"):
        rows = arrays.get(f"{name}_rows", np.zeros(0, np.int64))
        if rows.ndim != 1 or rows.dtype.kind != "i":
            raise damage(path, f"the rows of {name}")
        if count and len(rows) and (rows.min() < 0 or rows.max() >= count):
            raise damage(path, f"a row of {name} is not among {count} images")
    return arrays
