"""`seedwise train`."""

from pathlib import Path
from typing import TYPE_CHECKING

from seedwise import machine
from seedwise.cli.options import (
    Bagging,
    BaggingAugment,
    BaggingModels,
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

        seedwise train ./photos -m efficientnet_lite0 --epochs 20 --lr 3e-4 -s augment.cutmix.prob=0.5

    The same command again with the same -o completes what is missing; Ctrl-C loses nothing that `seedwise resume` can't
    bring back. Exit code 3, and the last line says it: all is trained and saved, but a technique that was on did
    nothing.
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
    if bagging is None and (bagging_models or bagging_augment):
        raise UserError(
            f"--bagging-{'models' if bagging_models else 'augment'}: give the number of members: --bagging 5"
        )
    if bagging is not None and seeds is not None:
        raise UserError("--bagging and --seeds: give one of them; --seed is the seed that the members' are drawn from")
    members = [] if bagging is None else _members(chosen, bagging_models, bagging_augment)
    if dry_run:
        numbers = f"{bagging}" if bagging is not None else seeds
        _dry_run(members[0] if members else chosen, data, data_dir, seed, numbers, as_json)
        return 0
    if bagging is not None:
        _train_bagging(members, data, bagging, seed, data_dir, out, as_json)
        return 0
    if seeds is not None:
        return _train_study(chosen, data, seeds, data_dir, out, as_json)
    return _train_one(chosen, data, seed, data_dir, out, as_json)


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
) -> int:
    from seedwise.cli.show import print_run
    from seedwise.cli.watch import watching
    from seedwise.folders import default_folder
    from seedwise.training import train as train_run

    folder = out or default_folder(data, recipe, data_dir)
    with watching(folder) as watch:
        run = train_run(recipe, data, seed=seed, out=folder, data_dir=data_dir, watch=watch)
    return print_run(run.folder, run.record, as_json) if machine.rank() == 0 else 0


def _train_study(
    recipe: "Recipe", data: str, seeds: str, data_dir: Path | None, out: Path | None, as_json: bool
) -> int:
    from seedwise.cli.show import announce_trial, print_study
    from seedwise.cli.watch import watching
    from seedwise.folders import default_folder
    from seedwise.study.plan import parse_seeds
    from seedwise.study.run import train_seeds

    numbers = parse_seeds(seeds, recipe.seed)
    folder = out or default_folder(data, recipe, data_dir)
    with watching(folder) as watch:
        study = train_seeds(recipe, data, numbers, folder, data_dir=data_dir, watch=watch, on_trial=announce_trial)
    return print_study(folder, study, as_json)


def _members(recipe: "Recipe", models: str | None, augments: str | None) -> list["Recipe"]:
    from seedwise import recipes
    from seedwise.ensemble.bagging import members_recipes

    names, others = ([part.strip() for part in (text or "").split(",") if part.strip()] for text in (models, augments))
    return members_recipes(recipe, names, [recipes.read(other) for other in others])


def _train_bagging(
    members: list["Recipe"],
    data: str,
    count: int,
    seed: int | None,
    data_dir: Path | None,
    out: Path | None,
    as_json: bool,
) -> None:
    from seedwise.cli.ensemble import print_ensemble
    from seedwise.cli.show import announce_trial
    from seedwise.cli.watch import watching
    from seedwise.ensemble.bagging import train_bagging
    from seedwise.folders import default_folder

    folder = out or default_folder(data, members[0], data_dir)
    with watching(folder) as watch:
        record = train_bagging(
            members,
            data,
            count,
            folder,
            seed=members[0].seed if seed is None else seed,
            data_dir=data_dir,
            watch=watch,
            on_member=announce_trial,
        )
    print_ensemble(folder, record, as_json)


def _dry_run(
    recipe: "Recipe", data: str, data_dir: Path | None, seed: int | None, seeds: str | None, as_json: bool
) -> None:
    from seedwise.cli.show import print_plan
    from seedwise.study.plan import parse_seeds
    from seedwise.training import rehearse

    master = recipe.seed if seed is None else seed
    numbers = parse_seeds(seeds, master) if seeds else (master,)
    resolved, splits, cost = rehearse(recipe, data, data_dir=data_dir)
    print_plan(resolved, splits, cost, numbers, as_json)
