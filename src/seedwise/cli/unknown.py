"""Suggestions for an unknown option: one with a similar name, or of another verb."""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

ALIKE = 0.7
"""Least similarity by `difflib`: `--epoch` is like `--epochs`, `--time` is not like `--img-size`."""
_SEEDS = "a study has --budget TIME: as many seeds as fit, each trained whole (--epochs N makes them shorter)"
INSTEAD = {
    ("ablate", "--time"): _SEEDS,
    ("sweep", "--time"): _SEEDS,
    ("resume", "--time"): "its epochs are fixed since it began; for a study give --budget TIME",
    ("train", "--budget"): "give --time TIME: epochs and image size are chosen so that all seeds end in it",
}
"""The option of this verb that does what another verb's option does."""


def advised(command: Any, error: Any) -> str:
    """A mistake in the command line in a sentence, with a suggestion where there is one."""
    option, context = getattr(error, "option_name", None), error.ctx
    if option is None or context is None:
        return str(error.format_message()).rstrip(".")
    said = f"No such option: {option}"
    verb = context.command_path.partition(" ")[2]
    own = [name for parameter in context.command.params for name in parameter.opts]
    if close := get_close_matches(option, [name for name in own if name.startswith("--")], n=1, cutoff=ALIKE):
        return f"{said}; did you mean '{close[0]}'?"
    if instead := INSTEAD.get((verb, option)):
        return f"{said}; {instead}"
    others = [name for name, parameters in _verbs(command) if any(option in each.opts for each in parameters)]
    return f"{said}; it is an option of {', '.join(others)}" if others else said


def _verbs(command: Any, name: str = "") -> Iterator[tuple[str, list[Any]]]:
    for word, below in getattr(command, "commands", {}).items():
        path = f"{name} {word}".strip()
        yield path, below.params
        yield from _verbs(below, path)
