"""Stored predictions, image by image, and scores computed from them: numpy only."""

import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from seedwise.base.errors import UserError
from seedwise.base.files import atomic_path
from seedwise.records.run import DAMAGED, PREDICTIONS, DataRecord, Scores, WithFiles, check_files

Files = NDArray[np.str_]
"""str[m]: name of each image of a split (see Subset.files)."""

Originals = NDArray[np.uint64]
"""uint64[m]: the first 8 bytes of the sha256 of each original image, before it was resized (see data.originals)."""

PARTS = ("ids", "targets", "logits")
LARGEST = 2**31
"""Largest size in bytes of a file's arrays: a damaged header must not ask for all memory."""


@dataclass(frozen=True)
class Predictions:
    """A model's logits on a set of m images; only here is it decided what counts as right."""

    ids: NDArray[np.int64]
    """int64[m]: indices of the images in the data set."""
    targets: NDArray[np.int64]
    """int64[m]: their classes, in [0, k)."""
    logits: NDArray[np.float32]
    """float32[m, k] for k classes."""
    files: Files | None = None
    """str[m]: the images' names; None where they are not known."""

    def correct(self, top: int = 1) -> NDArray[np.bool_]:
        """bool[m]: whether fewer than `top` wrong classes have a logit at least as high as the target's.

        A tie counts as wrong: a model with the same logits for every class scores 0, not 1.
        """
        of_target = self.logits[np.arange(len(self.targets)), self.targets]
        return np.asarray((self.logits >= of_target[:, None]).sum(axis=1) <= top)

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """int64[m]: the class with the highest logit; in a tie another one than the target, as in `correct`."""
        others = self.logits.copy()
        others[np.arange(len(others)), self.targets] = -np.inf
        return np.where(self.correct(), self.targets, others.argmax(axis=1))


def score(predictions: Predictions) -> Scores:
    """Top-1, top-5 (top-k below five classes) and cross-entropy; right is what `Predictions.correct` says. A UserError
    where the loss isn't finite."""
    logits = predictions.logits.astype(np.float64)
    of_target = logits[np.arange(len(logits)), predictions.targets]
    highest = logits.max(axis=1)
    log_sum = highest + np.log(np.exp(logits - highest[:, None]).sum(axis=1))
    return Scores(
        top1=float(predictions.correct().mean()),
        top5=float(predictions.correct(min(5, logits.shape[1])).mean()),
        loss=_finite(float((log_sum - of_target).mean())),
    )


def _finite(loss: float) -> float:
    if not math.isfinite(loss):
        raise UserError("the loss on held-out images is not finite; lower optim.lr, or set optim.clip_norm")
    return loss


def write_predictions(
    path: Path, scored: Mapping[str, Predictions], originals: Mapping[str, Originals | None] | None = None
) -> None:
    """Write `<split>_ids`, `<split>_targets` and `<split>_logits` of each split into an .npz file, atomically.

    `<split>_files`, where known, is stored once for a split and its variants (`val`, `val_ema`, `val_tta`).
    `originals`: uint64[n] hashes of a split's original images, of train too, stored as `<split>_originals`.
    """
    arrays = {f"{split}_{part}": getattr(it, part) for split, it in scored.items() for part in PARTS}
    names = {_files_of(split): it.files for split, it in scored.items() if it.files is not None}
    prints = {f"{split}_originals": it for split, it in (originals or {}).items() if it is not None}
    write_arrays(path, arrays | names | prints)


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays by name into an .npz file, atomically."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def read_arrays(path: Path, *names: str) -> dict[str, NDArray[Any]]:
    """Read the named arrays of an .npz file, as far as it has them, or all; a UserError if it is damaged or too
    large."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            if sum(info.file_size for info in stored.zip.infolist()) > LARGEST:
                raise damage(path, "too large")
            return {name: stored[name] for name in stored.files if not names or name in names}
    except (OSError, ValueError, KeyError, EOFError, AttributeError, MemoryError, zipfile.BadZipFile) as error:
        raise damage(path, "not an npz file of ours") from error


class WithPredictions(WithFiles, Protocol):
    """A record with stored predictions: a run's or an ensemble's."""

    data: DataRecord


def read_predictions(folder: Path, record: WithPredictions, *splits: str) -> dict[str, Predictions]:
    """Read stored predictions by split, of the given splits as far as they are stored, or of all.

    A UserError when the file is missing or damaged, or doesn't fit the record: its checksum, shapes and types, finite
    logits, and targets among the classes are checked.
    """
    path, classes = folder / PREDICTIONS, len(record.data.classes)
    check_files(folder, record, PREDICTIONS)
    wanted = {f"{split}_{part}" for split in splits for part in PARTS} | {_files_of(split) for split in splits}
    arrays = read_arrays(path, *wanted)
    found = {}
    for split in splits or [name.removesuffix("_logits") for name in arrays if name.endswith("_logits")]:
        parts = {part: arrays[name] for part in PARTS if (name := f"{split}_{part}") in arrays}
        if len(parts) < len(PARTS):
            continue
        found[split] = Predictions(**parts, files=arrays.get(_files_of(split)))
        _demand_fit(path, split, found[split], classes)
    return found


def read_originals(folder: Path, record: WithPredictions) -> dict[str, Originals]:
    """Read the hashes uint64[n] of each split's original images, train too; empty where they weren't stored or the file
    is gone. A UserError when it is damaged."""
    path = folder / PREDICTIONS
    if not path.exists():
        return {}
    check_files(folder, record, PREDICTIONS)
    found = read_arrays(path, *(f"{split}_originals" for split in ("train", "val", "test")))
    for name, prints in found.items():
        if prints.dtype != np.uint64 or prints.ndim != 1:
            raise damage(path, f"{name}: {prints.dtype}{list(prints.shape)}")
    return {name.removesuffix("_originals"): prints for name, prints in found.items()}


def _files_of(split: str) -> str:
    return split.partition("_")[0] + "_files"


def _demand_fit(path: Path, split: str, found: Predictions, classes: int) -> None:
    count, names = len(found.targets), found.files
    shaped = found.ids.shape == found.targets.shape == (count,) and found.logits.shape == (count, classes) and count
    typed = found.ids.dtype.kind == found.targets.dtype.kind == "i" and found.logits.dtype.kind == "f"
    if not (shaped and typed and np.isfinite(found.logits).all()):
        raise damage(path, f"the predictions on {split} don't fit {classes} classes")
    if found.targets.min() < 0 or found.targets.max() >= classes:
        raise damage(path, f"a target on {split} is not among {classes} classes")
    if names is not None and (names.dtype.kind != "U" or names.shape != (count,)):
        raise damage(path, f"the files on {split}: {names.dtype}{list(names.shape)} for {count} images")


def damage(path: Path, words: str) -> UserError:
    """A UserError that says in one line how a file that seedwise wrote is damaged."""
    return UserError(f"{path}: damaged: {words}; {DAMAGED}")
