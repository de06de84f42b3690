"""Classifies files and folders of images in batches, so that memory does not grow with their number."""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from seedwise.base.errors import UserError
from seedwise.base.notebook import html_table
from seedwise.data.deep import Oddity, Range, off_scale
from seedwise.data.describe import passed_over_lines
from seedwise.data.find import KNOWN_NAMES
from seedwise.data.images import as_trained, opened, scale_of
from seedwise.data.source import RawImage, UInt8Array, printable
from seedwise.data.tree import ARCHIVE_SUFFIXES, TABLE_SUFFIXES, Node, list_folder
from seedwise.ensembles.model import Ensemble
from seedwise.inference.evaluate import moves
from seedwise.run.run import PREDICT_BATCH, Run

BATCH_BYTES = 512 << 20
"""Bytes of decoded photos at which a batch ends."""
TAKEN = "images and folders of images"
SCORE = "to score it by its labels give it to `seedwise evaluate RUN --data`"
NAMED = f"is the name of data, and predict takes {TAKEN}; {SCORE}"

_NUMBER = re.compile(r"(\d+)", re.ASCII)


@dataclass(frozen=True)
class Predicted:
    """An image and its class probabilities."""

    path: str
    pixels: UInt8Array
    """uint8[h, w, 3], upright."""
    probabilities: NDArray[np.float32]
    """float32[k], summing to 1."""

    def top(self, count: int) -> NDArray[np.int64]:
        """Indices int64[count] of its most probable classes, most probable first."""
        return np.argsort(-self.probabilities, kind="stable")[:count]


@dataclass(frozen=True)
class Unreadable:
    """A path that can't be read as an image, and the reason in a line."""

    path: str
    reason: str


@dataclass(frozen=True)
class Note:
    """A line about what was passed over in a folder, or about a doubtful image that is used all the same."""

    line: str


@dataclass(frozen=True)
class Classified:
    """Results of `predict` on files and folders of images."""

    images: list[dict[str, Any]]
    """In order: `path`, `top` (`class` and `probability` of each, most probable first), and `explained`, the path of a
    picture if one was drawn."""
    unreadable: list[Unreadable]
    notes: list[str]
    """Lines about what was passed over, or is doubtful and used all the same."""

    @classmethod
    def of(cls, found: Iterable[dict[str, Any] | Unreadable | Note]) -> Self:
        """Collect everything that `classify` yields."""
        every = list(found)
        return cls(
            [each for each in every if isinstance(each, dict)],
            [each for each in every if isinstance(each, Unreadable)],
            [each.line for each in every if isinstance(each, Note)],
        )

    def to_dict(self) -> dict[str, Any]:
        """All results as JSON data."""
        return asdict(self)

    def table(self) -> list[dict[str, Any]]:
        """A row for each image: path, most probable class and its probability."""
        return [{"path": image["path"]} | image["top"][0] for image in self.images]

    def _repr_html_(self) -> str:
        return html_table(self.table(), "", [*self.notes, *(each.reason for each in self.unreadable)])


def classify(
    run: Run | Ensemble,
    paths: Iterable[str],
    *,
    top: int = 5,
    explained: Path | None = None,
    device: str | None = None,
) -> Iterator[dict[str, Any] | Unreadable | Note]:
    """Yield a row for each image, as in `Classified.images`; what can't be read is yielded as `Unreadable`.

    `explained`: folder for pictures of where the network looked; a UserError for an ensemble. `device`: as for
    `Run.predict`; a first note says what computes where the run's own is not here.
    """
    explainer = None
    if explained is not None:
        if not isinstance(run, Run):
            raise UserError(f"{run.folder}: an ensemble has no single network to explain; name one of its members")
        from seedwise.inference.explain import Explainer

        explainer = Explainer(run, explained, top, device)
    yield from map(Note, moves(run, "fp32") if device is None else ())
    for found in predict_files(run, paths, device):
        if not isinstance(found, Predicted):
            yield found
            continue
        best = [{"class": run.classes[i], "probability": float(found.probabilities[i])} for i in found.top(top)]
        picture = {} if explainer is None else {"explained": str(explainer.explain(found))}
        yield {"path": found.path, "top": best} | picture


def find_images(paths: Iterable[str]) -> Iterator[str | Unreadable | Note]:
    """Yield files as given, whatever they are called, and the images below folders, image 2 before image 10."""
    for path in paths:
        if os.path.isdir(path):  # noqa: PTH112 -- False for names too long or otherwise impossible, where Path's raises
            yield from _below(path)
        elif os.path.isfile(path):  # noqa: PTH113
            yield path
        else:
            yield Unreadable(path, f"{printable(path)}: {NAMED if path in KNOWN_NAMES else 'no such file or folder'}")


def _below(folder: str) -> Iterator[str | Unreadable | Note]:
    problems: list[Unreadable] = []

    def note(error: OSError) -> None:
        where = printable(str(error.filename))
        problems.append(Unreadable(str(error.filename), f"{where}: cannot be listed ({error.strerror})"))

    tree = list_folder(Path(folder), note)
    for line in passed_over_lines(tree.tally.passed_over()):
        yield Note(f"{printable(folder)}: {line}")
    for image in _in_order(tree.root):
        yield f"{folder.rstrip(os.sep)}{os.sep}{image}"
    yield from problems
    if not tree.root.has_images and not problems:
        table = next(Path(folder).rglob("*.parquet"), None)
        said = (
            "no images in this folder"
            if table is None
            else f"holds no image files; {table.name} {_no_image(table.name)}"
        )
        yield Unreadable(folder, f"{printable(folder)}: {said}")


def _no_image(path: str) -> str | None:
    """What to do with data that other verbs take and predict doesn't; None for what is not named like any."""
    name = path.lower()
    if name.endswith((".parquet", *TABLE_SUFFIXES)):
        return f"is a table, and predict takes {TAKEN}: write its images to files; {SCORE}"
    if name.endswith(ARCHIVE_SUFFIXES):
        return f"is an archive, and predict takes {TAKEN}: unpack it; {SCORE}"
    return None


def _in_order(node: Node) -> Iterator[str]:
    yield from sorted(node.images, key=lambda image: natural(image.rpartition("/")[2]))
    for name in sorted(node.folders, key=natural):
        yield from _in_order(node.folders[name])


def natural(name: str) -> list[tuple[int, str]]:
    """A sorting key that compares numbers in names as numbers."""
    return [(int(part), "") if part.isdecimal() else (-1, part.lower()) for part in _NUMBER.split(name)] + [(0, name)]


def predict_files(
    run: Run | Ensemble, paths: Iterable[str], device: str | None = None
) -> Iterator[Predicted | Unreadable | Note]:
    """Yield each image's class probabilities, in the order of `find_images`; what can't be read is yielded as such."""
    batch: list[tuple[str, UInt8Array]] = []
    size = 0
    for path in find_images(paths):
        image, notes = _read(path, run.record.data.pixel_range) if isinstance(path, str) else (path, [])
        if not isinstance(image, np.ndarray):
            yield from _predict(run, batch, device)
            batch, size = [], 0
            yield image
            continue
        assert isinstance(path, str)
        yield from notes
        batch.append((path, image))
        size += image.nbytes
        if len(batch) == PREDICT_BATCH or size >= BATCH_BYTES:
            yield from _predict(run, batch, device)
            batch, size = [], 0
    yield from _predict(run, batch, device)


def _read(path: str, pixel_range: Range | None) -> tuple[UInt8Array | Unreadable, list[Note]]:
    try:
        found, odd = opened(RawImage(path, Path(path)))
        pixels, notes = as_trained(path, found, pixel_range), []
        if Oddity.SEVERAL in odd and path.lower().endswith((".tif", ".tiff")):  # an animation shows its first, too
            notes.append("holds several pictures; the first is used")
        if found.dtype != np.uint8 and (scale := scale_of(found, pixel_range)) and (said := off_scale(found, scale)):
            notes.append(said)
        return pixels, [Note(f"{printable(path)}: {line}") for line in notes]
    except UserError as error:
        other = _no_image(path)
        return Unreadable(path, str(error) if other is None else f"{printable(path)}: {other}"), []


def _predict(run: Run | Ensemble, batch: list[tuple[str, UInt8Array]], device: str | None) -> Iterator[Predicted]:
    if batch:
        probabilities = run.predict([pixels for _, pixels in batch], device=device)
        for (path, pixels), row in zip(batch, probabilities, strict=True):
            yield Predicted(path, pixels, row)
