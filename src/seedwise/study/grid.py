"""The grid of a sweep as arms of a study; without tensors, so that a mistake in it is said at once."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from seedwise.base.errors import UserError
from seedwise.config.yaml12 import read, write_inline
from seedwise.recipe import library
from seedwise.study.arms import Arms
from seedwise.study.record import BASE

UNREAD = "train.score_test=false"


@dataclass(frozen=True)
class Grid:
    """The settings that a sweep compares."""

    arms: Arms
    """The first setting is the base."""
    settings: dict[str, dict[str, Any]]
    """Arm -> swept option -> value."""


def grid(recipe: str, given: Sequence[str]) -> Grid:
    """Make the grid of all combinations of `optim.lr=1e-4,4e-4` and other options; single values hold for all. A
    UserError for a setting without several values, or one that isn't valid."""
    fixed, swept = [], {}
    for override in given:
        path, equals, text = override.partition("=")
        values = _values(text) if equals else []
        if len(values) < 2:
            fixed.append(override)
        elif path in swept:
            raise UserError(f"-s {override}: {path} is swept twice; name all its values in one -s")
        else:
            swept[path] = values
    if not swept:
        raise UserError("sweep: no option has several values; give some, such as -s optim.lr=1e-4,4e-4,1e-3")
    settings: dict[str, dict[str, Any]] = {}
    found = {}
    short = {path: path.rsplit(".", 1)[-1] for path in swept}
    for point in itertools.product(*swept.values()):
        setting = dict(zip(swept, point, strict=True))
        words = [f"{_name(path, short)}={write_inline(value)}" for path, value in setting.items()]
        arm = BASE if not settings else _folder_name(words)
        if arm in settings:
            raise UserError(f"sweep: {arm} is there twice; give each value once")
        settings[arm] = setting
        overrides = [f"{path}={write_inline(value)}" for path, value in setting.items()]
        found[arm] = library.read(recipe, [*fixed, *overrides, UNREAD])
        same = next((other for other in found if other != arm and found[other] == found[arm]), None)
        if same is not None:
            raise UserError(f"sweep: {arm} is the same recipe as {settings[same]}; give each value once")
    base = found.pop(BASE)
    if base.data.val == 0:
        raise UserError("sweep: ranks settings on validation images; set data.val above 0")
    return Grid(Arms(base, found, {arm: settings[arm] for arm in found}), settings)


def _folder_name(words: Sequence[str]) -> str:
    """An arm's name, as any system takes it for a folder."""
    return re.sub(r'[/\\:*?"<>|]', "_", " ".join(words)).lstrip(".").rstrip(". ")


def _name(path: str, short: dict[str, str]) -> str:
    return short[path] if list(short.values()).count(short[path]) == 1 else path


def _values(text: str) -> list[Any]:
    """Values between commas, as YAML's own lists separate them; one where the text is no such list."""
    try:
        found = read(f"[{text}]", "sweep").value
    except UserError:
        return [text]
    return found if isinstance(found, list) else [text]
