"""The audit: one pass over the images, then duplicates, then what a run and a linear head say."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seedwise import plan
from seedwise.audit.findings import (
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
from seedwise.audit.near import near_duplicates
from seedwise.data.audit.labels import out_of_fold, suspects
from seedwise.data.audit.scan import Scanned, exact_duplicates, scan
from seedwise.data.config import DataConfig
from seedwise.data.dataset import Dataset
from seedwise.data.find import find_source
from seedwise.data.open import open_data
from seedwise.data.published import DownloadSource
from seedwise.data.selection import read_contents
from seedwise.data.source import Contents, Progress, Survey, UInt8Array
from seedwise.data.unused import unused_options
from seedwise.errors import UserError
from seedwise.record import PassedOverRecord
from seedwise.runs import Run

STORED_SIDE = 64
LISTED_PAIRS, LISTED_SUSPECTS, LISTED_CONFUSIONS = 20_000, 1000, 20
UNUSED = "unused"
"""In place of a split: what data.limit, or data.val=0 beside a val part, leaves out."""
TOO_ALIKE = 0.2
"""Share of images in pairs above which the data are alike by nature, as scanned digits are."""


@dataclass(frozen=True)
class Audit:
    """Findings, and the thumbnails uint8[n, 32, 32, 3] to show them with, by part."""

    findings: Findings
    thumbnails: Mapping[str, UInt8Array]


@dataclass(frozen=True)
class _All:
    """Every readable image of all parts, one after the other: and the `split` of each."""

    part: NDArray[np.str_]
    row: NDArray[np.int64]
    split: NDArray[np.str_]
    label: NDArray[np.int64]
    where: list[str]

    def image(self, number: int) -> Image:
        return Image(
            split=str(self.split[number]),
            part=str(self.part[number]),
            row=int(self.row[number]),
            label=int(self.label[number]),
            where=self.where[number],
        )


def audit(
    data: str,
    config: DataConfig,
    *,
    data_dir: Path | None = None,
    run: Run | None = None,
    labels: bool = False,
    progress: Progress,
) -> Audit:
    """Check a data set; with a run, its test accuracy without leaks too; with `labels`, which labels are in doubt.

    `config`: how the data are read and split, with a run its own.
    """
    source = find_source(data, data_dir, config)
    if isinstance(source, DownloadSource):
        source.fetch(progress)
    contents = read_contents(source, config)
    parts = scan(source, contents, progress, config.pixel_range)
    damaged = any(part.damaged for part in parts.values())
    if damaged and (run is not None or labels):
        first = next(line for part in parts.values() for line in part.damaged)
        raise UserError(f"{first}; --run and --labels need data that can be trained on")
    side = STORED_SIDE if run is None else plan.stored_sides(run.recipe)["short_side"]
    dataset = None if damaged else open_data(data, config, data_dir=data_dir, short_side=side, progress=progress)
    if run is not None and dataset is not None and dataset.fingerprint != run.record.data.fingerprint:
        raise UserError(f"{run.folder}: was trained on other data than {data}; leave --run out, or give its own data")
    everything = _join(parts, dataset)
    pairs, leaks, too_alike = _duplicates(parts, everything, progress)
    unused = Survey(doubts=tuple(unused_options(source, config)))
    survey = dataset.survey if dataset is not None else contents.survey + unused
    findings = Findings(
        data=source.name,
        source=str(source.path or source.name),
        fingerprint=None if dataset is None else dataset.fingerprint,
        classes=list(contents.classes),
        parts={name: _part(part) for name, part in parts.items()},
        splits={name: int((everything.split == name).sum()) for name in _splits(everything)},
        given=list(contents.parts),
        passed_over=[PassedOverRecord(**asdict(each)) for each in survey.passed_over],
        doubts=list(survey.doubts),
        balance=_balance(contents, everything),
        missing=_missing(contents, everything),
        pairs=pairs[:LISTED_PAIRS],
        pair_count=len(pairs),
        too_alike=too_alike,
        leaks=leaks,
        run=None if run is None else _accuracy(run, leaks),
        labels=_labels(dataset, everything, len(contents.classes), progress) if labels and dataset else None,
    )
    return Audit(findings, {name: part.thumbnails for name, part in parts.items()})


def _join(parts: Mapping[str, Scanned], dataset: Dataset | None) -> _All:
    """Rows stand in the order of the cache, so a split's ids are rows of the part that it was taken from."""
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
    )


def _duplicates(
    parts: Mapping[str, Scanned], everything: _All, progress: Progress
) -> tuple[list[Pair], dict[str, Leak], bool]:
    exact = np.concatenate([part.exact for part in parts.values()])
    thumbnails = np.concatenate([part.thumbnails for part in parts.values()])
    equal = set(exact_duplicates(exact))
    near = near_duplicates(thumbnails, progress)
    found = {
        (int(i), int(j)): (float(alike), float(detail), bool(mirrored))
        for i, j, alike, detail, mirrored in zip(
            near.first, near.second, near.alike, near.detail, near.mirrored, strict=True
        )
    }
    same = {pair for pair in found if (exact[pair[0]] == exact[pair[1]]).all()} | equal
    found |= dict.fromkeys(same, (1.0, 1.0, False))
    split = everything.split
    label = everything.label

    def rank(pair: tuple[int, int]) -> tuple[bool, bool, float, tuple[int, int]]:
        """One picture under two labels comes first: whatever else is right, one of the two is wrong."""
        one, other = pair
        is_opposed = pair in same and label[one] != label[other]
        return not is_opposed, bool(split[one] == split[other]), -found[pair][1], pair

    order = sorted(found, key=rank)
    pairs = [
        Pair(
            first=everything.image(i),
            second=everything.image(j),
            exact=(i, j) in same,
            alike=round(found[i, j][0], 4),
            detail=round(found[i, j][1], 4),
            mirrored=found[i, j][2],
        )
        for i, j in order
    ]
    involved = len({number for pair in found for number in pair})
    return pairs, _leaks(found, everything), involved > TOO_ALIKE * len(split)


def _leaks(found: Mapping[tuple[int, int], object], everything: _All) -> dict[str, Leak]:
    leaks = {}
    for held_out, known in (("test", ("train", "val")), ("val", ("train",))):
        of = int((everything.split == held_out).sum())
        if of:
            numbers = {
                one
                for pair in found
                for one, other in (pair, pair[::-1])
                if everything.split[one] == held_out and everything.split[other] in known
            }
            rows = sorted(int(everything.row[number]) for number in numbers)
            leaks[held_out] = Leak(images=len(rows), of=of, rows=rows)
    return leaks


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
    ids, targets, logits = run.logits("test")
    right = logits.argmax(axis=1) == targets
    leaked = np.isin(ids, leaks["test"].rows)
    return RunFindings(
        folder=str(run.folder),
        top1=float(right.mean()),
        without=None if leaked.all() else float(right[~leaked].mean()),
        leaked=float(right[leaked].mean()) if leaked.any() else None,
    )


def _labels(dataset: Dataset, everything: _All, classes: int, progress: Progress) -> LabelFindings:
    from seedwise.audit.features import features_of

    by_split = {name: features_of(dataset, name, progress) for name in _splits(everything)}
    numbers = np.concatenate([np.flatnonzero(everything.split == name) for name in by_split])
    labels = everything.label[numbers]
    probabilities = out_of_fold(np.concatenate(list(by_split.values())), labels, classes)
    found = suspects(probabilities, labels)
    off = found.joint.copy()
    np.fill_diagonal(off, 0)
    largest = np.argsort(-off, axis=None, kind="stable")[:LISTED_CONFUSIONS]
    given, suggested = np.unravel_index(largest, off.shape)
    return LabelFindings(
        top1=float((probabilities.argmax(axis=1) == labels).mean()),
        count=len(found.images),
        images=len(labels),
        suspects=[
            Suspect(image=everything.image(int(numbers[i])), suggested=int(to), margin=round(float(margin), 4))
            for i, to, margin in zip(found.images, found.suggested, found.margin, strict=True)
        ][:LISTED_SUSPECTS],
        pairs=[(int(a), int(b), int(off[a, b])) for a, b in zip(given, suggested, strict=True) if off[a, b]],
    )
