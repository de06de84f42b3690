"""record.json of an ensemble: its members, how they vote, and what the vote gains."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from seedwise.records.run import RECORD, SCHEMA_VERSION, DataRecord, Final, RecordPart, Scores, Seed, write_checked

Vote = Literal["soft", "hard", "weighted"]
Selection = Literal["all", "greedy"]


class Member(RecordPart):
    """A run that votes. The numbers are copied from its record, so that the ensemble can be read without it."""

    folder: str
    """Relative to the ensemble's folder."""
    recipe: str
    seed: Seed
    architecture: str
    image_size: int | None
    """Height and width in pixels in its last epoch."""
    picks: int = Field(ge=0)
    """How often the selection took it: 1 without a selection, 0 without a vote."""
    weight: float = Field(ge=0, le=1)
    """Its share of the vote, in [0, 1]; all sum to 1."""
    parameters: int
    train_seconds: float
    """Wall seconds of its training steps."""
    final: Final
    gap: float | None
    """Top-1 on its own training images minus top-1 on test (on validation where there is no test)."""
    files: dict[str, str]
    """SHA-256 of its weights and its stored predictions. Not of its record, to which a later evaluation may add."""


class Gain(RecordPart):
    """Top-1 of the ensemble minus another's on the same images, a fraction."""

    mean: float
    ci95: tuple[float, float] | None
    """95% interval with the images random and the networks fixed."""
    p: float | None


class HeldOut(RecordPart):
    """Scores of the ensemble and of its members on held-out images."""

    scores: Scores
    ece: float
    """Expected calibration error, 15 bins."""
    mean_of_members: Scores
    ece_of_members: float
    """Mean of the members' expected calibration errors."""
    best_member: Scores | None
    """Scores of the member that is best by validation; null without validation images."""
    gain_over_mean: Gain
    gain_over_best: Gain | None
    disagreement: float
    """Share of images on which two members predict different classes, averaged over all pairs."""
    disagreement_ratio: float | None
    """`disagreement` over the members' mean error: 0 for copies of one network (Fort et al. 2019, arXiv 1912.02757)."""


class OutOfBag(RecordPart):
    """Out-of-bag scores: each training image is scored by those members that weren't trained on it."""

    top1: float
    loss: float
    """Mean cross-entropy in nats."""
    images: int
    """Training images that at least one member wasn't trained on."""
    votes: float
    """Mean number of members that vote on an image: about 37% of them, so the ensemble itself is better than this."""
    top1_of_all: float | None = None
    """`top1` as it may be expected of all members' votes. With s, the top-1 of single members on these images, B
    members and k votes on an image: s + (top1 - s)(1 - 1/B) / (1 - mean of 1/k), for a vote's gain over one member
    grows about as 1 - 1/k; null where no image has two votes, and in older records."""


class EnsembleRecord(RecordPart):
    """record.json of an ensemble's folder."""

    schema_version: int = SCHEMA_VERSION
    kind: Literal["ensemble"] = "ensemble"
    status: Literal["finished"] = "finished"
    vote: Vote
    select: Selection
    seed: Seed | None
    """The master seed that the members' seeds were drawn from; null unless they were trained as one ensemble."""
    members: list[Member]
    best: int | None
    """Index in `members` of the one that is best by validation; null without validation images."""
    data: DataRecord
    val: HeldOut | None
    test: HeldOut | None
    oob: OutOfBag | None
    """Null unless members were trained on bootstrap samples."""
    parameters: int
    """Trainable numbers of all members that vote."""
    networks: int
    """Members that vote, and thus networks that each image passes through."""
    relative_time: float | None
    """Prediction time in units of a single member's; null where members differ in architecture or image size."""
    seconds: dict[str, float]
    """Wall seconds that the voting members took to train, as in a run's record."""
    test_evaluations: int
    """How often the votes were scored on test; the members' own evaluations are in their records."""
    versions: dict[str, str]
    files: dict[str, str] = {}
    """SHA-256 of the folder's other files."""

    @property
    def votes(self) -> list[float]:
        """Weight of each member's vote, as `combine` takes it; for a hard vote its number of votes."""
        return [member.picks if self.vote == "hard" else member.weight for member in self.members]


def write_ensemble(folder: Path, record: EnsembleRecord) -> None:
    """Write an ensemble's record.json atomically."""
    write_checked(folder / RECORD, record)
