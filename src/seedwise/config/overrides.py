"""Overrides from the command line: `-s augment.cutmix.prob=0.5`."""

from typing import Any

from pydantic import BaseModel

from seedwise.base.errors import UserError
from seedwise.config.messages import Input, field_at, sections_at, shown, unknown_key
from seedwise.config.options import Type, default_of
from seedwise.config.yaml12 import Path, ascii_safe, dotted, quoted, read_value


def apply(cls: type[BaseModel], given: Input, override: str) -> None:
    """Change the document by one override, creating sections on the way where they are absent or null.

    The value `default` gives an option its declared default, and an optional section that is null by default its own
    options' defaults. The value `null` takes an optional section or value out. A UserError for an unknown option.
    """
    override = override.strip()
    shown_text = override if override.isprintable() and len(override) <= 120 else quoted(override)
    name, equals, value_text = override.partition("=")
    path: Path = tuple(name.strip().split("."))
    if not equals:
        raise UserError(f"-s {shown_text}: no '='; write it as section.option=value")
    if override != ascii_safe(override):
        raise UserError(f"-s {shown_text}: not valid UTF-8; type it again")
    if not all(path):
        raise UserError(f"-s {shown_text}: an empty name before '='; write it as section.option=value")
    if not value_text.strip():
        raise UserError(f"-s {shown_text}: no value after '='; null takes an option out, '' is the empty string")
    parent = _parent(cls, given, path, shown_text)
    if value_text.strip() == "default":
        _set_default(cls, parent, path, shown_text)
    else:
        parent[str(path[-1])] = read_value(value_text)
    given.overrides.append((path, shown_text))


def _parent(cls: type[BaseModel], given: Input, path: Path, shown_text: str) -> dict[str, Any]:
    """The mapping that the last key of the path belongs in."""
    value: dict[str, Any] = given.document.value
    for depth, key in enumerate(map(str, path[:-1]), start=1):
        here = path[:depth]
        field = field_at(cls, here)
        if not field and sections_at(cls, here[:-1]):
            raise UserError(f"-s {shown_text}: {_unknown(cls, here)}")
        if field and not _holds_keys(Type.of(field)):
            described = Type.of(field).describe()
            raise UserError(f"-s {shown_text}: {dotted(here)} is {described}, without options below it")
        if key not in value and field and not field.is_required():
            value[key] = default_of(field)
        if value.get(key) is None:
            value[key] = {}
            given.document.places.pop(here, None)  # the override's section now, no longer the file's null
        if not isinstance(value[key], dict):
            text = f"{dotted(here)} is {shown(value[key])} in the recipe, not a mapping; correct it there"
            raise UserError(f"-s {shown_text}: {text}")
        value = value[key]
    return value


def _holds_keys(kind: Type) -> bool:
    return bool(kind.sections()) or "a mapping" in kind.describe()


def _set_default(cls: type[BaseModel], parent: dict[str, Any], path: Path, shown_text: str) -> None:
    field = field_at(cls, path)
    if not field:
        raise UserError(f"-s {shown_text}: {_unknown(cls, path)}")
    has_default = not field.is_required() and default_of(field) is not None
    if not has_default and Type.of(field).sections():
        parent[str(path[-1])] = {}
    elif field.is_required():
        raise UserError(f"-s {shown_text}: {dotted(path)} has no default; give {Type.of(field).describe()}")
    else:
        parent.pop(str(path[-1]), None)


def _unknown(cls: type[BaseModel], path: Path) -> str:
    """The message about an unknown last key of a path."""
    inside = path[:-1]
    where = f" in {dotted(inside)}" if inside else ""
    hint = unknown_key(cls, sections_at(cls, inside), str(path[-1]), inside)
    return f"unknown key {quoted(str(path[-1]))}{where}; {hint}"
