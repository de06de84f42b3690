"""`seedwise recipes`: list, show, copy and check recipes."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from seedwise.base.errors import Mistakes, UserError
from seedwise.cli.options import Json
from seedwise.cli.output import print_json, print_table
from seedwise.recipe import library

app = typer.Typer(invoke_without_command=True, rich_markup_mode=None)

Name = Annotated[str, typer.Argument(metavar="RECIPE", help="Name of a built-in recipe, or a path.")]


@app.callback()
def recipes_alone(context: typer.Context) -> None:
    """List, show, copy and check recipes; `seedwise recipes` alone lists them."""
    if context.invoked_subcommand is None:
        ls()


@app.command()
def ls(as_json: Json = False) -> None:
    """List the built-in recipes.

    Example: `seedwise recipes ls`
    """
    if as_json:
        print_json(library.recipes())
        return
    print_table((name, library.summary(name)) for name in library.names())


@app.command()
def show(name: Name) -> None:
    """Print a recipe with its header.

    Example: `seedwise recipes show lite`
    """
    sys.stdout.write(library.text(name))


@app.command()
def cp(
    name: Name,
    target: Annotated[Path | None, typer.Argument(help="File or folder.", show_default="./RECIPE.yaml")] = None,
) -> None:
    """Copy a recipe to edit it; an existing file is never overwritten.

    Example: `seedwise recipes cp lite mine.yaml`
    """
    from seedwise.base.files import Unwritable, write_text

    source, content = library.find(name), library.text(name)
    path = target or Path(source.name)
    path = path / source.name if path.is_dir() else path
    if path.exists():
        raise UserError(f"{path}: exists already; give another name")
    if not path.parent.is_dir():
        raise UserError(f"{path.parent}: no such folder; create it first")
    try:
        write_text(path, content)
    except Unwritable as error:
        advice = error.advice.replace("folder with -o", "place").replace(" with -o", "")  # which is no option here
        raise UserError(f"{path}: can't be written: {error.reason}; {advice}") from error
    print(path)


@app.command(short_help="Check recipes; every mistake is a line with its place.")
def validate(names: Annotated[list[str], typer.Argument(metavar="RECIPE...", help="Names or paths.")]) -> None:
    """Check recipes; every mistake is a line with file, line and column, and the exit code is 2.

    Example: `seedwise recipes validate mine.yaml`
    """
    mistakes: list[str] = []
    for name in names:
        try:
            library.read(name)
            print(f"{name}: valid")
        except UserError as error:
            mistakes += error.lines
    if mistakes:
        raise Mistakes(mistakes)


@app.command(short_help="Print the JSON schema of recipes, for editors.")
def schema() -> None:
    """Print the JSON schema of recipes, for completion and checks in editors.

    Example: `seedwise recipes schema > seedwise.schema.json`
    """
    from seedwise.config.section import json_schema
    from seedwise.recipe.schema import Recipe

    print_json(json_schema(Recipe))
