"""What an audit found, as audit.json; torch-free, so that reports can read it."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from seedwise.base.files import cache_root, make_folder, read_json
from seedwise.base.notebook import html_table
from seedwise.records.run import DAMAGED, PassedOverRecord, RecordPart, read_checked, write_checked

AUDIT = "audit.json"
UNUSED = "unused"
"""In place of a split: what data.limit, or data.val=0 beside a val part, leaves out."""
Share = Annotated[float, Field(ge=0, le=1)]


class PartFindings(RecordPart):
    """A part as it lies on disk: train, and val and test where the data has them."""

    images: int
    """Readable ones."""
    damaged: list[str]
    """A line for each that can't be decoded."""
    sizes: list[tuple[int, int, int]]
    """(width, height, images), the most frequent first, ten at most."""
    size_count: int
    """How many different sizes there are."""
    modes: dict[str, int]
    """Images by Pillow's mode."""


class ClassFindings(RecordPart):
    """A class in the splits that training would use."""

    name: str
    images: dict[str, int]
    """By split."""


class Image(RecordPart):
    """An image: `split` and `row` number it as runs do (see predictions.npz); `where` is its file or table row."""

    split: str
    part: str
    row: int
    label: int
    where: str
    sha256: str
    """Of its size and decoded pixels: by it a pair that was judged is known again."""


class Pair(RecordPart):
    """Two images that are one picture, or look alike."""

    first: Image
    second: Image
    kind: Literal["equal", "copy", "alike"]
    """`equal` in every pixel; a `copy`: the same picture re-encoded, resized, cropped a little, brightened or mirrored;
    `alike`: no more than that, until somebody confirms it."""
    rest: float | None
    """What is left between them once aligned, where 1 is the most that copies are allowed; null for equal ones."""
    detail: float
    """Correlation of the aligned thumbnails without their blurred copies."""
    mirrored: bool
    judged: bool | None = None
    """What somebody who looked at them says: one picture, or not; null when nobody did."""

    @property
    def is_same(self) -> bool:
        """Whether they are called one picture: duplicates, and a leak across splits."""
        return self.kind == "equal" or (self.kind == "copy" if self.judged is None else self.judged)

    @property
    def splits(self) -> tuple[str, str]:
        """Where they stand."""
        return self.first.split, self.second.split

    @property
    def is_across(self) -> bool:
        """Whether they stand in two splits."""
        return self.first.split != self.second.split

    @property
    def is_opposed(self) -> bool:
        """Whether it is one picture under two labels."""
        return self.is_same and self.first.label != self.second.label


class FalsePairs(RecordPart):
    """How many pairs of a kind are false, by their labels: false ones often join two labels, true ones hardly ever."""

    pairs: int
    two_labels: int
    """Those of them whose images have different labels."""
    chance: Share
    """How often pairs join two labels that are surely not one picture, though they look alike."""
    false: float
    """two_labels / chance, at most all: too few where what looks alike is mostly of one label, and too many where one
    picture often has two."""


class Leak(RecordPart):
    """Held-out images that are in the images to train on, too."""

    images: int
    of: int
    rows: list[int]
    """Rows of those images in their part."""


class RunFindings(RecordPart):
    """A run's top-1 on its test images, all of them and without those that leak."""

    folder: str
    top1: Share
    without: Share | None
    """Null when all leak."""
    leaked: Share | None
    """On those that leak; null when none do."""


class Suspect(RecordPart):
    """An image whose label is in doubt."""

    image: Image
    suggested: int
    """The class that its prediction speaks for."""
    margin: float
    """Probability of that class less that of the label, by a head that did not see the image."""


class LabelFindings(RecordPart):
    """Confident learning on predictions by networks that did not see the image."""

    by: str | None
    """The run whose recipe they were trained by; null: a linear head over features of pretrained EfficientNet-Lite0."""
    top1: Share
    """Of the out-of-fold predictions against the labels: the better, the more a suspect means."""
    count: int
    """All suspects."""
    images: int
    suspects: list[Suspect]
    """The most doubtful, 1,000 at most."""
    pairs: list[tuple[int, int, int]]
    """(label, suggested, images): the largest off the diagonal of the confident joint."""


class Findings(RecordPart):
    """audit.json."""

    schema_version: int = 2
    kind: Literal["audit"] = "audit"
    data: str
    source: str
    fingerprint: str
    """Of the original images that can be read, whatever size they are stored at: `originals` in a run's record."""
    classes: list[str]
    parts: dict[str, PartFindings]
    splits: dict[str, int]
    given: list[str] = ["train"]
    """The parts that the data have themselves; others were drawn from train."""
    passed_over: list[PassedOverRecord] = []
    doubts: list[str] = []
    """What may not be what was meant; a line each."""
    balance: list[ClassFindings]
    missing: dict[str, list[str]]
    """By split, the classes without an image in it."""
    pairs: list[Pair]
    """One picture each first, then look-alikes; across splits before within; 20,000 at most."""
    counts: dict[str, int]
    """Pairs: `equal`; `copy`, with what was confirmed; `alike`, with what was rejected; and how many a person has
    `confirmed` or `rejected`."""
    limit: float
    """The `rest` up to which pairs are copies: 1, or less where the labels say that more would be false."""
    estimates: dict[str, FalsePairs]
    """By kind, `copy` and `alike`."""
    leaks: dict[str, Leak]
    """By held-out split: test against train and val, val against train; of pairs that are one picture alone."""
    run: RunFindings | None = None
    labels: LabelFindings | None = None

    def table(self) -> list[dict[str, Any]]:
        """A row a pair: whether it is one picture, its kind, and of both images where they are, split and class."""
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
    """Where the audit of data with this fingerprint is kept: `<cache>/audits/<fingerprint>/audit.json`."""
    return cache_root() / "audits" / fingerprint / AUDIT


def keep(findings: Findings) -> Path:
    """Keep an audit where reports look for it."""
    path = stored_audit(findings.fingerprint)
    make_folder(path.parent)
    write_checked(path, findings)
    return path


def find_audit(fingerprint: str | None) -> Findings | None:
    """The kept audit of this data, if there is one that this version reads."""
    return None if fingerprint is None else read_audit(stored_audit(fingerprint))


def read_audit(path: Path) -> Findings | None:
    """An audit's findings; None where there are none. The first version called likeness a leak: it is not repeated."""
    if not path.is_file():
        return None
    content = read_json(path, DAMAGED)
    return None if isinstance(content, dict) and content.get("schema_version") == 1 else read_checked(path, Findings)
