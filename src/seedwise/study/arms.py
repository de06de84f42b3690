"""Arms of a study: the base recipe with patches, from `--toggle` or from a study file. No torch."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from seedwise.base.errors import Mistakes, UserError
from seedwise.base.files import not_portable, read_text
from seedwise.config.messages import field_at
from seedwise.config.options import Type
from seedwise.config.section import Section, diff, load
from seedwise.config.yaml12 import Document, dotted, read, write_inline
from seedwise.config.yaml12 import Path as Keys
from seedwise.recipe import library as recipes
from seedwise.recipe.schema import Recipe
from seedwise.study.record import ARM_NAME, BASE
from seedwise.study.toggles import find

MARGIN = 0.005
"""The default margin, half a point, as a fraction."""


@dataclass(frozen=True)
class Arms:
    """The base recipe and the arms to compare with it."""

    base: Recipe
    recipes: Mapping[str, Recipe]
    """Recipe of each arm, without the base."""
    patches: Mapping[str, Mapping[str, Any]]
    """Patch of each arm: dotted option -> value."""


def toggled(base: str, settings: Sequence[str], names: Sequence[str]) -> Arms:
    """Make an arm for each technique: `no-x` where the base has x, and `x` where it hasn't."""
    recipe = recipes.read(base, settings)
    if not names:
        raise UserError("--toggle: no technique named; give some, such as cutmix,rotation")
    patches: dict[str, dict[str, Any]] = {}
    for name in names:
        has, patch = find(name).patch(recipe)
        arm = f"no-{name}" if has else name
        if patch in patches.values():
            raise UserError(f"--toggle {name}: is there twice; name each technique once")
        patches[arm] = patch
    found = {arm: recipes.read(base, [*settings, *_overrides(patch)]) for arm, patch in patches.items()}
    return Arms(recipe, found, patches)


def _base(given: Any) -> Any:
    return {"recipe": given} if isinstance(given, str) else given


class BaseConfig(Section):
    """The recipe that every arm changes."""

    recipe: str
    """Name of a built-in recipe, or a path from the current folder."""
    set: dict[str, Any] = {}
    """Options to change first, for the base and all arms."""


class StudyFile(Section):
    """A study as a file: `seedwise ablate studies/x.yaml`.

    A patch is `dotted.option: value`, or nested; as with `-s`, a value replaces what stood there, so that
    `augment.rotation: {degrees: 5}` is a rotation with all else at its default, and null takes it out.
    """

    data: str
    """As on the command line; a path counts from the current folder."""
    base: Annotated[BaseConfig, BeforeValidator(_base)]
    """`base: lite` is short for `base: {recipe: lite}`."""
    seeds: int | tuple[int, ...] = 6
    """A count of seeds, or the seeds."""
    margin: float = Field(100 * MARGIN, gt=0, lt=100)
    """The least difference that matters, in points."""
    arms: dict[Annotated[str, Field(pattern=ARM_NAME)], dict[str, Any]] = Field(min_length=1)
    """Name -> patch."""


def read_study_file(path: Path, settings: Sequence[str] = ()) -> tuple[StudyFile, Arms]:
    """Read a study file and its arms; `settings` are further overrides of the base. A UserError has a line
    `file:line:column: …` for each mistake."""
    file = load(StudyFile, path)
    document = read(read_text(path), str(path))
    if BASE in file.arms:
        raise UserError(_at(path, document, ("arms", BASE), "is the base's own name; give the arm another"))
    first = dict(_leaves(file.base.set))
    where = ("base", "set") if ("base", "set") in document.places else ("base",)
    for arm in file.arms:
        place = ("arms", arm)
        if (reason := not_portable(arm)) is not None:
            raise UserError(_at(path, document, place, f"is a folder's name as well, and {reason}; give another"))
        same = next((other for other in (BASE, *file.arms) if other != arm and other.lower() == arm.lower()), None)
        if same is not None:
            raise UserError(
                _at(path, document, place, f"differs from {same} in capitals alone, as no two folders on Windows do")
            )
    base = _read(path, document, where, file.base.recipe, [], first, settings)
    patches = {arm: dict(_leaves(patch)) for arm, patch in file.arms.items()}
    found = {}
    for arm, patch in patches.items():
        place = ("arms", arm)
        found[arm] = _read(path, document, place, file.base.recipe, [*_overrides(first), *settings], patch, ())
        same = next((other for other in found if other != arm and found[other] == found[arm]), None)
        if not diff(base, found[arm]) or same:
            raise UserError(_at(path, document, place, f"is the same recipe as {same or BASE}; change it or drop it"))
    return file, Arms(base, found, patches)


def _leaves(patch: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield dotted options and their values. Descends into sections that every recipe has, all else is a value."""
    for key, value in patch.items():
        path = (*above, *key.split("."))
        field = field_at(Recipe, path)
        kind = Type.of(field) if field is not None else None
        within = kind is not None and len(kind.sections()) == 1 and len(kind.members()) == 1 and not kind.takes_null()
        if within and isinstance(value, dict):
            yield from _leaves(value, path)
        else:
            yield ".".join(path), value


def _overrides(patch: Mapping[str, Any]) -> list[str]:
    return [f"{path}={write_inline(value)}" for path, value in patch.items()]


def _read(
    path: Path,
    document: Document,
    place: Keys,
    recipe: str,
    before: Sequence[str],
    patch: Mapping[str, Any],
    settings: Sequence[str],
) -> Recipe:
    """Read the recipe with overrides; mistakes in the patch are reported at their places in the file."""
    own = _overrides(patch)
    try:
        recipes.find(recipe)
    except UserError as error:
        raise UserError(_at(path, document, ("base", "recipe"), str(error))) from None
    try:
        return recipes.read(recipe, [*before, *own, *settings])
    except UserError as error:
        marks = {f"-s {override}: ": _keys(document, place, option) for override, option in zip(own, patch)}
        raise Mistakes([_moved(path, document, marks, place, line) for line in error.lines]) from None


def _moved(path: Path, document: Document, marks: Mapping[str, Keys], place: Keys, line: str) -> str:
    for prefix, keys in marks.items():
        if line.startswith(prefix):
            return _at(path, document, keys, line.removeprefix(prefix))
    return line if line.startswith("-s ") else _at(path, document, place, re.sub(r"^[^ ]*?:\d+:\d+: ", "", line))


def _keys(document: Document, place: Keys, option: str) -> Keys:
    """The place of an option below `place`, however it was split into nested and dotted keys."""
    rest = option
    while rest:
        names = [keys[-1] for keys in document.places if keys[:-1] == place and isinstance(keys[-1], str)]
        name = next((str(name) for name in names if rest == name or rest.startswith(f"{name}.")), None)
        if name is None:
            break
        place, rest = (*place, name), rest[len(name) + 1 :]
    return place


def _at(path: Path, document: Document, keys: Keys, text: str) -> str:
    while keys and keys not in document.places:
        keys = keys[:-1]
    mark = document.places[keys].key
    label = f"{dotted(keys)}: " if keys else ""
    return f"{path}:{mark.line}:{mark.column}: {label}{text}"
