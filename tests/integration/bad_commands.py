"""How the cases of test_bad_input.py are put into command lines."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bad_input import Arguments, Place, disk

Prepare = Callable[[Place], Arguments]

QUICK = ("-r", "demo", "-m", "small", "--epochs", 1, "--img-size", 16, "--threads", 1)
LOG = ("run/train.log",)
STOPPED_AGAIN = ("run/train.log", "run/record.json", "run/recipe.yaml")
"""What a resume may write before it meets the damage: its log, and the record's status."""


def train(data: Any = "digits", *more: Any) -> Arguments:
    return ["train", data, *QUICK, *more]


def on(make: Callable[..., Path], *given: Any, more: Arguments = (), **named: Any) -> Prepare:
    """Train on what is made of the case's folder."""
    return lambda place: train(make(place, *given, **named), *more)


def option(text: str) -> Prepare:
    return lambda place: train("digits", "-s", text)


def recipe(content: str | bytes, name: str = "my recipe.yaml") -> Prepare:
    return lambda place: ["train", "digits", "-r", place.file(name, content).relative_to(place.root)]


def resume(damage: Callable[[Path], Any], *, name: str = "", finished: bool = False, folder: str = "run") -> Prepare:
    """Resume a run after damage to it, or to the one file of it of this name."""

    def prepare(place: Place) -> Arguments:
        run = place.finished(folder) if finished else place.stopped(folder)
        damage(next(run.glob(name)) if name else run)
        return ["resume", folder]

    return prepare


def weights(damage: Callable[[Path], Any], suffix: str = ".safetensors") -> Prepare:
    """Start from a file of weights, which a run has left, after damage to it."""

    def prepare(place: Place) -> Arguments:
        file = place.file(f"weights{suffix}", (place.whole / "model.safetensors").read_bytes())
        damage(file)
        return train("digits", "--weights", "weights" + suffix)

    return prepare


def after(act: Callable[[Place], Any], *arguments: Any) -> Prepare:
    """Do something to the case's place, then give this command."""

    def prepare(place: Place) -> Arguments:
        act(place)
        return arguments

    return prepare


def bomb_of_names(place: Place) -> Arguments:
    """Nine levels of nine references each: a billion values, if anybody expanded them."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    return ["train", "digits", "-r", place.file("bomb.yaml", "\n".join(lines)).name]


def small_disk(place: Place) -> Arguments:
    folder = disk(place, "64k")
    (folder / "ballast").write_bytes(bytes(60 * 1024))
    return train("digits", "-o", "disk/run")


def not_utf8(name: bytes) -> str:
    return os.fsdecode(name)


def moved(make: Callable[[Place], Path], name: str) -> Callable[[Place], Path]:
    return lambda place: make(place).rename(place.root / name)
