"""The built-in recipes, and finding a recipe by name or path."""

import os
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from seedwise.base.errors import UserError
from seedwise.base.nearest import meant

if TYPE_CHECKING:
    from seedwise.base.notebook import Listing
    from seedwise.recipe.schema import Recipe

FOLDER = Path(__file__).parent / "builtin"


def recipes(name: str | None = None) -> "Listing":
    """List the built-in recipes: name, summary and path of each; for one name or path its YAML as `text` too."""
    from seedwise.base.notebook import Listing

    rows = [{"name": it, "summary": summary(it), "path": str(find(it))} for it in ([name] if name else names())]
    return Listing(rows if name is None else [row | {"text": text(row["name"])} for row in rows])


def default_recipe(data: str) -> str:
    """The recipe for data when none is named: tuned ones for the known sets, `photos` for all else."""
    return {"digits": "demo", "cifar10": "lite", "cifar100": "lite"}.get(data, "photos")


def names() -> list[str]:
    """Names of the built-in recipes, in alphabetical order."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def find(name: str) -> Path:
    """The file of a built-in recipe's name, or the path itself; a UserError suggests a similar name."""
    built_in = FOLDER / f"{name}.yaml"
    if name in names():
        return built_in
    path = os.path.expanduser(name)  # noqa: PTH111 -- Path's raises for ~nobody, and exists() for endless names
    if os.path.exists(path):  # noqa: PTH110
        return Path(path)
    close = get_close_matches(name, names(), n=1)
    otherwise = f"give a path, or one of {', '.join(names())}"
    hint = f"did you mean '{close[0]}'?" if close else meant(name, otherwise)
    raise UserError(f"{name or repr(name)}: no such recipe; {hint}")


def read(name: str, overrides: Sequence[str] = ()) -> "Recipe":
    """Load the recipe of a name or path with overrides such as `optim.lr=1e-3`; a nameless one is named by its file."""
    from seedwise.config.section import load  # here, for pydantic takes longer than all that listing recipes needs
    from seedwise.recipe.schema import Recipe

    path = find(name)
    shown = path.name if path.parent == FOLDER else str(path)
    recipe = load(Recipe, path, shown, overrides)
    return recipe if "name" in recipe.model_fields_set else recipe.model_copy(update={"name": path.stem})


def changed(recipe: "Recipe", overrides: Sequence[str]) -> "Recipe":
    """Apply overrides, as `read` takes them, to a recipe made in Python."""
    from seedwise.config.section import dump, load
    from seedwise.recipe.schema import Recipe

    return load(Recipe, dump(recipe), recipe.name, overrides) if overrides else recipe


def text(name: str) -> str:
    """The YAML of the recipe of this name or path."""
    from seedwise.base.files import read_text

    return read_text(find(name))


def summary(name: str) -> str:
    """What a recipe is for, in a line: the first of its header."""
    return text(name).splitlines()[0].removeprefix("#").strip()
