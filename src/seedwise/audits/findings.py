"""The findings of an audit, audit.json; without torch, so that reports can read it."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from seedwise.base.files import cache_root, make_folder, read_json
from seedwise.base.notebook import html_table
from seedwise.records.run import DAMAGED, PassedOverRecord, RecordPart, read_checked, write_checked

AUDIT = "audit.json"
UNUSED = "unused"
"""Name in place of a split for images that data.limit, or data.val=0 beside a val part, leaves out."""
Share = Annotated[float, Field(ge=0, le=1)]


class PartFindings(RecordPart):
    """Findings on a part as stored: train, and val and test where the data have them."""

    images: int
    """Readable images."""
    damaged: list[str]
    """A line for each image that can't be decoded."""
    sizes: list[tuple[int, int, int]]
    """(width in pixels, height in pixels, images), the ten most frequent first."""
    size_count: int
    """Number of different sizes."""
    modes: dict[str, int]
    """Number of images by Pillow's mode."""


class ClassFindings(RecordPart):
    """Number of images of a class in the splits of a training."""

    name: str
    images: dict[str, int]
    """By split."""


class Image(RecordPart):
    """An image: `split` and `row` identify it as in predictions.npz; `where` is its file or table row."""

    split: str
    part: str
    row: int
    label: int
    where: str
    sha256: str
    """SHA-256 of size and decoded pixels, by which judged pairs are found again."""


class Pair(RecordPart):
    """Two images that are duplicates or look alike."""

    first: Image
    second: Image
    kind: Literal["equal", "copy", "alike"]
    """`equal` in every pixel; a `copy`: the same picture re-encoded, resized, cropped a little, brightened or mirrored;
    `alike`: no more than that, until somebody confirms it."""
    rest: float | None
    """Difference that remains after alignment, in units of the most that copies are allowed; null for equal ones."""
    detail: float
    """Correlation, in [-1, 1], of the aligned thumbnails minus their blurred copies."""
    mirrored: bool
    judged: bool | None = None
    """What a person judged: one picture, or not; null without a judgement."""

    @property
    def is_same(self) -> bool:
        """Whether they count as duplicates, and across splits as a leak."""
        return self.kind == "equal" or (self.kind == "copy" if self.judged is None else self.judged)

    @property
    def splits(self) -> tuple[str, str]:
        """The splits of both."""
        return self.first.split, self.second.split

    @property
    def is_across(self) -> bool:
        """Whether they are in two splits."""
        return self.first.split != self.second.split

    @property
    def is_opposed(self) -> bool:
        """Whether they are duplicates with two labels."""
        return self.is_same and self.first.label != self.second.label


class FalsePairs(RecordPart):
    """An estimate of false pairs of a kind from labels: false pairs often have two labels, true ones hardly ever."""

    pairs: int
    two_labels: int
    """Pairs whose images have different labels."""
    chance: Share
    """Share of pairs with two labels among those that look alike and are surely not one picture."""
    false: float
    """Estimated false pairs: two_labels / chance, at most all. Too low where what looks alike is mostly of one label,
    too high where one picture often has two."""


class Leak(RecordPart):
    """Held-out images that are also among the images to train on."""

    images: int
    of: int
    """Held-out images in all."""
    rows: list[int]
    """Rows of those images in their part."""


class RunFindings(RecordPart):
    """A run's top-1 on all its test images and on those that don't leak."""

    folder: str
    top1: Share
    without: Share | None
    """Top-1 without leaking images; null when all leak."""
    leaked: Share | None
    """Top-1 on leaking images; null when none do."""


class Suspect(RecordPart):
    """An image whose label is in doubt."""

    image: Image
    suggested: int
    """Index of the class that the prediction suggests."""
    margin: float
    """Probability of that class minus the label's, by a network that did not see the image."""


class LabelFindings(RecordPart):
    """Doubtful labels by confident learning, on predictions of networks that did not see the image."""

    by: str | None
    """The run whose recipe they were trained by; null: a linear head over features of pretrained EfficientNet-Lite0."""
    top1: Share
    """Accuracy of the out-of-fold predictions: the higher, the more a suspect means."""
    count: int
    """Number of suspects."""
    images: int
    suspects: list[Suspect]
    """Up to 1,000 of them, the most doubtful first."""
    pairs: list[tuple[int, int, int]]
    """(label, suggested, images): the largest entries off the diagonal of the confident joint."""


class Findings(RecordPart):
    """The findings of an audit: audit.json."""

    schema_version: int = 2
    kind: Literal["audit"] = "audit"
    data: str
    source: str
    fingerprint: str
    """SHA-256 over the readable original images, whatever size they are stored at: `originals` in a run's record."""
    classes: list[str]
    parts: dict[str, PartFindings]
    splits: dict[str, int]
    given: list[str] = ["train"]
    """Parts that the data bring; others were drawn from train."""
    passed_over: list[PassedOverRecord] = []
    doubts: list[str] = []
    """Doubts about the data's layout that may be mistakes, a line each."""
    balance: list[ClassFindings]
    missing: dict[str, list[str]]
    """Classes without an image, by split."""
    pairs: list[Pair]
    """Up to 20,000: duplicates first, then look-alikes; across splits before within."""
    counts: dict[str, int]
    """Number of pairs: `equal`; `copy`, with what was confirmed; `alike`, with what was rejected; and those that a
    person has `confirmed` or `rejected`."""
    limit: float
    """Largest `rest` of a copy: 1, or less where the labels say that more would be false."""
    estimates: dict[str, FalsePairs]
    """False pairs by kind, `copy` and `alike`."""
    leaks: dict[str, Leak]
    """By held-out split: test against train and val, val against train; only of duplicates."""
    run: RunFindings | None = None
    labels: LabelFindings | None = None

    def table(self) -> list[dict[str, Any]]:
        """A row for each pair: whether it is one picture, its kind, and place, split and class of both images."""
        return [
            {"same": pair.is_same, "kind": pair.kind, "judged": pair.judged, "rest": pair.rest}
            | {
                f"{name}_{what}": value
                for name, one in (("first", pair.first), ("second", pair.second))
                for what, value in (("where", one.where), ("split", one.split), ("class", self.classes[one.label]))
            }
            for pair in self.pairs
        ]

    def _repr_html_(self) -> str:
        leaked = {split: leak.images for split, leak in self.leaks.items()}
        rows = [{"split": it, "images": count, "leaked": leaked.get(it)} for it, count in self.splits.items()]
        counts = self.counts
        lines = [f"one picture twice: {counts['equal'] + counts['copy']} pairs; look-alikes: {counts['alike']} pairs"]
        damaged = sum(len(part.damaged) for part in self.parts.values())
        lines += [f"damaged: {damaged} files"] * (damaged > 0)
        lines += [f"labels in doubt: {self.labels.count}"] if self.labels is not None else []
        return html_table(rows, f"{self.data}: {len(self.classes)} classes", [*lines, *self.doubts])


def stored_audit(fingerprint: str) -> Path:
    """Path of the stored audit of data with this fingerprint: `<cache>/audits/<fingerprint>/audit.json`."""
    return cache_root() / "audits" / fingerprint / AUDIT


def keep(findings: Findings) -> Path:
    """Store an audit where reports look for it."""
    path = stored_audit(findings.fingerprint)
    make_folder(path.parent)
    write_checked(path, findings)
    return path


def find_audit(fingerprint: str | None) -> Findings | None:
    """The stored audit of data with this fingerprint; None without one that this version reads."""
    return None if fingerprint is None else read_audit(stored_audit(fingerprint))


def read_audit(path: Path) -> Findings | None:
    """Read an audit's findings; None without any, and for version 1, which called likeness a leak."""
    if not path.is_file():
        return None
    content = read_json(path, DAMAGED)
    return None if isinstance(content, dict) and content.get("schema_version") == 1 else read_checked(path, Findings)
