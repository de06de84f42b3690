"""The audit of a data set: one pass over the images, then duplicates, then a run's leaks and doubtful labels."""

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seedwise.audits.findings import (
    UNUSED,
    ClassFindings,
    Findings,
    Image,
    LabelFindings,
    Leak,
    Pair,
    PartFindings,
    RunFindings,
    Suspect,
)
from seedwise.audits.judged import Judgements
from seedwise.audits.labels import out_of_fold, suspects
from seedwise.audits.pairs import Found, Likeness, find_pairs
from seedwise.audits.scan import Scanned, look_again, scan, shrunk
from seedwise.base.errors import UserError
from seedwise.data.config import DataConfig
from seedwise.data.damage import OPTION
from seedwise.data.dataset import Dataset
from seedwise.data.find import find_source
from seedwise.data.open import open_data
from seedwise.data.originals import originals
from seedwise.data.published import DownloadSource
from seedwise.data.selection import read_contents
from seedwise.data.source import Contents, Progress, Survey, UInt8Array
from seedwise.data.unused import unused_options
from seedwise.records.run import PassedOverRecord
from seedwise.run import resolve
from seedwise.run.run import Run

STORED_SIDE = 64
LISTED_PAIRS, LISTED_SUSPECTS, LISTED_CONFUSIONS = 20_000, 1000, 20

Pictures = Callable[[Iterable[Image]], Mapping[tuple[str, int], UInt8Array]]
"""Images to show, uint8[h, w, 3] by part and row, as far as they are still there."""


@dataclass(frozen=True)
class Audit:
    """The findings of an audit, and access to the pictures that show them."""

    findings: Findings
    pictures: Pictures


@dataclass(frozen=True)
class _All:
    """All n readable images, one part after the other, with the `split` of each. `part`, `split`: str[n]; `row`,
    `label`: int64[n]; `exact`: uint8[n, 32], the SHA-256 of size and pixels."""

    part: NDArray[np.str_]
    row: NDArray[np.int64]
    split: NDArray[np.str_]
    label: NDArray[np.int64]
    where: list[str]
    exact: UInt8Array

    def image(self, number: int) -> Image:
        return Image(
            split=str(self.split[number]),
            part=str(self.part[number]),
            row=int(self.row[number]),
            label=int(self.label[number]),
            where=self.where[number],
            sha256=self.exact[number].tobytes().hex(),
        )


def audit(
    data: str,
    config: DataConfig,
    *,
    data_dir: Path | None = None,
    run: Run | None = None,
    labels: bool = False,
    judge: Callable[[set[str]], Judgements] = lambda _images: {},
    progress: Progress,
) -> Audit:
    """Check a data set; with a run, also its accuracy without leaks; with `labels`, also which labels are doubtful.

    `config`: how the data are read and split, with a run its own. `judge`: given the SHA-256 of all images, what
    somebody said of pairs of them. A UserError for data that can't be read, or aren't the run's.
    """
    source = find_source(data, data_dir, config)
    if isinstance(source, DownloadSource):
        source.fetch(progress)
    contents = read_contents(source, config)
    parts = scan(source, contents, progress, config.pixel_range)
    dataset = _dataset(data, config, parts, run, labels, data_dir, progress)
    everything = _join(parts, dataset)
    judged = judge({row.tobytes().hex() for row in everything.exact})
    look = partial(look_again, contents, parts, progress=progress)
    found = find_pairs(parts, lambda wanted, make: look(wanted, make=make), progress)
    pairs = _pairs(found, judged, everything)
    leaks = _leaks(pairs, everything)
    unused = Survey(doubts=tuple(unused_options(source, config)))
    survey = dataset.survey if dataset is not None else contents.survey + unused
    findings = Findings(
        data=source.name,
        source=str(source.path or source.name),
        fingerprint=originals(contents.classes, {name: (part.labels, part.exact) for name, part in parts.items()}),
        classes=list(contents.classes),
        parts={name: _part(part) for name, part in parts.items()},
        splits={name: int((everything.split == name).sum()) for name in _splits(everything)},
        given=list(contents.parts),
        passed_over=[PassedOverRecord(**asdict(each)) for each in survey.passed_over],
        doubts=list(survey.doubts),
        balance=_balance(contents, everything),
        missing=_missing(contents, everything),
        pairs=pairs[:LISTED_PAIRS],
        counts=_counts(pairs),
        limit=round(found.limit, 4),
        estimates=found.estimates,
        leaks=leaks,
        run=None if run is None else _accuracy(run, leaks),
        labels=_labels(dataset, run, everything, len(contents.classes), progress) if labels and dataset else None,
    )
    return Audit(findings, partial(_pictures, look))


def _dataset(
    data: str,
    config: DataConfig,
    parts: Mapping[str, Scanned],
    run: Run | None,
    labels: bool,
    data_dir: Path | None,
    progress: Progress,
) -> Dataset | None:
    """The data split as a run would; None where damaged images prevent that."""
    damaged = [line for part in parts.values() for line in part.damaged]
    if damaged and not config.skip_damaged:
        if run is not None or labels:
            option = "--run needs every image" if run is not None else f"--labels needs every image, or {OPTION}"
            more = f" (and {len(damaged) - 1} more, which the audit without it names)" if len(damaged) > 1 else ""
            raise UserError(f"{damaged[0]}{more}; {option}")
        return None
    side = STORED_SIDE if run is None else resolve.storage_resolution(run.recipe)["short_side"]
    dataset = open_data(data, config, data_dir=data_dir, short_side=side, progress=progress)
    if run is not None and dataset.fingerprint != run.record.data.fingerprint:
        raise UserError(f"{run.folder}: was trained on other data than {data}; leave --run out, or give its own data")
    return dataset


def _join(parts: Mapping[str, Scanned], dataset: Dataset | None) -> _All:
    """Concatenate the parts; rows are in the cache's order, so a split's ids are rows of the part it was taken from."""
    split = {
        name: np.full(len(part.labels), name if dataset is None else UNUSED, dtype="<U8")
        for name, part in parts.items()
    }
    if dataset is not None:
        for held_out, subset in (("train", dataset.train), ("val", dataset.val), ("test", dataset.test)):
            if subset is not None:
                split[held_out if held_out in parts and held_out != "train" else "train"][subset.ids] = held_out
    return _All(
        part=np.concatenate([np.full(len(part.labels), name, dtype="<U8") for name, part in parts.items()]),
        row=np.concatenate([np.arange(len(part.labels)) for part in parts.values()]),
        split=np.concatenate([split[name] for name in parts]),
        label=np.concatenate([part.labels for part in parts.values()]),
        where=[where for part in parts.values() for where in part.where],
        exact=np.concatenate([part.exact for part in parts.values()]),
    )


def _pairs(found: Found, judged: Judgements, everything: _All) -> list[Pair]:
    """Pairs in order: duplicates first, of these those with two labels, then those across splits; then by likeness."""
    known = found.pairs | _confirmed(judged, everything, found.pairs)
    pairs = []
    for (i, j), likeness in known.items():
        first, second = everything.image(i), everything.image(j)
        said = None if likeness.kind == "equal" else judged.get(frozenset((first.sha256, second.sha256)))
        pairs.append(Pair(first=first, second=second, judged=said, **asdict(likeness)))
    kinds = ("equal", "copy", "alike")

    def rank(pair: Pair) -> tuple[object, ...]:
        left = pair.rest if pair.rest is not None else 0.0
        place = (pair.first.part, pair.first.row, pair.second.part, pair.second.row)
        is_one_label = pair.first.label == pair.second.label
        return not pair.is_same, pair.is_same and is_one_label, not pair.is_across, kinds.index(pair.kind), left, place

    return sorted(pairs, key=rank)


def _confirmed(
    judged: Judgements, everything: _All, found: Container[tuple[int, int]]
) -> dict[tuple[int, int], Likeness]:
    """Pairs that somebody judged to be one picture and the search did not find."""
    number_of = {row.tobytes().hex(): number for number, row in enumerate(everything.exact)}
    same = (
        sorted(number_of[image] for image in pair)
        for pair, is_same in judged.items()
        if is_same and pair <= number_of.keys()
    )
    pairs = (tuple(numbers) for numbers in same if len(numbers) == 2)
    unfound = Likeness("alike", None, 0.0, mirrored=False)
    return {(i, j): unfound for i, j in pairs if (i, j) not in found}


def _counts(pairs: list[Pair]) -> dict[str, int]:
    counts = {"equal": sum(pair.kind == "equal" for pair in pairs)}
    counts["copy"] = sum(pair.is_same for pair in pairs) - counts["equal"]
    counts["alike"] = sum(not pair.is_same for pair in pairs)
    counts["confirmed"] = sum(pair.judged is True for pair in pairs)
    counts["rejected"] = sum(pair.judged is False for pair in pairs)
    return counts


def _leaks(pairs: list[Pair], everything: _All) -> dict[str, Leak]:
    leaks = {}
    for held_out, known in (("test", ("train", "val")), ("val", ("train",))):
        of = int((everything.split == held_out).sum())
        if of:
            rows = {
                one.row
                for pair in pairs
                if pair.is_same
                for one, other in ((pair.first, pair.second), (pair.second, pair.first))
                if one.split == held_out and other.split in known
            }
            leaks[held_out] = Leak(images=len(rows), of=of, rows=sorted(rows))
    return leaks


def _pictures(
    look: Callable[..., dict[tuple[str, int], UInt8Array]], images: Iterable[Image]
) -> Mapping[tuple[str, int], UInt8Array]:
    wanted: dict[str, set[int]] = {}
    for image in images:
        wanted.setdefault(image.part, set()).add(image.row)
    return look(wanted, make=shrunk)


def _splits(everything: _All) -> list[str]:
    return [name for name in ("train", "val", "test") if (everything.split == name).any()]


def _part(part: Scanned) -> PartFindings:
    return PartFindings(
        images=len(part.labels),
        damaged=part.damaged,
        sizes=[(*size, count) for size, count in part.sizes.most_common(10)],
        size_count=len(part.sizes),
        modes=dict(part.modes.most_common()),
    )


def _balance(contents: Contents, everything: _All) -> list[ClassFindings]:
    counts = {
        split: np.bincount(everything.label[everything.split == split], minlength=len(contents.classes))
        for split in _splits(everything)
    }
    return [
        ClassFindings(name=name, images={split: int(count[number]) for split, count in counts.items()})
        for number, name in enumerate(contents.classes)
    ]


def _missing(contents: Contents, everything: _All) -> dict[str, list[str]]:
    balance = _balance(contents, everything)
    found = {split: [each.name for each in balance if not each.images[split]] for split in _splits(everything)}
    return {split: names for split, names in found.items() if names}


def _accuracy(run: Run, leaks: Mapping[str, Leak]) -> RunFindings:
    predictions = run.predictions("test")
    right, leaked = predictions.correct(), np.isin(predictions.ids, leaks["test"].rows)
    return RunFindings(
        folder=str(run.folder),
        top1=float(right.mean()),
        without=None if leaked.all() else float(right[~leaked].mean()),
        leaked=float(right[leaked].mean()) if leaked.any() else None,
    )


def _labels(dataset: Dataset, run: Run | None, everything: _All, classes: int, progress: Progress) -> LabelFindings:
    numbers = np.concatenate([np.flatnonzero(everything.split == name) for name in _splits(everything)])
    labels = everything.label[numbers]
    if run is None:
        from seedwise.audits.features import features_of

        features = [features_of(dataset, name, progress) for name in _splits(everything)]
        probabilities = out_of_fold(np.concatenate(features), labels, classes)
    else:
        from seedwise.audits.folds import by_run

        probabilities = by_run(run, dataset, progress)
    found = suspects(probabilities, labels)
    off = found.joint.copy()
    np.fill_diagonal(off, 0)
    largest = np.argsort(-off, axis=None, kind="stable")[:LISTED_CONFUSIONS]
    given, suggested = np.unravel_index(largest, off.shape)
    return LabelFindings(
        by=None if run is None else str(run.folder),
        top1=float((probabilities.argmax(axis=1) == labels).mean()),
        count=len(found.images),
        images=len(labels),
        suspects=[
            Suspect(image=everything.image(int(numbers[i])), suggested=int(to), margin=round(float(margin), 4))
            for i, to, margin in zip(found.images, found.suggested, found.margin, strict=True)
        ][:LISTED_SUSPECTS],
        pairs=[(int(a), int(b), int(off[a, b])) for a, b in zip(given, suggested, strict=True) if off[a, b]],
    )
