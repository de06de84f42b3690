"""Reads and checks the files that a report is made from."""

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
    """The files of a run folder, read and checked."""

    record: RunRecord
    recipe: Recipe
    held: dict[str, Predictions]
    """Predictions on val and test, as far as they are stored."""
    pictures: Arrays
    """Arrays of insight.npz; empty without it."""
    leaks: Leak | None
    """Test images that are also among the training images; None where unknown."""
    later_test_reads: int
    """How often `seedwise evaluate` scored the test images since then."""

    @property
    def scored(self) -> Predictions | None:
        """Predictions on test, or on validation images where there is no test."""
        return self.held.get("test") or self.held.get("val")


def read_run(folder: Path) -> RunFiles:
    """Read a run folder; a UserError names a damaged file. Predictions and pictures may be gone."""
    record = read_record(folder)
    demand_classes(folder / RECORD, record.data)
    check_files(folder, record, RECIPE)
    held = read_held(folder, record)
    recipe, seen = load(Recipe, folder / RECIPE), _pictures(folder, record, held)
    return RunFiles(record, recipe, held, seen, read_leaks(folder, record, held), later_test_reads(folder))


def demand_classes(path: Path, data: DataRecord) -> None:
    """Raise a UserError unless a record has classes, and superclasses that fit them, if any."""
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
    """Known leaks of the test images of a finished run or ensemble; None without stored predictions."""
    record = read_finished(folder).record
    return read_leaks(folder, record, read_held(folder, record, ("test",)))


def read_leaks(folder: Path, record: RunRecord | EnsembleRecord, held: Mapping[str, Predictions]) -> Leak | None:
    """Test images that are among those trained on or selected by: equal in every pixel, by the stored hashes, or
    duplicates by the last audit of these data, wherever it drew its own."""
    if "test" not in held:
        return None
    rows = _equal(held["test"], read_originals(folder, record)) | _audited(folder, record.data, held["test"])
    return Leak(images=len(rows), of=len(held["test"].ids), rows=sorted(rows)) if rows else None


def _equal(test: Predictions, originals: Mapping[str, Originals]) -> set[int]:
    """Rows of test images whose originals are also in train or val."""
    own = originals.get("test")
    if "train" not in originals or own is None or own.shape != test.ids.shape:
        return set()
    known = np.concatenate([originals[split] for split in ("train", "val") if split in originals])
    return set(test.ids[np.isin(own, known)].tolist())


def _audited(folder: Path, data: DataRecord, held: Predictions) -> set[int]:
    """Rows of test images that the last audit of these data found in train or val."""
    if (found := _audit_of(folder, data)) is None:
        return set()
    drawn = "test" in data.parts and not data.parts["test"].given
    part, test = "train" if drawn else "test", set(held.ids.tolist())

    def is_test(image: Image) -> bool:
        return image.part == part and image.row in test

    pairs = [(pair.first, pair.second) for pair in found.pairs if pair.is_same and UNUSED not in pair.splits]
    return {one.row for pair in pairs for one, other in (pair, pair[::-1]) if is_test(one) and not is_test(other)}


def _audit_of(folder: Path, data: DataRecord) -> Findings | None:
    """The stored audit of these data, else the one that was made for this folder, which may come from elsewhere."""
    return find_audit(data.originals) or read_audit(folder / AUDIT)


def read_held(
    folder: Path, record: RunRecord | EnsembleRecord, splits: tuple[str, ...] = ("val", "test")
) -> dict[str, Predictions]:
    """Read the predictions of a run or an ensemble by split, as far as they are stored."""
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
