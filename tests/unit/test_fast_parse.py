"""Passing absent options and plain text as they are gives each verb what typer's own conversion gives."""

from typing import Any

import pytest
import typer
from typer.main import get_command

from seedwise.cli.app import app
from seedwise.cli.fast_parse import quicken

LINES = [
    ["train", "digits"],
    ["train", "digits", "-r", "lite", "-m", "small", "--epochs", "3", "--lr", "1e-3", "--seeds", "3,7", "-o", "a b"],
    ["train", "", "-s", "train.epochs=3", "-s", "optim.lr=1", "--dry-run", "--json", "--seed", "0", "--threads", "2"],
    ["resume", "runs/x", "--elsewhere", "--data-dir", "~/data"],
    ["recipes", "show", "lite"],
    ["recipes", "cp", "lite"],
    ["recipes", "cp", "lite", "mine.yaml"],
    ["recipes", "validate", "lite", "mine.yaml"],
    ["doctor", "--json"],
    ["augment", "digits", "-o", "grid.png", "--seed", "4"],
]


def parsed(words: list[str], quick: bool) -> dict[str, Any]:
    """What the verb would be called with."""
    command: Any = get_command(app)
    if quick:
        quicken(command)
    context: Any = typer.Context(command, info_name="seedwise")
    while hasattr(command, "commands"):
        name, command, words = command.resolve_command(context, list(words))
        context = typer.Context(command, parent=context, info_name=name)
    params: dict[str, Any] = command.make_context(name, list(words), parent=context.parent).params
    return params


@pytest.mark.parametrize("words", LINES, ids=" ".join)
def test_a_verb_is_called_with_the_same(words: list[str]) -> None:
    ours, theirs = parsed(words, True), parsed(words, False)
    assert ours == theirs
    assert [type(value) for value in ours.values()] == [type(value) for value in theirs.values()]


@pytest.mark.parametrize("words", [["train", "digits", "--patience", "x"], ["train", "digits", "--seed", "-1"]])
def test_a_mistake_is_still_typers_to_find(words: list[str]) -> None:
    for quick in (True, False):
        with pytest.raises(typer.BadParameter, match=r"valid integer|greater than or equal|range"):
            parsed(words, quick)
