"""`seedwise train`."""

from pathlib import Path
from typing import TYPE_CHECKING

from seedwise import machine
from seedwise.cli.options import (
    BatchSize,
    Data,
    DataDir,
    Device,
    DryRun,
    Epochs,
    ImageSize,
    Json,
    LearningRate,
    Model,
    Out,
    Overrides,
    Patience,
    Precision,
    RecipeName,
    Seed,
    Seeds,
    Select,
    Threads,
    Weights,
    default_recipe,
    overrides,
)

if TYPE_CHECKING:
    from seedwise.recipe import Recipe


def train(
    data: Data,
    recipe: RecipeName = None,
    model: Model = None,
    weights: Weights = None,
    epochs: Epochs = None,
    lr: LearningRate = None,
    batch_size: BatchSize = None,
    img_size: ImageSize = None,
    seed: Seed = None,
    seeds: Seeds = None,
    select: Select = None,
    patience: Patience = None,
    device: Device = None,
    precision: Precision = None,
    threads: Threads = None,
    data_dir: DataDir = None,
    out: Out = None,
    settings: Overrides = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Train a recipe on data: one run, or one a seed.

    Examples:

        seedwise train digits --seeds 5

        seedwise train cifar100 -r lite --data-dir DIR --seeds 5 -o runs/lite

        seedwise train ./photos -m efficientnet_lite0 --epochs 20 --lr 3e-4 -s augment.cutmix.prob=0.5

    The same command again with the same -o completes what is missing; Ctrl-C loses nothing that `seedwise resume` can't
    bring back.
    """
    from seedwise import recipes
    from seedwise.errors import UserError

    flags = {
        "model.name": model,
        "model.weights": weights,
        "train.epochs": epochs,
        "optim.lr": lr,
        "train.batch_size": batch_size,
        "train.image_size": img_size,
        "train.select": select,
        "train.patience": patience,
        "compute.device": device,
        "compute.precision": precision,
        "compute.threads": int(threads) if threads and threads.isdecimal() else threads,
    }
    if seed is not None and seeds is not None:
        raise UserError("--seed and --seeds: give one of them; --seeds takes a list such as 3,7,11 too")
    chosen = recipes.read(default_recipe(data) if recipe is None else recipe, overrides(flags, settings))
    _demand_one_network(chosen, model, weights)
    if dry_run:
        _dry_run(chosen, data, data_dir, seed, seeds, as_json)
    elif seeds is not None:
        _train_study(chosen, data, seeds, data_dir, out, as_json)
    else:
        _train_one(chosen, data, seed, data_dir, out, as_json)


def _demand_one_network(recipe: "Recipe", model: str | None, weights: str | None) -> None:
    """Refuse a named model, or weights published for one, beside the user's own network, which would replace it."""
    from seedwise.errors import UserError

    factory = recipe.model.factory
    if factory is not None and model not in (None, recipe.model.name):
        raise UserError(f"-m {model}: the model is model.factory={factory}; drop one of them (-s model.factory=null)")
    if factory is not None and weights in ("pip", "hub"):
        raise UserError(
            f"--weights {weights}: is for named models, and the model is model.factory={factory}; "
            "give --weights none, or a file or folder"
        )


def _train_one(
    recipe: "Recipe", data: str, seed: int | None, data_dir: Path | None, out: Path | None, as_json: bool
) -> None:
    from seedwise.cli.show import print_run
    from seedwise.cli.watch import watching
    from seedwise.folders import default_folder
    from seedwise.training import train as train_run

    folder = out or default_folder(data, recipe, data_dir)
    with watching(folder) as watch:
        run = train_run(recipe, data, seed=seed, out=folder, data_dir=data_dir, watch=watch)
    if machine.rank() == 0:
        print_run(run.folder, run.record, as_json)


def _train_study(
    recipe: "Recipe", data: str, seeds: str, data_dir: Path | None, out: Path | None, as_json: bool
) -> None:
    from seedwise.cli.show import announce_trial, print_study
    from seedwise.cli.watch import watching
    from seedwise.folders import default_folder
    from seedwise.study.plan import parse_seeds
    from seedwise.study.run import train_seeds

    numbers = parse_seeds(seeds, recipe.seed)
    folder = out or default_folder(data, recipe, data_dir)
    with watching(folder) as watch:
        study = train_seeds(recipe, data, numbers, folder, data_dir=data_dir, watch=watch, on_trial=announce_trial)
    print_study(folder, study, as_json)


def _dry_run(
    recipe: "Recipe", data: str, data_dir: Path | None, seed: int | None, seeds: str | None, as_json: bool
) -> None:
    from seedwise.cli.show import print_plan
    from seedwise.study.plan import parse_seeds
    from seedwise.training import rehearse

    numbers = parse_seeds(seeds, recipe.seed) if seeds else (recipe.seed if seed is None else seed,)
    resolved, splits, cost = rehearse(recipe, data, data_dir=data_dir)
    print_plan(resolved, splits, cost, numbers, as_json)
