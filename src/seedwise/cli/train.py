"""`seedwise train`."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from seedwise.cli.given import given
from seedwise.cli.options import (
    NO_FLAGS,
    Bagging,
    BaggingAugment,
    BaggingModels,
    Data,
    DataDir,
    DryRun,
    Flags,
    Json,
    Out,
    Overrides,
    RecipeName,
    Seed,
    Seeds,
    Time,
    begin_with,
    read_recipe,
    short_forms,
)

if TYPE_CHECKING:
    from seedwise.recipe.schema import Recipe


@short_forms()
def train(
    context: typer.Context,
    data: Data,
    recipe: RecipeName = None,
    flags: Flags = NO_FLAGS,
    time: Time = None,
    seed: Seed = None,
    seeds: Seeds = None,
    data_dir: DataDir = None,
    out: Out = None,
    settings: Overrides = None,
    bagging: Bagging = None,
    bagging_models: BaggingModels = None,
    bagging_augment: BaggingAugment = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> int:
    """Train a recipe on data: one run, one a seed, or an ensemble on bootstrap samples.

    Examples:

        seedwise train digits --seeds 5

        seedwise train cifar100 -r lite --data-dir DIR --seeds 5 -o runs/lite

        seedwise train cifar100 -r lite --bagging 5 -o runs/bagged

        seedwise train ./photos --time 10m

        seedwise train ./photos -m efficientnet_lite0 --epochs 20 --lr 3e-4 -s augment.cutmix.prob=0.5

    The same command again with the same -o completes what is missing; Ctrl-C loses nothing that `seedwise resume` can't
    bring back. Exit code 3, and the last line says it: all is trained and saved, but a technique that was on did
    nothing.
    """
    from seedwise.inference.training import members_of, seconds_for

    seconds, models, augments = seconds_for(time), _names(bagging_models), _names(bagging_augment)
    chosen = read_recipe(data, recipe, flags, settings)
    begin_with(data, chosen.data, data_dir)
    first = [*members_of(chosen, seed, seeds, bagging, models, augments), chosen][0]
    if dry_run:
        master, count = chosen.seed if seed is None else seed, seeds if bagging is None else str(bagging)
        return _show(first, data, master, count, out, data_dir, seconds, as_json, is_bagging=bagging is not None)
    from seedwise.cli.print_run import announce_trial, print_finished
    from seedwise.cli.progress import watching
    from seedwise.inference.training import train as do
    from seedwise.run.folder import default_folder

    folder = out or default_folder(data, first, data_dir)
    how: dict[str, Any] = {"seed": seed, "seeds": seeds, "time": seconds, "out": folder, "data_dir": data_dir}
    how |= {"bagging": bagging, "bagging_models": models, "bagging_augment": augments}
    with watching(folder) as control:
        done: Any = do(chosen, data, control=control, on_trial=announce_trial, command=partial(given, context), **how)
    return print_finished(done, as_json)


def _names(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _show(
    recipe: "Recipe",
    data: str,
    master: int,
    count: str | None,
    out: Path | None,
    data_dir: Path | None,
    seconds: float | None,
    as_json: bool,
    *,
    is_bagging: bool,
) -> int:
    """Print what would be done. `recipe`: of all runs or the first member; `count`: seeds as `--seeds` takes them."""
    import time

    from seedwise.cli import BEGAN
    from seedwise.cli.print_run import print_nothing_left, print_plan
    from seedwise.cli.settled import finished_seeds, stored_recipe
    from seedwise.engine.control import RunControl
    from seedwise.run.folder import demand_free
    from seedwise.run.rehearsal import rehearse
    from seedwise.run.resolve import demand_same
    from seedwise.study.record import parse_seeds

    seeds = parse_seeds(count, master) if count else (master,)
    if out is not None and not is_bagging:
        demand_free(out, study=count is not None)
    if out is not None and (stored := stored_recipe(out)) is not None:
        demand_same(recipe, stored, str(out))
        recipe, seconds = stored, None  # its numbers were chosen when it began
    finished = finished_seeds(out) if out is not None else set()
    done, left = [it for it in seeds if it in finished], [it for it in seeds if it not in finished]
    if not left:
        print_nothing_left(recipe, done, str(out), as_json)
        return 0
    started = time.monotonic() - BEGAN
    control = RunControl(began=BEGAN)
    found = rehearse(recipe, data, data_dir=data_dir, control=control, seconds=seconds, trials=len(left))
    print_plan(found, left, done, started, as_json)
    return 0
