"""What an audit found, as audit.json; torch-free, so that reports can read it."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from seedwise.files import cache_root, make_folder
from seedwise.record import Part, PassedOverRecord, read_sealed, write_sealed

AUDIT = "audit.json"
Share = Annotated[float, Field(ge=0, le=1)]


class PartFindings(Part):
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


class ClassFindings(Part):
    """A class in the splits that training would use."""

    name: str
    images: dict[str, int]
    """By split."""


class Image(Part):
    """An image: `split` and `row` number it as runs do (see predictions.npz); `where` is its file or table row."""

    split: str
    part: str
    row: int
    label: int
    where: str


class Pair(Part):
    """Two images of one picture."""

    first: Image
    second: Image
    exact: bool
    """Equal in every pixel; else re-encoded, shifted, brightened or mirrored."""
    alike: float
    """Correlation of the aligned pixels."""
    detail: float
    """Correlation of the aligned pixels without their blurred copies."""
    mirrored: bool

    @property
    def is_opposed(self) -> bool:
        """Whether it is one picture, equal in every pixel, under two labels."""
        return self.exact and self.first.label != self.second.label


class Leak(Part):
    """Held-out images that are in the images to train on, too."""

    images: int
    of: int
    rows: list[int]
    """Rows of those images in their part."""


class RunFindings(Part):
    """A run's top-1 on its test images, all of them and without those that leak."""

    folder: str
    top1: Share
    without: Share | None
    """Null when all leak."""
    leaked: Share | None
    """On those that leak; null when none do."""


class Suspect(Part):
    """An image whose label is in doubt."""

    image: Image
    suggested: int
    """The class that its prediction speaks for."""
    margin: float
    """Probability of that class less that of the label, by a head that did not see the image."""


class LabelFindings(Part):
    """Confident learning on a linear head over features of pretrained EfficientNet-Lite0."""

    top1: Share
    """Of the out-of-fold predictions against the labels: the better, the more a suspect means."""
    count: int
    """All suspects."""
    images: int
    suspects: list[Suspect]
    """The most doubtful, 1,000 at most."""
    pairs: list[tuple[int, int, int]]
    """(label, suggested, images): the largest off the diagonal of the confident joint."""


class Findings(Part):
    """audit.json."""

    schema_version: int = 1
    kind: Literal["audit"] = "audit"
    data: str
    source: str
    fingerprint: str | None
    """The data's, as in a run's record; null when damaged images keep it from being trained on."""
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
    """Within and across splits, across ones first; 20,000 at most."""
    pair_count: int
    too_alike: bool
    """Whether more than a fifth of all images were paired: then they are alike by nature, and no pair means much."""
    leaks: dict[str, Leak]
    """By held-out split: test against train and val, val against train."""
    run: RunFindings | None = None
    labels: LabelFindings | None = None


def stored_audit(fingerprint: str) -> Path:
    """Where the audit of data with this fingerprint is kept: `<cache>/audits/<fingerprint>/audit.json`."""
    return cache_root() / "audits" / fingerprint / AUDIT


def keep(findings: Findings) -> Path | None:
    """Keep an audit where reports look for it; None for data without a fingerprint."""
    if findings.fingerprint is None:
        return None
    path = stored_audit(findings.fingerprint)
    make_folder(path.parent)
    write_sealed(path, findings)
    return path


def find_audit(fingerprint: str) -> Findings | None:
    """The kept audit of this data, if there is one."""
    path = stored_audit(fingerprint)
    return read_sealed(path, Findings) if path.is_file() else None
