"""The composition root: a recipe, data and a seed become a run folder."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from seedwise import machine, plan, recipes
from seedwise.augment.pipeline import Augmenter
from seedwise.config import dump
from seedwise.config import load as load_section
from seedwise.cost import Cost, measure
from seedwise.data.dataset import Dataset, Subset
from seedwise.data.find import KNOWN_NAMES
from seedwise.data.open import open_data
from seedwise.data.splits import train_probe
from seedwise.engine import checkpoint
from seedwise.engine.evaluate import Predictions, predict, score
from seedwise.engine.loop import Setup, State, fit
from seedwise.engine.placement import Placement
from seedwise.engine.protocols import Observer, Silent
from seedwise.errors import Interrupted, UserError
from seedwise.files import atomic_path, sha256_of, sole_writer, write_json, write_text
from seedwise.models.build import BuiltModel, build_model
from seedwise.models.export_config import timm_config
from seedwise.optim.loss import build_loss
from seedwise.optim.optimizers import build_optimizer
from seedwise.recipe import Recipe
from seedwise.record import RECORD, DataRecord, EpochRow, Final, ModelRecord, RunRecord, read_record, write_record
from seedwise.runs import MODEL_CONFIG, PREDICTIONS, RECIPE, WEIGHTS, Run

log = logging.getLogger("seedwise")

METRICS = "metrics.jsonl"


@dataclass(frozen=True)
class Watch:
    """Who looks on, and who may ask the run to stop (it then leaves a checkpoint and raises Interrupted)."""

    observer: Observer = field(default_factory=Silent)
    should_stop: Callable[[], bool] = lambda: False


def train(
    recipe: Recipe | str,
    data: str | Path,
    *,
    seed: int | None = None,
    out: str | Path | None = None,
    data_dir: str | Path | None = None,
    watch: Watch | None = None,
) -> Run:
    """Train one model and return its run; a folder that holds part of the same run is completed.

    `recipe`: a Recipe, or the name or path of one. `data`: `digits`, `cifar100`, or a folder. `seed`: the run's, by
    default the recipe's own. `out`: the run folder, by default `runs/<data>-<recipe>-<time>`. `data_dir`: where local
    copies of named data lie. Raises UserError for what the caller can mend.
    """
    recipe = recipes.read(recipe) if isinstance(recipe, str) else recipe
    folder = Path(out) if out is not None else default_folder(str(data), recipe.name)
    stored = read_recipe(folder)
    if stored is None:
        resolved = plan.resolve(recipe)
    else:
        plan.demand_same(recipe, stored, str(folder))
        resolved = stored
    seed = resolved.seed if seed is None else seed
    return run(folder, resolved, str(data), seed, Path(data_dir) if data_dir else None, watch or Watch())


def resume(folder: Path, *, watch: Watch | None = None, data_dir: Path | None = None, elsewhere: bool = False) -> Run:
    """Complete a run folder; a finished one is returned as it is.

    `elsewhere` allows another CPU capability or torch version than the run began with, and other bits with it.
    """
    record, recipe = read_record(folder), read_recipe(folder)
    if recipe is None:
        raise UserError(f"{folder / RECIPE}: missing; this run can't be resumed, train it again")
    data_dir = data_dir or (Path(record.data.data_dir) if record.data.data_dir else None)
    return run(folder, recipe, record.data.source, record.seed, data_dir, watch or Watch(), elsewhere=elsewhere)


def run(
    folder: Path,
    recipe: Recipe,
    data: str,
    seed: int,
    data_dir: Path | None,
    watch: Watch,
    *,
    elsewhere: bool = False,
) -> Run:
    """Train or complete the run of a resolved recipe in a folder that nobody else may write meanwhile."""
    with sole_writer(folder):
        known = read_record(folder) if (folder / RECORD).exists() else None
        if known is not None and known.seed != seed:
            raise UserError(f"{folder}: holds a run with seed {known.seed}, not {seed}; choose another folder with -o")
        if known is not None and known.status == "finished":
            return Run(folder)
        if known is not None and not elsewhere:
            _demand_same_machine(folder, known)
        with _logging_to(folder / "train.log"):
            _train(folder, recipe, data, seed, data_dir, known, watch)
        return Run(folder)


def rehearse(recipe: Recipe, data: str, *, data_dir: Path | None) -> tuple[Recipe, dict[str, int], Cost]:
    """The resolved recipe, the sizes of the splits, and the measured cost of a run, without training or downloading."""
    resolved = plan.resolve(recipe)
    torch.set_num_threads(int(resolved.compute.threads))
    dataset = open_data(data, recipe.data, data_dir=data_dir, short_side=plan.short_side(recipe))
    random = recipe.model.model_copy(update={"weights": "none"})
    built = build_model(random, num_classes=len(dataset.classes), seed=recipe.seed)
    return resolved, dataset.splits, measure(prepare(Path(), resolved, recipe.seed, dataset, built))


def read_recipe(folder: Path) -> Recipe | None:
    """The resolved recipe of a run folder, or None when there is none yet."""
    path = folder / RECIPE
    return load_section(Recipe, path) if path.exists() else None


def default_folder(data: str, recipe: str) -> Path:
    """`runs/<data>-<recipe>-<time>`, made at once, so that two runs started in one second get two folders."""
    stem = f"{Path(data).name}-{recipe}-{time.strftime('%Y%m%d-%H%M%S')}"
    for number in range(1, 1000):
        folder = Path("runs") / (stem if number == 1 else f"{stem}-{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(f"{folder}: can't be written: {error.strerror}; choose a folder with -o") from error
    raise UserError(f"runs/{stem}: a thousand runs began in this second; choose a folder with -o")


def _train(
    folder: Path, recipe: Recipe, data: str, seed: int, data_dir: Path | None, known: RunRecord | None, watch: Watch
) -> None:
    torch.set_num_threads(int(recipe.compute.threads))
    began = time.perf_counter()
    dataset = open_data(
        data,
        recipe.data,
        data_dir=data_dir,
        short_side=plan.short_side(recipe),
        progress=_stoppable(watch),
    )
    data_seconds = time.perf_counter() - began
    if known is not None and known.data.fingerprint != dataset.fingerprint:
        raise UserError(f"{folder}: began with other data than {data} holds now; choose another folder with -o")
    built = build_model(recipe.model, num_classes=len(dataset.classes), seed=seed)
    record = _new_record(recipe, seed, data, dataset, built, "running")
    write_text(folder / RECIPE, dump(recipe, header="Resolved: every automatic choice is written out."))
    write_record(folder, record)
    log.info("data %s, %s", dataset.name, dataset.splits)
    log.info("model %s, %d parameters, weights %s", built.architecture, record.parameters, built.weights)
    setup = prepare(folder, recipe, seed, dataset, built)
    try:
        with torch.random.fork_rng(enabled=recipe.compute.device == "cpu", devices=[]):
            state = fit(setup, observer=_Recorder(folder, record, watch.observer), should_stop=watch.should_stop)
            _finish(folder, recipe, record, setup, state, dataset, built, data_seconds, watch)
    except Interrupted:
        _leave(folder, record, "interrupted")
        raise
    except UserError:
        _leave(folder, record, "failed")
        raise


def prepare(
    folder: Path, recipe: Recipe, seed: int, dataset: Dataset, built: BuiltModel, *, num_classes: int | None = None
) -> Setup:
    """Join the parts of a resolved recipe into what the loop trains; `num_classes` is the data's unless given."""
    num_classes = num_classes or len(dataset.classes)
    placement = Placement.of(recipe.compute)
    model = placement.module(built.module)
    if recipe.compute.depthwise_backward == "fast":
        from seedwise.models.depthwise import use_fast_backward

        use_fast_backward(model)
    if recipe.compute.compile is True:
        model.compile()
    return Setup(
        model=model,
        optimizer=build_optimizer(recipe.optim, model.parameters()),
        loss=build_loss(recipe.loss, dataset.train.targets, num_classes, placement.device),
        augment=Augmenter(
            recipe.augment,
            seed=seed,
            rows=dataset.train.rows_in_part,
            mean=built.mean,
            std=built.std,
            device=placement.device,
        ),
        train=dataset.train,
        val=dataset.val,
        num_classes=num_classes,
        config=recipe.train,
        optim=recipe.optim,
        placement=placement,
        seed=seed,
        folder=folder,
    )


def _finish(
    folder: Path,
    recipe: Recipe,
    record: RunRecord,
    setup: Setup,
    state: State,
    dataset: Dataset,
    built: BuiltModel,
    data_seconds: float,
    watch: Watch,
) -> None:
    """Score the kept weights, test last and once, write everything, and only then call the run finished."""
    began = time.perf_counter()
    scored = {
        name: _predict(setup, subset, name, watch)
        for name, subset in (("train", train_probe(dataset.train)), ("val", dataset.val), ("test", dataset.test))
        if subset is not None
    }
    evaluate_seconds = state.evaluate_seconds + time.perf_counter() - began
    _write_predictions(folder / PREDICTIONS, {name: scored[name] for name in ("val", "test") if name in scored})
    config = timm_config(
        built,
        num_classes=len(dataset.classes),
        classes=dataset.classes,
        size=recipe.train.image_size,
        interpolation=recipe.augment.resize.interpolation,
    )
    write_json(folder / MODEL_CONFIG, config)
    _write_weights(folder / WEIGHTS, setup.model)
    rows = state.epochs
    train_seconds = sum(row.seconds for row in rows)
    record.final = Final(
        train=score(scored["train"]),
        val=score(scored["val"]) if "val" in scored else None,
        test=score(scored["test"]) if "test" in scored else None,
    )
    record.epochs = rows
    record.seconds = {
        "data": data_seconds,
        "train": train_seconds,
        "evaluate": evaluate_seconds,
        "total": data_seconds + train_seconds + evaluate_seconds,
    }
    record.images_per_second = len(rows) * len(dataset.train) / train_seconds
    record.selected_epoch = state.best_epoch if recipe.train.select == "best" else len(rows)
    record.epochs_to_95 = _epochs_to_95(rows)
    record.test_evaluations = int("test" in scored)
    record.techniques = setup.augment.effects()
    record.files = {name: sha256_of(folder / name) for name in (RECIPE, METRICS, PREDICTIONS, MODEL_CONFIG, WEIGHTS)}
    record.status = "finished"
    write_record(folder, record)
    checkpoint.clear(folder)
    log.info("finished: %s", record.final)


def _predict(setup: Setup, subset: Subset, name: str, watch: Watch) -> Predictions:
    report = _stoppable(watch)
    return predict(
        setup.model,
        subset,
        setup.augment,
        size=setup.config.image_size,
        placement=setup.placement,
        on_progress=lambda done, total: report(f"scoring {name}", done, total),
    )


def _epochs_to_95(rows: list[EpochRow]) -> int | None:
    tops = [row.val.top1 for row in rows if row.val is not None]
    return next((i for i, top1 in enumerate(tops, 1) if top1 >= 0.95 * max(tops)), None)


def _write_predictions(path: Path, scored: dict[str, Predictions]) -> None:
    arrays = {f"{name}_{key}": value for name, part in scored.items() for key, value in asdict(part).items()}
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def _write_weights(path: Path, model: torch.nn.Module) -> None:
    from safetensors.torch import save_file

    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"format": "pt"})


def _new_record(recipe: Recipe, seed: int, data: str, dataset: Dataset, built: BuiltModel, status: str) -> RunRecord:
    named = data in KNOWN_NAMES
    return RunRecord(
        status=status,  # type: ignore[arg-type]
        recipe=recipe.name,
        seed=seed,
        data=DataRecord(
            name=dataset.name,
            source=data if named else str(dataset.path),
            data_dir=str(dataset.path) if named and dataset.path is not None else None,
            fingerprint=dataset.fingerprint,
            classes=list(dataset.classes),
            superclasses=None if dataset.superclasses is None else list(dataset.superclasses),
            superclass_of=None if dataset.superclass_of is None else dataset.superclass_of.tolist(),
            splits=dataset.splits,
        ),
        model=ModelRecord(
            name=recipe.model.name,
            architecture=built.architecture,
            weights=built.weights,
            mean=built.mean,  # type: ignore[arg-type]
            std=built.std,  # type: ignore[arg-type]
        ),
        parameters=sum(p.numel() for p in built.module.parameters() if p.requires_grad),
        machine=machine.facts(),
        versions=machine.versions(),
    )


class _Recorder:
    """Passes everything on to the real observer, and keeps record and metrics on disk up to date."""

    def __init__(self, folder: Path, record: RunRecord, inner: Observer) -> None:
        self._folder, self._record, self._inner = folder, record, inner
        self.on_start, self.on_step, self.on_phase = inner.on_start, inner.on_step, inner.on_phase

    def on_epoch(self, row: EpochRow, rows: "list[EpochRow]") -> None:
        self._record.epochs = list(rows)
        write_text(self._folder / METRICS, "".join(row.model_dump_json() + "\n" for row in rows))
        write_record(self._folder, self._record)
        log.info("epoch %s", row.model_dump_json())
        self._inner.on_epoch(row, rows)


def _leave(folder: Path, record: RunRecord, status: str) -> None:
    """Note how the run ended; that it ended matters more than a full disk that keeps the note from being written."""
    record.status = status  # type: ignore[assignment]
    with contextlib.suppress(UserError):
        write_record(folder, record)


def _stoppable(watch: Watch) -> Callable[[str, int, int], None]:
    """Progress of phases outside the loop; raises Interrupted when the run shall stop."""

    def report(name: str, done: int, total: int) -> None:
        watch.observer.on_phase(name, done, total)
        if watch.should_stop():
            raise Interrupted(f"stopped during {name}")

    return report


def _demand_same_machine(folder: Path, record: RunRecord) -> None:
    here, versions = machine.facts(), machine.versions()
    for name, before, now in (
        ("CPU capability", record.machine.get("cpu_capability"), here["cpu_capability"]),
        ("torch", record.versions.get("torch"), versions["torch"]),
    ):
        if before != now:
            raise UserError(
                f"{folder}: began with {name} {before}, here it is {now}, so the same bits can't be kept; "
                "resume there, or go on with --elsewhere"
            )


@contextlib.contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    """Append the program's log to the run's train.log while the run lasts."""
    try:
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: can't be written: {error.strerror}; choose another folder with -o") from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()
