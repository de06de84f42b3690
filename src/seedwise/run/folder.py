"""Which folders may be written: new ones, and those of the same run or study. No other is touched."""

import logging
import re
import time
from pathlib import Path

from seedwise.base import devices, machine, user_code
from seedwise.base.errors import UserError
from seedwise.base.files import LOCK, demand_writable_folder, make_new_folder
from seedwise.config.section import load
from seedwise.data.find import KNOWN_NAMES, find_source
from seedwise.data.folder import FolderSource
from seedwise.data.source import Progress
from seedwise.kernels.rule import NATIVE_KERNELS
from seedwise.recipe.schema import Recipe
from seedwise.records.finished import is_ensemble
from seedwise.records.run import BAGGING, RECIPE, RECORD, STUDY, RunRecord
from seedwise.run.data import open_for

log = logging.getLogger("seedwise")

ELSEWHERE = "choose another folder with -o"
DECISIVE = {
    "device": "device",
    "GPU": "gpu",
    "CUDA": "cuda",
    "cuDNN": "cudnn",
    "CPU capability": "cpu_capability",
    "number of processes": "processes",
}
"""What of a machine decides a run's bits: its name for people, and in a record's `machine`."""


def default_folder(data: str, recipe: Recipe, data_dir: Path | None) -> Path:
    """Create `runs/<data>-<recipe>-<time>`; runs started in the same second get different folders.

    A UserError for data that can't be found, before anything is created.
    """
    if machine.processes() > 1:
        raise UserError("torchrun: every process must know the run folder; give it with -o")
    name = re.sub(r"[^\w.-]+", "_", f"{find_source(data, data_dir, recipe.data).name}-{recipe.name}")
    stem = f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    for number in range(1, 1000):
        folder = Path("runs") / (stem if number == 1 else f"{stem}-{number}")
        if make_new_folder(folder):
            return folder
    raise UserError(f"runs/{stem}: a thousand runs began in this second; choose a folder with -o")


def demand_free(folder: Path, *, study: bool) -> None:
    """Raise a UserError unless the folder is new, or empty, or holds a run (or `study`) to complete."""
    if (folder / BAGGING).exists() or is_ensemble(folder):
        raise UserError(f"{folder}: holds an ensemble, not a {'study' if study else 'single run'}; {ELSEWHERE}")
    if (folder / (RECORD if study else STUDY)).exists():
        words = "a single run, not a study" if study else "a study, not a single run"
        raise UserError(f"{folder}: holds {words}; {ELSEWHERE}")
    if any((folder / name).exists() for name in (LOCK, RECORD, STUDY)):
        return  # what is finished needs no writing
    if folder.is_dir():
        other = next((path.name for path in folder.iterdir() if not path.name.startswith(".")), None)
        if other is not None:
            raise UserError(f"{folder}: holds other files ({other}); choose a new or an empty folder with -o")
    demand_writable_folder(folder)


def demand_outside(picture: Path, data: str, recipe: Recipe, data_dir: Path | None) -> None:
    """Raise a UserError for a picture inside the folder of images that it shows: it would be taken for one."""
    source = find_source(data, data_dir, recipe.data)
    if isinstance(source, FolderSource) and source.path in picture.resolve().parents:
        raise UserError(f"{picture}: would lie among the images of {data}: give a path outside with -o")


def read_recipe(folder: Path) -> Recipe | None:
    """The resolved recipe of a run folder; None before it is written."""
    path = folder / RECIPE
    return load(Recipe, path) if path.exists() else None


def as_begun(recipe: Recipe, record: RunRecord | None) -> Recipe:
    """A stored recipe with the order of its data: runs from before there was `data.order` began in that of `content`.

    Their records don't tell the storage either.
    """
    if record is None or record.data.storage is not None or recipe.data.order is not None:
        return recipe
    return recipe.model_copy(update={"data": recipe.data.model_copy(update={"order": "content"})})


def demand_same_data(
    folder: Path,
    source: str,
    fingerprint: str,
    recipe: Recipe,
    data: str,
    data_dir: Path | None,
    progress: Progress,
    *,
    finished: bool,
) -> None:
    """Raise a UserError unless `data` are those of the folder's run: the same content, wherever it lies.

    `finished`: nothing is left to train. What goes on training opens the data anyway, and looks then whether the same
    place still holds the same.
    """
    found = find_source(data, data_dir, recipe.data)
    same_place = (data if data in KNOWN_NAMES else str(found.path)) == source
    if same_place and not finished:
        return
    now = open_for(recipe, data, data_dir=data_dir, progress=progress)
    if now.fingerprint != fingerprint:
        if same_place:
            raise UserError(f"{folder}: began with other data than {data} holds now; {ELSEWHERE}")
        raise UserError(f"{folder}: holds a run on {source}, not on {data}; {ELSEWHERE}")


def demand_same_machine(folder: Path, record: RunRecord, recipe: Recipe) -> None:
    """Raise a UserError where this machine would change the run's bits."""
    for name, before, now in changed(record, recipe):
        raise UserError(
            f"{folder}: began with {name} {before}, here it is {now}, so the same bits can't be kept; "
            "resume there, or go on with --elsewhere"
        )


def changed(record: RunRecord, recipe: Recipe) -> list[tuple[str, str, str]]:
    """List (what, then, now) for everything that decides a run's bits and differs from when it last trained."""
    here = environment(recipe)
    older = {name: value for name, value in here.items() if name in DECISIVE}  # what a record of before doesn't tell
    then = older | recorded_environment(record)
    return [(name, then.get(name, "None"), now) for name, now in here.items() if then.get(name, "None") != now]


def environment(recipe: Recipe) -> dict[str, str]:
    """Everything on this machine that decides a run's bits, besides recipe, data and seed."""
    here = machine.facts() | devices.facts(recipe.compute.device)
    torch = {"torch": machine.versions()["torch"]}
    return {name: str(here[fact]) for name, fact in DECISIVE.items() if fact in here} | torch | user_code_of(recipe)


def recorded_environment(record: RunRecord) -> dict[str, str]:
    """The `environment` in a run's record, and versions that decide nothing."""
    known = record.machine
    return {name: str(known[fact]) for name, fact in DECISIVE.items() if fact in known} | record.versions


def note_moves(record: RunRecord, known: RunRecord, recipe: Recipe) -> None:
    """Add to `machine` of a run's new record, as `moved`, what changed since the `known` one, and after which epoch."""
    before = known.machine.get("moved")
    changes = list(before) if isinstance(before, list) else []
    for name, then, now in changed(known, recipe):
        changes.append(f"after epoch {len(known.epochs)}: {name} {then} -> {now}")
        log.warning("goes on with other bits: %s %s -> %s", name, then, now)
    if changes:
        record.machine["moved"] = changes


def user_code_of(recipe: Recipe) -> dict[str, str]:
    """File and hash of the user's own code in training, by option and import path, for the record's versions.

    Data is left out, whose fingerprint says more than the code that brings it. Native kernels are code of this
    machine's own too: their bits depend on what compiled them.
    """
    custom = recipe.augment.custom
    paths = {"model.factory": recipe.model.factory, "augment.custom": custom.function if custom else None}
    found = {
        f"{option} {path}": user_code.source(user_code.find(option, path)) for option, path in paths.items() if path
    }
    distill, native = recipe.loss.distill, recipe.compute.kernels in NATIVE_KERNELS
    if distill is None and not native:
        return found
    from seedwise.kernels import swap  # imports torch, which a mistake on the command line need not wait for
    from seedwise.run import teacher

    if distill is not None:
        found[f"teacher {distill.teacher}"] = teacher.digest(Path(distill.teacher))
    if not native:
        return found
    return found | {"kernels": str(swap.version())}
