"""A model's stored answers, image by image, and scores from them: numpy only."""

import math
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seedwise.errors import UserError
from seedwise.files import atomic_path
from seedwise.record import DAMAGED, PREDICTIONS, Scores


@dataclass(frozen=True)
class Predictions:
    """A model's logits on a set of images, row by row."""

    ids: NDArray[np.int64]
    """int64[m]: the images' numbers in the data set."""
    targets: NDArray[np.int64]
    """int64[m]: their classes."""
    logits: NDArray[np.float32]
    """float32[m, k]."""


Files = NDArray[np.str_]
"""str[m]: what each image of a split is called (see Subset.files)."""

Originals = NDArray[np.uint64]
"""uint64[m]: the first 8 bytes of the sha256 of each image as it was before it was resized (see data.originals)."""


def answers(predictions: Predictions) -> NDArray[np.int64]:
    """int64[m]: each image's most probable class; among equals another one than the target, as in `hits`."""
    rows = np.arange(len(predictions.ids))
    others = predictions.logits.copy()
    others[rows, predictions.targets] = -np.inf
    return np.where(hits(predictions), predictions.targets, others.argmax(axis=1))


def hits(predictions: Predictions, top: int = 1) -> NDArray[np.bool_]:
    """bool[m]: whether fewer than `top` wrong classes have a logit at least as high as the target's.

    Ties are broken against the model: one that answers the same for every class scores 0, not 1.
    """
    of_target = predictions.logits[np.arange(len(predictions.ids)), predictions.targets]
    return np.asarray((predictions.logits >= of_target[:, None]).sum(axis=1) <= top)


def score(predictions: Predictions) -> Scores:
    """Top-1, top-5 (top-k below five classes) and cross-entropy; an image counts as in `hits`."""
    logits = predictions.logits.astype(np.float64)
    of_target = logits[np.arange(len(logits)), predictions.targets]
    highest = logits.max(axis=1)
    log_sum = highest + np.log(np.exp(logits - highest[:, None]).sum(axis=1))
    return Scores(
        top1=float(hits(predictions).mean()),
        top5=float(hits(predictions, min(5, logits.shape[1])).mean()),
        loss=_finite(float((log_sum - of_target).mean())),
    )


def _finite(loss: float) -> float:
    if not math.isfinite(loss):
        raise UserError("the loss on held-out images is not finite; lower optim.lr, or set optim.clip_norm")
    return loss


def write_predictions(
    path: Path,
    scored: Mapping[str, Predictions],
    files: Mapping[str, Files | None] | None = None,
    originals: Mapping[str, Originals | None] | None = None,
) -> None:
    """Write `<split>_ids`, `<split>_targets`, `<split>_logits` and, where known, `<split>_files` of each split into an
    .npz file, atomically; and `<split>_originals` of these and of train."""
    arrays: dict[str, NDArray[Any]] = {
        f"{split}_{key}": value for split, it in scored.items() for key, value in asdict(it).items()
    }
    for kind, known in (("files", files), ("originals", originals)):
        arrays |= {f"{split}_{kind}": it for split, it in (known or {}).items() if it is not None}
    write_arrays(path, arrays)


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays by name into an .npz file, atomically."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def read_predictions(folder: Path, split: str) -> Predictions | None:
    """A split of a folder's stored predictions, whose checksum the caller has seen to; None if it isn't stored."""
    with _stored(folder) as stored:
        if f"{split}_logits" not in stored:
            return None
        return Predictions(*(stored[f"{split}_{key}"] for key in ("ids", "targets", "logits")))


def read_files(folder: Path, split: str) -> Files | None:
    """What the images of a split are called; None where a run of an older version did not keep it.

    The caller has seen to the file's checksum.
    """
    with _stored(folder) as stored:
        if f"{split}_files" not in stored:
            return None
        names: Files = stored[f"{split}_files"]
        count = len(stored[f"{split}_targets"])
        if names.dtype.kind != "U" or names.shape != (count,):
            raise ValueError(f"{names.dtype}{list(names.shape)} for {count} images")
        return names


def read_originals(folder: Path, split: str) -> Originals | None:
    """What tells the images of a split, or of train, from all others; None where a run of an older version did not keep
    it, or the file was dropped. The caller has seen to its checksum."""
    if not (folder / PREDICTIONS).exists():
        return None
    with _stored(folder) as stored:
        if f"{split}_originals" not in stored:
            return None
        found: Originals = stored[f"{split}_originals"]
        if found.dtype != np.uint64 or found.ndim != 1:
            raise ValueError(f"{found.dtype}{list(found.shape)}")
        return found


@contextmanager
def _stored(folder: Path) -> Iterator[Any]:
    path = folder / PREDICTIONS
    try:
        with np.load(path, allow_pickle=False) as stored:
            yield stored
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: damaged, not predictions of ours; {DAMAGED}") from error
