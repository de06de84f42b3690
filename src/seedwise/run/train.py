"""The composition root: trains a recipe on data with a seed, into a run folder."""

import contextlib
import logging
import time
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from seedwise.base import devices, machine
from seedwise.base.errors import Interrupted, UserError, first_sentence
from seedwise.base.files import LOCK, Unwritable, discard, sole_writer
from seedwise.base.user_code import fails
from seedwise.config.section import load as load_section
from seedwise.data.dataset import Dataset
from seedwise.data.splits import bootstrap, leave_fold
from seedwise.engine import checkpoint
from seedwise.engine.control import RunControl, phase_progress
from seedwise.engine.distributed import World, joined
from seedwise.engine.loop import fit
from seedwise.engine.placement import computing
from seedwise.kernels.swap import chosen
from seedwise.models.build import build_model
from seedwise.models.weights import classifier_names
from seedwise.optim.groups import parameter_groups
from seedwise.recipe import library
from seedwise.recipe.schema import Recipe
from seedwise.records.checksum import LOG
from seedwise.records.run import RECORD, RunRecord, Timed, check_files, read_record
from seedwise.run import resolve
from seedwise.run.assemble import prepare as prepare
from seedwise.run.assemble import warm_start_of
from seedwise.run.data import open_for
from seedwise.run.folder import (
    as_begun,
    default_folder,
    demand_free,
    demand_same_data,
    demand_same_machine,
    note_moves,
    read_recipe,
    user_code_of,
)
from seedwise.run.memory import advising
from seedwise.run.rehearsal import fitted
from seedwise.run.run import RECIPE, Run
from seedwise.run.score import outcome_of, stored_for_tta, with_tta
from seedwise.run.teacher import demand_fit
from seedwise.run.writer import RunWriter, logging_to, new_record

log = logging.getLogger("seedwise")


def train(
    recipe: Recipe | str | Path,
    data: str | Path,
    *,
    seed: int | None = None,
    out: str | Path | None = None,
    seconds: float | None = None,
    data_dir: str | Path | None = None,
    control: RunControl | None = None,
) -> Run:
    """Train one model and return its run, without a report; a folder that holds part of the same run is completed.

    `recipe`: a Recipe, or the name or path of one. `data`: `digits`, `cifar10`, `cifar100`, or the path of a folder,
    table or archive of images. `seed`: the run's, by default the recipe's own. `out`: the run folder, by default
    `runs/<data>-<recipe>-<time>`. `seconds`: what a new run may take with all that it needs; epochs, which must be
    `auto`, and an image size that is, are chosen to fit. `data_dir`: where local copies of named data lie. Raises
    UserError for what the caller can mend.

    Several trainings in threads of one process take turns (`computing`); what other threads draw from torch's
    global generator during a step is theirs to avoid.
    """
    recipe = recipe if isinstance(recipe, Recipe) else library.read(str(recipe))
    data_dir = Path(data_dir) if data_dir is not None else None
    control = control or RunControl()
    folder = Path(out) if out is not None else default_folder(str(data), recipe, data_dir)
    demand_free(folder, study=False)
    stored = read_recipe(folder)
    if stored is not None:
        resolve.demand_same(recipe, stored, str(folder))
        stored = resolve.with_not_trained(stored, recipe)
    resolved, timed = (
        (stored, None) if stored else fitted(recipe, str(data), data_dir=data_dir, control=control, seconds=seconds)
    )
    seed = resolved.seed if seed is None else seed
    if (folder / RECORD).exists():
        record, progress = read_record(folder), phase_progress(control)
        known, finished = record.data, record.status == "finished"
        begun = as_begun(resolved, record)
        demand_same_data(
            folder, known.source, known.fingerprint, begun, str(data), data_dir, progress, finished=finished
        )
    return run(folder, resolved, str(data), seed, data_dir, control, timed=timed)


def resume(
    folder: Path, *, control: RunControl | None = None, data_dir: Path | None = None, elsewhere: bool = False
) -> Run:
    """Complete a run folder; a finished one is returned as it is, after its files' checksums are checked.

    `elsewhere` allows another device, CPU capability or torch version than the run began with, and other bits with it.
    """
    record = read_record(folder)
    check_files(folder, record, RECIPE)
    recipe = load_section(Recipe, folder / RECIPE)
    data_dir = data_dir or (Path(record.data.data_dir) if record.data.data_dir else None)
    return run(folder, recipe, record.data.source, record.seed, data_dir, control or RunControl(), elsewhere=elsewhere)


def run(
    folder: Path,
    recipe: Recipe,
    data: str,
    seed: int,
    data_dir: Path | None,
    control: RunControl,
    *,
    elsewhere: bool = False,
    timed: Timed | None = None,
) -> Run:
    """Train or complete the run of a resolved recipe in a folder, under its lock.

    `timed`: the time that a new run's numbers were chosen for, as its record keeps it. Under torchrun every process
    calls this; the first one holds the folder's lock and writes its files. A UserError for all that can be mended.
    """
    with joined() as world, contextlib.ExitStack() as held:
        if world.is_first:
            _hold(folder, held)
        world.wait()  # nobody looks before the folder is ours
        known = read_record(folder) if (folder / RECORD).exists() else None
        if known is not None:
            if known.seed != seed:
                raise UserError(
                    f"{folder}: holds a run with seed {known.seed}, not {seed}; choose another folder with -o"
                )
            if known.status == "finished":
                kept = (name for name in known.files if (folder / name).exists())  # one may drop what one can spare
                check_files(folder, known, *kept)
                if world.is_first:
                    with contextlib.suppress(OSError):  # of a place that can't be written, where it does no harm
                        checkpoint.clear(folder)  # a kill right after the record was written leaves it
                return Run(folder)
        here = _at_hand(folder, recipe, elsewhere=elsewhere or known is not None)
        if known is not None and not elsewhere:
            demand_same_machine(folder, known, here)
        world.wait()  # nobody writes before all have looked
        try:
            held.enter_context(computing(here.compute, str(folder), phase_progress(control)))
            if world.is_first:
                held.enter_context(logging_to(folder / LOG))
                if known is not None and known.status == "running":
                    log.info("had been broken off; going on from the last checkpoint")
            timed = timed if known is None else known.timed
            _train(folder, recipe, here, data, seed, data_dir, known, control, world, timed)
        except BaseException:
            if world.is_first and not (folder / RECORD).exists():  # it never began: a typo leaves no trace
                discard(folder, LOG, LOCK)
            raise
        world.wait()  # nobody reads before all is written
        return Run(folder)


def _hold(folder: Path, held: contextlib.ExitStack) -> None:
    """Hold the run's lock; a finished run needs none where it can't be written."""
    try:
        held.enter_context(sole_writer(folder))
    except Unwritable:
        if not (folder / RECORD).exists() or read_record(folder).status != "finished":
            raise


def _at_hand(folder: Path, recipe: Recipe, *, elsewhere: bool) -> Recipe:
    """The recipe as this machine can compute it; a UserError where its device is not here, unless `elsewhere`."""
    if not elsewhere and not devices.can_compute(recipe.compute.device):
        try:
            devices.demand(recipe.compute.device)
        except UserError as error:
            raise UserError(f"{folder}: {error}; or go on with --elsewhere") from error
    return recipe.model_copy(update={"compute": resolve.at_hand(recipe.compute)})


def _train(
    folder: Path,
    recipe: Recipe,
    here: Recipe,
    data: str,
    seed: int,
    data_dir: Path | None,
    known: RunRecord | None,
    control: RunControl,
    world: World,
    timed: Timed | None,
) -> None:
    """Train; `here` is the recipe as this machine computes it."""
    began = time.perf_counter()
    begun = as_begun(recipe, known)
    dataset = _opened(begun, data, seed, data_dir, control)
    data_seconds = time.perf_counter() - began
    if known is not None and known.data.fingerprint != dataset.fingerprint:
        raise UserError(f"{folder}: began with other data than {data} holds now; choose another folder with -o")
    demand_fit(recipe, dataset)
    control.observer.on_phase("preparing the network", 0, 1)
    built = build_model(
        recipe.model,
        num_classes=len(dataset.classes),
        seed=seed,
        classes=dataset.classes,
        image_sizes=resolve.image_sizes(recipe),
    )
    parameter_groups(
        recipe.optim, built.module, classifier_names(built.module)
    )  # these refuse before anything is written
    warm_start_of(recipe, built.module)
    record = new_record(here, seed, data, dataset, built)
    record.versions, record.timed = record.versions | user_code_of(here), timed
    if known is not None:
        record.epochs, record.kernels, record.stages = known.epochs, known.kernels, known.stages
        note_moves(record, known, here)
    writer = RunWriter(folder, recipe, record, control.observer, writes=world.is_first)
    with writer.kept(), _explained(folder, recipe):
        writer.begin()
        with torch.random.fork_rng(enabled=here.compute.device == "cpu", devices=[]):
            setup = replace(prepare(folder, here, seed, dataset, built, known_kernels=record.kernels), world=world)
            writer.kernels = lambda: chosen(setup.model)
            writer.plan = setup.plan if setup.stages else ()
            with advising(folder, setup):
                state = fit(setup, observer=writer, should_stop=control.should_stop)
            outcome = outcome_of(recipe, setup, state, dataset, built, data_seconds, control)
            if recipe.tta is not None:
                began = time.perf_counter()
                held_out = stored_for_tta(begun, recipe.tta, data, data_dir, dataset, control)
                outcome = with_tta(outcome, recipe.tta, setup, held_out, began, control)
            writer.finish(outcome)


def _opened(recipe: Recipe, data: str, seed: int, data_dir: Path | None, control: RunControl) -> Dataset:
    """Open the images that this run trains on and is scored on."""
    dataset = open_for(recipe, data, data_dir=data_dir, progress=phase_progress(control))
    if dataset.val is None and (recipe.train.select == "best" or recipe.train.patience is not None):
        raise UserError(
            f"{data}: no image can be spared for validation, which train.select=best and train.patience need: "
            "add images, or drop these options"
        )
    if recipe.data.bootstrap:
        dataset = bootstrap(dataset, seed=seed)
    return dataset if recipe.data.fold is None else leave_fold(dataset, recipe.data.fold)


@contextlib.contextmanager
def _explained(folder: Path, recipe: Recipe) -> Iterator[None]:
    """Turn exceptions that the user can mend into a UserError of one line; train.log has the traceback."""
    try:
        yield
    except (UserError, Interrupted):
        raise
    except Exception as error:
        if (shortage := machine.out_of_memory(error)) is not None:
            log.exception("no memory left")
            raise UserError(
                f"{folder}: {shortage}; lower train.batch_size and raise train.accumulate by the same factor (then "
                "BatchNorm sees fewer images at a time), or lower train.image_size, and train into another folder"
            ) from error
        if recipe.compute.deterministic and "deterministic" in str(error):
            log.exception("not deterministic")
            raise UserError(
                f"compute.deterministic: {first_sentence(error)}; train without what needs it, or set it to false"
            ) from error
        if recipe.model.factory is not None and _in_a_network(error):
            log.exception("%s raised", recipe.model.factory)
            raise fails("model.factory", recipe.model.factory, "in training its network raised", error) from error
        raise


def _in_a_network(error: BaseException) -> bool:
    """Whether an exception arose within a module's forward or backward pass."""
    files = (frame.filename for frame in traceback.extract_tb(error.__traceback__))
    return any("/torch/nn/modules/" in file or "/torch/autograd/" in file for file in files)
