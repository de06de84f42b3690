"""Options that several verbs share, and what they mean in a recipe."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer


def _complete_override(incomplete: str) -> list[tuple[str, str]]:
    from seedwise.config import paths
    from seedwise.recipe import Recipe

    return [
        (f"{option.path}=", option.description.split("\n")[0])
        for option in paths(Recipe)
        if option.path.startswith(incomplete)
    ]


def _complete_recipe(incomplete: str) -> list[tuple[str, str]]:
    from seedwise import recipes

    return [(name, recipes.summary(name)) for name in recipes.names() if name.startswith(incomplete)]


DEFAULTS = "demo for digits, lite for cifar, else photos"
"""What `default_recipe` does, in words."""

Data = Annotated[
    str,
    typer.Argument(
        help="`digits`, `cifar10`, `cifar100`, or a path: a folder or archive of images, a Parquet or CSV file."
    ),
]
RecipeName = Annotated[
    str | None,
    typer.Option(
        "-r",
        "--recipe",
        help="Name (see `seedwise recipes ls`) or path.",
        show_default=DEFAULTS,
        autocompletion=_complete_recipe,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "-s",
        "--set",
        metavar="KEY=VALUE",
        help="Set any option: `-s augment.cutmix.prob=0.5`; `=null` removes, `=default` adds. May be repeated.",
        autocompletion=_complete_override,
    ),
]
Model = Annotated[
    str | None, typer.Option("-m", "--model", help="Architecture, for instance efficientnetv2_s or timm:resnet18.")
]
Weights = Annotated[str | None, typer.Option(help="auto, pip, hub, none, or a file or folder.")]
Epochs = Annotated[str | None, typer.Option(metavar="N|auto", help="Passes over the training images.")]
Time = Annotated[
    str | None,
    typer.Option(
        "--time",
        metavar="TIME",
        help="`10m`, `90s`, `1h`: train for at most so long, as well as that allows; chooses the epochs.",
    ),
]
LearningRate = Annotated[float | None, typer.Option("--lr", help="Peak learning rate.")]
BatchSize = Annotated[str | None, typer.Option("-b", "--batch-size", metavar="N|auto", help="Images per batch.")]
ImageSize = Annotated[
    str | None,
    typer.Option("--img-size", metavar="N|auto", help="Image side in pixels, in training and evaluation."),
]
Seed = Annotated[int | None, typer.Option(min=0, help="One run with this seed; -o is then its folder.")]
Seeds = Annotated[
    str | None,
    typer.Option(
        metavar="N|A,B,C", help="A study: N seeds drawn from the recipe's master seed, or these; -o is then its folder."
    ),
]
Select = Annotated[
    str | None, typer.Option(metavar="last|best", help="Keep the last weights, or the best by validation top-1.")
]
Patience = Annotated[int | None, typer.Option(help="Stop after this many epochs without a better validation top-1.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, mps, cuda or cuda:N.")]
Precision = Annotated[str | None, typer.Option(help="auto, fp32 or bf16.")]
Threads = Annotated[str | None, typer.Option(metavar="N|auto", help="CPU threads.")]
Out = Annotated[
    Path | None,
    typer.Option("-o", "--out", help="Output folder.", show_default="runs/<data>-<recipe>-<time>"),
]
Bagging = Annotated[
    int | None,
    typer.Option(
        min=2, max=1000, help="An ensemble of so many runs, each on a bootstrap sample; -o is then its folder."
    ),
]
BaggingModels = Annotated[
    str | None, typer.Option("--bagging-models", metavar="A,B,C", help="Architectures that its members take in turns.")
]
BaggingAugment = Annotated[
    str | None,
    typer.Option("--bagging-augment", metavar="R,S", help="Recipes whose augmentation its members take in turns."),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print the resolved recipe, steps, memory and time; train nothing.")
]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Where local copies of named data lie; else the variable SEEDWISE_DATA."),
]
Top = Annotated[int, typer.Option(min=1, help="Most probable classes to print.")]
Json = Annotated[bool, typer.Option("--json", help="Print the record as JSON on stdout, and nothing else there.")]


def default_recipe(data: str) -> str:
    """The recipe that a data argument gets without -r: tuned ones for the named sets, `photos` for all else."""
    return {"digits": "demo", "cifar10": "lite", "cifar100": "lite"}.get(data, "photos")


def overrides(flags: dict[str, Any], given: Iterable[str] | None) -> list[str]:
    """Familiar flags as overrides, the explicit `-s` ones behind them, so that these win."""
    from seedwise.yaml12 import write_inline

    return [f"{path}={write_inline(value)}" for path, value in flags.items() if value is not None] + list(given or ())


def number(text: str | None) -> int | str | None:
    """What a flag gives that takes a number or a word: 8, not '8'."""
    return int(text) if text is not None and text.isascii() and text.isdecimal() else text
