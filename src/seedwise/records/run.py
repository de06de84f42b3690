"""The run record: configuration, course and results of a run. Everything after training reads it, without torch."""

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
"""Configuration of the ensemble that is trained in the same folder."""
RECIPE, WEIGHTS, PREDICTIONS, MODEL_CONFIG = "recipe.yaml", "model.safetensors", "predictions.npz", "config.json"
INSIGHT = "insight.npz"
"""Other files of a run folder that later steps read; the last one holds images for its report."""
DAMAGED = "restore it, or delete it and give the train command again"
REMAKE = f"delete it and {RECORD} and give the train command again"

Status = Literal["running", "interrupted", "failed", "finished"]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
RGB = Annotated[tuple[float, ...], Field(min_length=3, max_length=3)]
Scalar = str | int | float | bool | None


class RecordPart(BaseModel):
    """Base class of the record's parts: unknown keys and numbers that aren't finite are damage."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    def to_dict(self) -> dict[str, Any]:
        """The part as JSON data."""
        return self.model_dump(mode="json")


class Scores(RecordPart):
    """Classification scores on a set of images."""

    top1: float = Field(ge=0, le=1)
    """Share of images whose most probable class is the target, in [0, 1]."""
    top5: float = Field(ge=0, le=1)
    """Share of images whose target is among the min(5, k) most probable classes, in [0, 1]."""
    loss: float
    """Mean cross-entropy against the hard targets, without smoothing or class weights, in nats."""


def tells_top5(classes: int) -> bool:
    """Whether top-5 can be below 100%; with five classes or fewer it is shown nowhere."""
    return classes > 5


class StagePart(RecordPart):
    """The part of an epoch that belongs to one stage of progressive learning."""

    stage: int
    """From 1."""
    image_size: int
    """Height and width in pixels of the batches that were trained on."""
    images: int
    seconds: float
    """Wall seconds of its training steps."""


def score_rows(by_name: Mapping[str, Scores | None], of: str = "split") -> list[dict[str, Any]]:
    """Scores as rows for a notebook, one for each name that has scores; `of`: heading of the names' column."""
    return [{of: name} | scores.to_dict() for name, scores in by_name.items() if scores is not None]


class EpochRow(RecordPart):
    """Measurements of one epoch; also a line of metrics.jsonl."""

    epoch: int
    """From 1."""
    steps: int
    """Optimizer steps since the start of training."""
    lr: float
    """Learning rate of the epoch's last step."""
    image_size: int
    """Height and width of the training images, in pixels; where a stage begins within the epoch, at its end."""
    strengths: dict[str, float] = {}
    """Technique strengths that progressive learning set at the epoch's end, such as `mixup.alpha` and `dropout`."""
    parts: list[StagePart] = []
    """With progressive learning, the stages that the epoch consists of."""
    train_loss: float
    """Mean training loss in nats, as it was optimized (smoothed, weighted, on augmented images)."""
    train_top1_mixed: float
    """Mean target probability of the predicted class on augmented images: top-1 where nothing mixes labels."""
    val: Scores | None
    """Scores on the validation images; null without any."""
    val_ema: Scores | None = None
    """Scores of the averaged weights (optim.ema) on the same images; null without it, and with optim.swa, whose average
    is scored at the end alone."""
    seconds: float
    """Wall seconds of the epoch's training steps."""
    images_per_second: float
    """Training images per wall second in this epoch."""


class StageRow(RecordPart):
    """A stage of progressive learning, planned and measured."""

    first_step: int
    """Optimizer steps before it."""
    image_size: int
    """Height and width of its training images, in pixels."""
    strengths: dict[str, float]
    """Technique strengths that it sets, such as `rand_augment.magnitude`, `mixup.alpha` and `dropout`."""
    images: int
    """Images trained on so far, in finished epochs."""
    seconds: float
    """Wall seconds of the training steps on them."""
    images_per_second: float | None
    """Training images per wall second; null before it began."""


class Final(RecordPart):
    """Scores of the selected weights."""

    train: Scores
    """On up to 5,000 fixed training images, without augmentation and with BatchNorm's running statistics. A gap to test
    is overfitting where it is more than noise and these statistics have settled (`Convergence.lag`)."""
    val: Scores | None
    test: Scores | None


class Convergence(RecordPart):
    """Diagnostics of whether a finished run was trained long enough."""

    steps: int
    """Optimizer steps of the run."""
    few_steps: bool
    """Whether they are fewer than 100 and the training images are not learned yet (top-1 below 99%)."""
    rising: bool
    """Whether validation top-1 rose by more than noise at the end while the training images are not learned."""
    rise: float | None
    """Validation top-1 of the last epoch above the best one before the last epoch, or before the last tenth of them;
    null without validation images or with one epoch."""
    noise: float | None
    """Two standard errors of such a difference on this number of validation images."""
    lag: float | None
    """Share of their values before training that BatchNorm's running statistics still hold, (1 - momentum)^batches;
    null without BatchNorm that is trained. While it is large, evaluation doesn't show the trained network's accuracy.
    """

    @property
    def reached(self) -> bool:
        """Whether nothing says that the run was too short."""
        return not (self.few_steps or self.rising)


class Timed(RecordPart):
    """The `--time` given, the epochs and image size chosen for it, and those of the data's rule (docs/photos.md)."""

    seconds: float = Field(gt=0)
    """Wall seconds given for all runs of the command, everything included."""
    epochs: int
    rule_epochs: int
    image_size: int
    """Height and width in pixels, as `rule_image_size`."""
    rule_image_size: int

    @property
    def cut(self) -> str | None:
        """`--time 2m: 5 of the 9 epochs that the rule would take`; None where the time sufficed for the rule."""
        said = []
        if self.epochs < self.rule_epochs:
            said.append(f"{self.epochs} of the {self.rule_epochs} epochs that the rule would take")
        if self.image_size < self.rule_image_size:
            said.append(f"{self.image_size} px in place of the rule's {self.rule_image_size}")
        return f"--time {short(self.seconds)}: {', '.join(said)}" if said else None


class EmaRecord(RecordPart):
    """Scores of the averaged weights (optim.ema, optim.swa); all else in the record is about the raw ones."""

    kind: Literal["ema", "swa"] = "ema"
    """Which average it is."""
    val: Scores | None
    test: Scores | None
    """Scored once, after the last epoch, as the raw weights are; this evaluation on test is counted too."""
    distance: float = Field(ge=0)
    """L2 norm of (average - selected raw weights), over the norm of the raw weights."""


class TtaRecord(RecordPart):
    """Scores of the selected raw weights with test-time augmentation (tta), beside the plain ones in `final`."""

    val: Scores | None
    test: Scores | None
    """One more evaluation on test, which is counted."""
    views: int = Field(ge=1)
    """Views of each image whose probabilities are averaged."""


class PartRecord(RecordPart):
    """One split of the data: train, val or test."""

    images: int
    given: bool
    """Whether the data bring this split; false: it was drawn from their training part."""


class PassedOverRecord(RecordPart):
    """Files, rows or classes of the data that were not used, and why."""

    kind: Literal["files", "folders", "images", "rows", "classes"]
    reason: str
    count: int
    examples: list[str]
    """Up to three names, the first ones."""


class DataRecord(RecordPart):
    """The data that the run was trained on."""

    name: str
    source: str
    """Where to find the data again: a known name, or an absolute path."""
    data_dir: str | None = None
    """For a known name, the absolute folder where its local copy was found."""
    fingerprint: str
    """SHA-256 over stored pixels, labels and class names: equal data have equal fingerprints, wherever they lie."""
    originals: str | None = None
    """SHA-256 over the original images' pixels, labels and class names: the same for all sizes at which they are
    stored; finds their audit again. Null in records of older versions."""
    classes: list[str]
    superclasses: list[str] | None = None
    superclass_of: list[int] | None = None
    """For each class the index of its superclass."""
    splits: dict[str, int]
    """Images in train, val and test."""
    parts: dict[str, PartRecord] = {}
    """The splits that have images."""
    passed_over: list[PassedOverRecord] = []
    doubts: list[str] = []
    """Doubts about the data's layout that may be mistakes, a line each."""
    pixel_range: tuple[float, float] | None = None
    """Stored values that became black and white, for images of more than 8 bits; null when all had 8 bits."""
    storage: str | None = None
    """How the images were kept: decoded, or encoded and decoded when their turn came. Null in records of older
    versions."""


class ModelRecord(RecordPart):
    """The network that was trained."""

    name: str
    architecture: str
    """timm's name, or seedwise:small."""
    weights: str
    """Where the initial weights came from."""
    mean: RGB
    """Per channel, for pixels in [0, 1]: normalization that belongs to the weights; so is `std`."""
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
    """With progressive learning, each stage as planned, and its measured speed."""
    final: Final | None = None
    ema: EmaRecord | None = None
    """Scores of the averaged weights, saved in ema.safetensors; null without optim.ema and optim.swa."""
    tta: TtaRecord | None = None
    """Scores with test-time augmentation; null without it."""
    selected_epoch: int | None = None
    """The epoch, from 1, whose weights were kept."""
    epochs_to_95: int | None = None
    """First epoch whose validation top-1 is at least 95% of the best one's."""
    test_evaluations: int = 0
    """How often the test images were scored: 1 for a finished run, one more each for an average of the weights and for
    test-time augmentation."""
    kernels: dict[str, str] = {}
    """Which implementation computed each shape of each operation; a resumed run uses the same."""
    techniques: dict[str, dict[str, float]] = {}
    """Measured effects of each technique that was on."""
    timed: Timed | None = None
    """The `--time` given; null without it."""
    convergence: Convergence | None = None
    """Whether it was trained long enough; null before it is finished, and in records of older versions."""
    inert: list[str] = []
    """Techniques that were on and had no effect, although the chance of that was below one in a million."""
    files: dict[str, str] = {}
    """SHA-256 of the run's other files, in hex."""


P = TypeVar("P", bound=RecordPart)


def write_checked(path: Path, part: RecordPart) -> None:
    """Write a part as JSON with its own checksum, atomically."""
    content = part.model_dump(mode="json")
    write_json(path, content | {SEAL: seal(content)})


def read_checked(path: Path, kind: type[P]) -> P:
    """Read and validate what `write_checked` wrote, with its checksum if it has one; a UserError says what is wrong."""
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
    """A UserError that names the first invalid place of one of our files, in one line whatever its keys are."""
    first = error.errors(include_url=False, include_input=False)[0]
    place, message = _printable(".".join(map(str, first["loc"]))), _printable(first["msg"])
    return UserError(f"{path}: damaged at {place:.80}: {message:.300}; {DAMAGED}")


def _printable(text: str) -> str:
    """Escape line ends, control characters and lone surrogates: keys and messages quote the file."""
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
    """Return the scores of a finished run; a UserError when they, or the times beside them, are missing."""
    if record.final is None or record.images_per_second is None or "total" not in record.seconds:
        raise UserError(f"{folder / RECORD}: damaged, of a finished run but without its scores; {DAMAGED}")
    return record.final


class WithFiles(Protocol):
    """A record with the checksums of its folder's files."""

    files: dict[str, str]


def check_files(folder: Path, record: WithFiles, *names: str) -> None:
    """Check the named files against the checksums in the record; a UserError names the first that differs."""
    for name in names:
        path = folder / name
        if not path.is_file():
            raise UserError(f"{path}: missing; restore it, or delete {RECORD} and give the train command again")
        if name in record.files and sha256_of(path) != record.files[name]:
            raise UserError(f"{path}: damaged, its checksum is not the recorded one; restore it, or {REMAKE}")
