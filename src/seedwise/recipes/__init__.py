"""The recipes that come with seedwise, and how a recipe is found by name or path."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from seedwise.config import load
from seedwise.errors import UserError
from seedwise.recipe import Recipe

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Names of the built-in recipes, in alphabetical order."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def find(name: str) -> Path:
    """The file of a built-in recipe's name, or the path itself; a UserError suggests a name."""
    built_in = FOLDER / f"{name}.yaml"
    if name in names():
        return built_in
    path = Path(name).expanduser()
    if path.exists():
        return path
    close = get_close_matches(name, names(), n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"give a path, or one of {', '.join(names())}"
    raise UserError(f"{name}: no such recipe; {hint}")


def read(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of this name or path with overrides such as `optim.lr=1e-3`; its file's name unless it has its own."""
    path = find(name)
    shown = path.name if path.parent == FOLDER else str(path)
    recipe = load(Recipe, path, shown, overrides)
    return recipe if "name" in recipe.model_fields_set else recipe.model_copy(update={"name": path.stem})


def summary(name: str) -> str:
    """What a recipe is for: the first line of its header."""
    first = find(name).read_text(encoding="utf-8").splitlines()[0]
    return first.removeprefix("#").strip()
