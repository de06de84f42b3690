"""`seedwise train`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from seedwise.cli.options import Data, DataDir, Json, Overrides, RecipeName, default_recipe, overrides

HELP = """
Train a recipe on data: one run, or one a seed.

Examples:

    seedwise train digits --seeds 5

    seedwise train cifar100 -r lite --data-dir DIR --seeds 5 -o runs/lite

    seedwise train ./photos -m efficientnet_lite0 --epochs 20 --lr 3e-4 -s augment.cutmix.prob=0.5

The same command again with the same -o completes what is missing; Ctrl-C loses nothing that `seedwise resume` can't
bring back.
"""


def train(
    data: Data,
    recipe: RecipeName = None,
    model: Annotated[str | None, typer.Option("-m", "--model", help="Architecture, for instance efficientnetv2_s or timm:resnet18.")] = None,
    weights: Annotated[str | None, typer.Option(help="auto, pip, hub, none, or a file or folder.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images.")] = None,
    lr: Annotated[str | None, typer.Option(metavar="FLOAT", help="Peak learning rate.")] = None,
    batch_size: Annotated[int | None, typer.Option("-b", "--batch-size", help="Images per batch.")] = None,
    img_size: Annotated[int | None, typer.Option("--img-size", help="Image side in pixels, in training and evaluation.")] = None,
    seed: Annotated[int | None, typer.Option(help="One run with this seed; -o is then its folder.")] = None,
    seeds: Annotated[str | None, typer.Option(metavar="N|A,B,C", help="A study: N seeds drawn from the recipe's, or these; -o is then its folder.")] = None,
    select: Annotated[str | None, typer.Option(help="Keep the last epoch's weights, or the best's on validation: last or best.")] = None,
    patience: Annotated[int | None, typer.Option(help="Stop after this many epochs without a better validation top-1.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, mps, cuda or cuda:N.")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, fp32 or bf16.")] = None,
    threads: Annotated[str | None, typer.Option(metavar="INT|auto", help="CPU threads.")] = None,
    data_dir: DataDir = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Output folder.", show_default="runs/<data>-<recipe>-<time>")] = None,
    settings: Overrides = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the resolved recipe, steps, memory and time; train nothing.")] = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Command; its help is HELP."""
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
        "compute.threads": threads,
    }
    if seed is not None and seeds is not None:
        raise UserError("--seed and --seeds: give one of them; --seeds takes a list such as 3,7,11 too")
    chosen = recipes.read(recipe or default_recipe(data), overrides(flags, settings))
    if dry_run:
        _dry_run(chosen, data, data_dir, seed, seeds, as_json)
    elif seeds is not None:
        _train_study(chosen, data, seeds, data_dir, out, as_json)
    else:
        _train_one(chosen, data, seed, data_dir, out, as_json)


train.__doc__ = HELP


def _train_one(recipe: Any, data: str, seed: int | None, data_dir: Path | None, out: Path | None, as_json: bool) -> None:
    from seedwise.cli.show import print_run
    from seedwise.cli.watch import watching
    from seedwise.training import default_folder
    from seedwise.training import train as train_run

    folder = out or default_folder(data, recipe.name)
    with watching(folder) as watch:
        run = train_run(recipe, data, seed=seed, out=folder, data_dir=data_dir, watch=watch)
    print_run(run.folder, run.record, as_json)


def _train_study(recipe: Any, data: str, seeds: str, data_dir: Path | None, out: Path | None, as_json: bool) -> None:
    from seedwise.cli.show import announce_trial, print_study
    from seedwise.cli.watch import watching
    from seedwise.study.plan import parse_seeds
    from seedwise.study.run import train_seeds
    from seedwise.training import default_folder

    numbers = parse_seeds(seeds, recipe.seed)
    folder = out or default_folder(data, recipe.name)
    with watching(folder) as watch:
        study = train_seeds(
            recipe, data, numbers, folder, data_dir=data_dir, watch=watch, on_trial=announce_trial
        )
    print_study(folder, study, as_json)


def _dry_run(
    recipe: Any, data: str, data_dir: Path | None, seed: int | None, seeds: str | None, as_json: bool
) -> None:
    from seedwise.cli.show import print_plan
    from seedwise.study.plan import parse_seeds
    from seedwise.training import rehearse

    numbers = parse_seeds(seeds, recipe.seed) if seeds else (recipe.seed if seed is None else seed,)
    resolved, splits, cost = rehearse(recipe, data, data_dir=data_dir)
    print_plan(resolved, splits, cost, numbers, as_json)
