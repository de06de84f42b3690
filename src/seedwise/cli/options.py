"""Options that several verbs share, and what they mean in a recipe."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from seedwise.config import paths
from seedwise.recipe import Recipe


def _complete_override(incomplete: str) -> list[tuple[str, str]]:
    return [
        (f"{option.path}=", option.description.split("\n")[0])
        for option in paths(Recipe)
        if option.path.startswith(incomplete)
    ]


def _complete_recipe(incomplete: str) -> list[tuple[str, str]]:
    from seedwise import recipes

    return [(name, recipes.summary(name)) for name in recipes.names() if name.startswith(incomplete)]


Data = Annotated[str, typer.Argument(help="`digits`, `cifar10`, `cifar100`, or a folder of images or Parquet files.")]
RecipeName = Annotated[
    str | None,
    typer.Option(
        "-r",
        "--recipe",
        help="Name (see `seedwise recipes ls`) or path.",
        show_default="demo for digits, else lite",
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
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Where local copies of named data lie; else the variable SEEDWISE_DATA."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the record as JSON on stdout, and nothing else there.")]


def default_recipe(data: str) -> str:
    """The recipe that a data argument gets without -r."""
    return "demo" if data == "digits" else "lite"


def overrides(flags: dict[str, Any], given: Iterable[str] | None) -> list[str]:
    """Familiar flags as overrides, the explicit `-s` ones behind them, so that these win."""
    return [f"{path}={value}" for path, value in flags.items() if value is not None] + list(given or ())
