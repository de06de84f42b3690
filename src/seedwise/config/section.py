"""The base class of every part's configuration, and loading a recipe: YAML plus overrides, validated once."""

import json
from collections.abc import Sequence
from pathlib import Path as FilePath
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from seedwise.base.errors import Mistakes, UserError
from seedwise.base.nearest import meant
from seedwise.config.messages import Input, explain
from seedwise.config.options import Option, plain
from seedwise.config.options import paths as option_paths
from seedwise.config.overrides import apply
from seedwise.config.yaml12 import MAX_CHARACTERS, position, read, write, write_inline

__all__ = ["Option", "Section", "diff", "dump", "json_schema", "load", "paths"]


class Section(BaseModel):
    """A frozen, strict-keyed group of options. Each field's docstring is its description in the JSON schema.

    Values are strict too: true is not 1, '0.1' in quotes is not a number, 1.0 is no integer, and numbers are finite. An
    integer will do for a float field, and in a recipe (not from Python) a list for a tuple field. A validator across
    fields raises ValueError with a message that begins with the dotted path of the field to change, seen from its
    section or from the top: `patience: needs validation images; set data.val`.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        validate_default=True,
    )


S = TypeVar("S", bound=Section)


def load(cls: type[S], source: FilePath | str, source_name: str | None = None, overrides: Sequence[str] = ()) -> S:
    """Read a recipe, apply overrides (`optim.lr=1e-3`, the later winning) and validate it.

    A `Path` is read as a file, a `str` is the YAML itself. Every mistake becomes one line of the UserError,
    `recipe.yaml:4:3: train.epohcs: unknown key; did you mean 'epochs'?`; `source_name` is the name at its start, by
    default the path.
    """
    name = source_name or (str(source) if isinstance(source, FilePath) else "recipe")
    document = read(_read_text(source, name) if isinstance(source, FilePath) else source, name)
    given = Input(name, document)
    if isinstance(document.value, dict):
        for override in overrides:
            apply(cls, given, override)
    try:
        # Through JSON, for pydantic's strict mode takes lists for tuples and strings for paths and enums only there.
        return cls.model_validate_json(json.dumps(document.value))
    except ValidationError as error:
        raise Mistakes(explain(cls, error, given)) from None


def dump(section: BaseModel, header: str = "") -> str:
    """Write a section as complete YAML for `load`: every option in order of declaration, below the header's comment."""
    comment = "".join(f"# {line}".rstrip() + "\n" for line in header.splitlines())
    return comment + write(plain(section))


def diff(a: BaseModel, b: BaseModel) -> list[str]:
    """List the options that differ between two sections, one a line: `optim.lr: 0.001 -> 0.0004`."""
    return _diff(plain(a), plain(b), "")


def paths(cls: type[BaseModel]) -> list[Option]:
    """List every option that `-s` sets, with type in words, default and description, in order of declaration."""
    return option_paths(cls)


def json_schema(cls: type[BaseModel]) -> dict[str, Any]:
    """JSON schema (draft 2020-12) of a configuration class, for completion and checks in editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **cls.model_json_schema()}


def _read_text(path: FilePath, name: str) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(4 * MAX_CHARACTERS + 1)
        return data.decode("utf-8-sig")
    except FileNotFoundError:
        hint = meant(str(path), "check the path, or see `seedwise recipes ls`")
        raise UserError(f"{name}: no such file; {hint}") from None
    except IsADirectoryError:
        raise UserError(f"{name}: a directory, not a recipe file") from None
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", "replace")
        line, column = position(before, len(before))
        raise UserError(f"{name}:{line}:{column}: not UTF-8 text; save the file as UTF-8") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{name}: can't be read: {reason}") from None


def _diff(a: Any, b: Any, path: str) -> list[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        absent = object()
        lines = []
        for key in dict.fromkeys([*a, *b]):
            left, right = a.get(key, absent), b.get(key, absent)
            below = f"{path}.{key}" if path else key
            if left is absent or right is absent:
                words = ["absent" if side is absent else write_inline(side) for side in (left, right)]
                lines.append(f"{below}: {words[0]} -> {words[1]}")
            else:
                lines += _diff(left, right, below)
        return lines
    left, right = write_inline(a), write_inline(b)
    return [] if left == right else [f"{path}: {left} -> {right}"]
