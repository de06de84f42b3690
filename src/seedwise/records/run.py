"""The run record: what a run was, did and reached. Everything downstream reads it, without torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from seedwise.base.durations import short
from seedwise.base.errors import UserError
from seedwise.base.files import read_json, sha256_of, write_json
from seedwise.base.nearest import demand_folder
from seedwise.records.checksum import RECORD as RECORD
from seedwise.records.checksum import SEAL, seal
from seedwise.records.checksum import STUDY as STUDY
from seedwise.records.which_run import no_run

SCHEMA_VERSION = 1
BAGGING = "bagging.json"
"""What an ensemble in the same folder is trained from."""
RECIPE, WEIGHTS, PREDICTIONS, MODEL_CONFIG = "recipe.yaml", "model.safetensors", "predictions.npz", "config.json"
INSIGHT = "insight.npz"
"""A run folder's other files that later steps read; the last one holds pictures for its report."""
DAMAGED = "restore it, or delete it and give the train command again"
REMAKE = f"delete it and {RECORD} and give the train command again"

Status = Literal["running", "interrupted", "failed", "finished"]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
RGB = Annotated[tuple[float, ...], Field(min_length=3, max_length=3)]
Scalar = str | int | float | bool | None


class RecordPart(BaseModel):
    """Base of the record's parts: unknown keys are damage, numbers are finite."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    def to_dict(self) -> dict[str, Any]:
        """Everything in it, as JSON has it."""
        return self.model_dump(mode="json")


class Scores(RecordPart):
    """How a set of images is classified."""

    top1: float = Field(ge=0, le=1)
    """Share of images whose most probable class is the target."""
    top5: float = Field(ge=0, le=1)
    """Share whose target is among the min(5, k) most probable classes."""
    loss: float
    """Mean cross-entropy against the hard targets, without smoothing or class weights, in nats."""


def tells_top5(classes: int) -> bool:
    """Whether top-5 can be anything but 100%: with five classes or fewer it is shown nowhere."""
    return classes > 5


class StagePart(RecordPart):
    """What one stage of progressive learning had of an epoch."""

    stage: int
    """From 1."""
    image_size: int
    """Height and width in pixels of the batches that the model was really fed."""
    images: int
    seconds: float
    """Wall seconds of its training steps."""


def score_rows(by_name: Mapping[str, Scores | None], of: str = "split") -> list[dict[str, Any]]:
    """A row a name that has scores, for a notebook; `of`: the first column, what the names are."""
    return [{of: name} | scores.to_dict() for name, scores in by_name.items() if scores is not None]


class EpochRow(RecordPart):
    """One epoch; also a line of metrics.jsonl."""

    epoch: int
    """From 1."""
    steps: int
    """Optimizer steps since the start of training."""
    lr: float
    """Learning rate of the epoch's last step."""
    image_size: int
    """Height and width of the training images, in pixels; where a stage begins within the epoch, at its end."""
    strengths: dict[str, float] = {}
    """What progressive learning set at the epoch's end, such as `mixup.alpha` and `dropout`."""
    parts: list[StagePart] = []
    """With progressive learning, the stages that the epoch belongs to."""
    train_loss: float
    """Mean training loss, as it was optimized (smoothed, weighted, on augmented images)."""
    train_top1_mixed: float
    """Mean target probability of the predicted class on augmented images: top-1 where nothing mixes labels."""
    val: Scores | None
    """On the validation images, or null without any."""
    val_ema: Scores | None = None
    """The average's (optim.ema), on the same images; null without one."""
    seconds: float
    """Wall seconds of the epoch's training steps."""
    images_per_second: float
    """Training images per wall second in this epoch."""


class StageRow(RecordPart):
    """A stage of progressive learning."""

    first_step: int
    """Optimizer steps before it."""
    image_size: int
    """Height and width of its training images, in pixels."""
    strengths: dict[str, float]
    """What it sets, such as `rand_augment.magnitude`, `mixup.alpha` and `dropout`."""
    images: int
    """Training images so far, in finished epochs."""
    seconds: float
    """Wall seconds of their training steps."""
    images_per_second: float | None
    """Training images per wall second; null before it began."""


class Final(RecordPart):
    """Scores of the kept weights."""

    train: Scores
    """On up to 5,000 fixed training images, without augmentation and with BatchNorm's running statistics. What it lies
    above test is overfitting where it is more than noise and these statistics have settled (`Convergence.lag`)."""
    val: Scores | None
    test: Scores | None


class Convergence(RecordPart):
    """Whether a finished run was long enough."""

    steps: int
    """Optimizer steps."""
    few_steps: bool
    """They are fewer than 100, and the training images are not learned yet (top-1 below 99%)."""
    rising: bool
    """Validation top-1 rose by more than noise at the end, and the training images are not learned."""
    rise: float | None
    """Validation top-1 of the last epoch above the best one before the last epoch, or before the last tenth of them;
    null without a validation or with one epoch."""
    noise: float | None
    """Two standard errors of such a difference on so many validation images."""
    lag: float | None
    """Share that BatchNorm's running statistics still hold of what they were before training, (1 - momentum)^batches;
    null without BatchNorm that learns. While it is large, no accuracy here is quite the trained network's."""

    @property
    def reached(self) -> bool:
        """Nothing says that the run was too short."""
        return not (self.few_steps or self.rising)


class Timed(RecordPart):
    """`--time`, what it bought, and what the rule for the data (docs/photos.md) takes without it."""

    seconds: float = Field(gt=0)
    """What all runs of the command might take, with all that they need."""
    epochs: int
    rule_epochs: int
    image_size: int
    """Pixels."""
    rule_image_size: int

    @property
    def cut(self) -> str | None:
        """`--time 2m: 5 of the 9 epochs that the rule would take`, or None where the time was long enough."""
        said = []
        if self.epochs < self.rule_epochs:
            said.append(f"{self.epochs} of the {self.rule_epochs} epochs that the rule would take")
        if self.image_size < self.rule_image_size:
            said.append(f"{self.image_size} px in place of the rule's {self.rule_image_size}")
        return f"--time {short(self.seconds)}: {', '.join(said)}" if said else None


class EmaRecord(RecordPart):
    """The average of the weights (optim.ema), beside the raw ones that everything else in the record is about."""

    val: Scores | None
    test: Scores | None
    """Scored once, after the last epoch, as the raw weights are: that read of the test images is counted too."""
    distance: float = Field(ge=0)
    """L2 norm of the average's difference to the kept raw weights, over that of the raw weights."""


class TtaRecord(RecordPart):
    """Test-time augmentation (tta), of the kept raw weights, beside the plain scores in `final`."""

    val: Scores | None
    test: Scores | None
    """One more read of the test images, which is counted."""
    views: int = Field(ge=1)
    """Views of each image whose probabilities were averaged."""


class PartRecord(RecordPart):
    """A part of the data."""

    images: int
    given: bool
    """The data have it themselves; false: it was drawn from their training part."""


class PassedOverRecord(RecordPart):
    """What lies with the data and was not used."""

    kind: Literal["files", "folders", "images", "rows", "classes"]
    reason: str
    count: int
    examples: list[str]
    """The first names, three at most."""


class DataRecord(RecordPart):
    """What the run was trained on."""

    name: str
    source: str
    """What finds the data again: a known name, or an absolute path."""
    data_dir: str | None = None
    """For a known name, the absolute folder where its local copy was found."""
    fingerprint: str
    """SHA-256 over pixels as stored, labels and class names: equal data, equal fingerprint, wherever it lies."""
    originals: str | None = None
    """As much over the pixels of the original images: one for all sizes at which they are stored, by which audits are
    found again. Null in records from before there was one."""
    classes: list[str]
    superclasses: list[str] | None = None
    superclass_of: list[int] | None = None
    """For each class the index of its superclass."""
    splits: dict[str, int]
    """Images in train, val and test."""
    parts: dict[str, PartRecord] = {}
    """Those of them that have images."""
    passed_over: list[PassedOverRecord] = []
    doubts: list[str] = []
    """What may not be what was meant; a line each."""
    pixel_range: tuple[float, float] | None = None
    """What was black and what was white in images of more than 8 bits; null when all had 8 bits."""


class ModelRecord(RecordPart):
    """What was trained."""

    name: str
    architecture: str
    """timm's name, or seedwise:small."""
    weights: str
    """Where the initial weights came from."""
    mean: RGB
    """Normalization per channel, on images in [0, 1]; it comes from the weights."""
    std: RGB


class RunRecord(RecordPart):
    """record.json of a run folder."""

    schema_version: int = SCHEMA_VERSION
    kind: Literal["run"] = "run"
    status: Status
    recipe: str
    """The recipe's name; recipe.yaml beside it is the whole of it."""
    seed: Seed
    data: DataRecord
    model: ModelRecord
    parameters: int
    """Trainable numbers of the model."""
    machine: dict[str, Scalar | Sequence[Scalar]]
    versions: dict[str, str]
    seconds: dict[str, float] = {}
    """Wall seconds by phase: train (steps only), evaluate, data, total."""
    images_per_second: float | None = None
    """Training images per wall second over the whole run."""
    epochs: list[EpochRow] = []
    stages: list[StageRow] = []
    """With progressive learning: what was planned, and how fast each stage was."""
    final: Final | None = None
    ema: EmaRecord | None = None
    """The average of the weights, saved in ema.safetensors; null without optim.ema."""
    tta: TtaRecord | None = None
    """Test-time augmentation's scores; null without it."""
    selected_epoch: int | None = None
    """The epoch whose weights were kept."""
    epochs_to_95: int | None = None
    """First epoch whose validation top-1 is at least 95% of the best one's."""
    test_evaluations: int = 0
    """How often the test images were scored: 1 for a finished run, one more each for EMA and test-time augmentation."""
    kernels: dict[str, str] = {}
    """Which implementation computed each shape of each operation; a resumed run uses the same."""
    techniques: dict[str, dict[str, float]] = {}
    """Measured effects of each technique that was on."""
    timed: Timed | None = None
    """The time that it was given; null without one."""
    convergence: Convergence | None = None
    """Whether it was long enough; null before it is finished, and in records of older versions."""
    inert: list[str] = []
    """Techniques that were on and did nothing, although the chance of that was below one in a million."""
    files: dict[str, str] = {}
    """SHA-256 of the run's other files, in hex."""


P = TypeVar("P", bound=RecordPart)


def write_checked(path: Path, part: RecordPart) -> None:
    """Write a part as JSON, atomically, with its own checksum in it."""
    content = part.model_dump(mode="json")
    write_json(path, content | {SEAL: seal(content)})


def read_checked(path: Path, kind: type[P]) -> P:
    """Read what `write_checked` wrote; a UserError says what is wrong with it. Without a checksum it isn't compared."""
    content = read_json(path, DAMAGED)
    version = content.get("schema_version") if isinstance(content, dict) else None
    if not isinstance(version, str | int | None):
        version = type(version).__name__
    known = kind.model_fields["schema_version"].default
    if version != known:
        raise UserError(f"{path}: schema version {version!r:.40}; this seedwise reads version {known}")
    known_as = kind.model_fields["kind"].default if "kind" in kind.model_fields else None
    if known_as is not None and content.get("kind", known_as) != known_as:
        raise UserError(f"{path}: of kind {content['kind']!r:.40}, not {known_as!r}; give the folder of a {known_as}")
    written = content.pop(SEAL, None)
    try:
        part = kind.model_validate(content)
        part.model_dump(mode="json")  # what can't be written again isn't ours
    except ValidationError as error:
        raise damaged(path, error) from error
    except ValueError as error:
        raise UserError(f"{path}: damaged, it is nested too deeply; {DAMAGED}") from error
    if written not in (None, seal(content)):
        raise UserError(f"{path}: damaged, its checksum is not the one in it; {DAMAGED}")
    return part


def damaged(path: Path, error: ValidationError) -> UserError:
    """The first problem of a file of ours, in one line whatever its keys are."""
    first = error.errors(include_url=False, include_input=False)[0]
    place, message = _printable(".".join(map(str, first["loc"]))), _printable(first["msg"])
    return UserError(f"{path}: damaged at {place:.80}: {message:.300}; {DAMAGED}")


def _printable(text: str) -> str:
    """The text with line ends, control characters and lone surrogates escaped: keys and messages quote the file."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def write_record(folder: Path, record: RunRecord) -> None:
    """Write a run's record.json atomically."""
    write_checked(folder / RECORD, record)


def read_record(folder: Path) -> RunRecord:
    """Read a run's record.json; a UserError says what is missing or damaged."""
    path = folder / RECORD
    if not path.is_file():
        demand_folder(folder, "a run's")
        raise no_run(folder)
    return read_checked(path, RunRecord)


def demand_final(folder: Path, record: RunRecord) -> Final:
    """The scores of a finished run; a UserError when they, or the times beside them, are not in its record."""
    if record.final is None or record.images_per_second is None or "total" not in record.seconds:
        raise UserError(f"{folder / RECORD}: damaged, of a finished run but without its scores; {DAMAGED}")
    return record.final


class WithFiles(Protocol):
    """A record that knows the checksums of its folder's files."""

    files: dict[str, str]


def check_files(folder: Path, record: WithFiles, *names: str) -> None:
    """Check the named files against the checksums in the record; a UserError names the first that differs."""
    for name in names:
        path = folder / name
        if not path.is_file():
            raise UserError(f"{path}: missing; restore it, or delete {RECORD} and give the train command again")
        if name in record.files and sha256_of(path) != record.files[name]:
            raise UserError(f"{path}: damaged, its checksum is not the recorded one; restore it, or {REMAKE}")
