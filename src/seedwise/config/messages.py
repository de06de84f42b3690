"""Turns pydantic's errors into lines that say where in the file a mistake is, what it is and what would be right."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from seedwise.config.options import Type, choice_words, is_list, owners
from seedwise.config.yaml12 import Document, Location, Mark, Path, dotted, quoted, write_inline

_ABSENT = object()
_BOUNDS = {
    "greater_than": (">", "gt"),
    "greater_than_equal": (">=", "ge"),
    "less_than": ("<", "lt"),
    "less_than_equal": ("<=", "le"),
    "multiple_of": ("a multiple of", "multiple_of"),
}
_NOUNS = {"float_type": "a number", "int_type": "an integer", "bool_type": "true or false", "string_type": "a string"}


@dataclass
class Input:
    """A document to validate, with the overrides that changed it."""

    source: str
    """The file's name, with which its errors begin."""
    document: Document
    overrides: list[tuple[Path, str]] = field(default_factory=list)
    """The path that each override set and the override's text, in the order given."""


@dataclass(frozen=True)
class _Problem:
    path: Path
    text: str
    section: type[BaseModel] | None = None
    """For an unknown key, the class that does not know it."""


class _Location(NamedTuple):
    path: Path
    kind: Type
    section: type[BaseModel]
    """The class that holds the value."""
    in_union: bool
    """Whether it ends at one alternative of a union, so that the errors of all alternatives belong together."""


def explain(cls: type[BaseModel], error: ValidationError, given: Input) -> list[str]:
    """Say each mistake in a line, in the order of the file and then of the overrides."""
    problems = _problems(cls, error.errors(include_url=False), given.document.value)
    lines = [_placed(cls, problem, given) for problem in problems]
    return list(dict.fromkeys(text for _, text in sorted(lines, key=lambda line: line[0])))


def unknown_key(cls: type[BaseModel], sections: Sequence[type[BaseModel]], name: str, inside: Path = ()) -> str:
    """Advice for an unknown key `name`; `sections` are the classes at path `inside` below `cls` that could hold it."""
    names = [known for section in sections for known in section.model_fields]
    elsewhere = [owner for owner in owners(cls, name) if owner != dotted(inside)]
    if elsewhere:
        words = [repr(owner) if owner else "the top level" for owner in elsewhere[:3]]
        return f"{name!r} belongs to {' or '.join(words)}"
    if close := similar(name, names):
        return f"did you mean {close!r}?"
    return f"the keys here are {', '.join(names)}" if names else "remove it"


def similar(name: str, names: Sequence[str]) -> str | None:
    """The most similar of `names`, if any is close."""
    close = difflib.get_close_matches(name.lower().replace("-", "_"), names, n=1, cutoff=0.6)
    return close[0] if close else None


def shown(value: Any) -> str:
    """A value for a message: short, on one line."""
    if isinstance(value, dict | list):
        text = write_inline(value)
        name = "a mapping" if isinstance(value, dict) else "a list"
        return text if isinstance(value, list) and len(text) <= 40 else name
    return quoted(value) if isinstance(value, str) else write_inline(value)[:40]


def sections_at(cls: type[BaseModel], path: Path) -> list[type[BaseModel]]:
    """The section classes at a path; several where a union allows several."""
    kind = _type_at(cls, path)
    return kind.sections() if kind else []


def field_at(cls: type[BaseModel], path: Path) -> FieldInfo | None:
    """The declaration of the option at a path."""
    name = str(path[-1])
    return next((s.model_fields[name] for s in sections_at(cls, path[:-1]) if name in s.model_fields), None)


def _type_at(cls: type[BaseModel], path: Path) -> Type | None:
    kind = Type(cls)
    for element in path:
        sections = [section for section in kind.sections() if element in section.model_fields]
        if sections:
            kind = Type.of(sections[0].model_fields[str(element)])
        elif kind.sections():
            return None
        else:
            kind = kind.item(element)
    return kind


def _problems(cls: type[BaseModel], errors: Sequence[ErrorDetails], value: Any) -> list[_Problem]:
    found: list[_Problem] = []
    unions: dict[Path, Type] = {}
    nouns: dict[Path, str] = {}
    """What one of the alternatives is, where a number looks like it and is not: 3.5 or '3' for an integer."""
    for error in errors:
        at = _located(cls, error["loc"])
        if at.in_union and error["type"] not in ("value_error", "assertion_error"):
            unions[at.path] = at.kind
            if error["type"] in _NOUNS and _is_numeric(_value_at(value, at.path)):
                nouns[at.path] = _NOUNS[error["type"]]
        else:
            found.append(_problem(cls, error, at, _value_at(value, at.path)))
    for path, kind in unions.items():
        # A mapping meant for the section among the alternatives is told about its own mistakes only.
        if not any(problem.path[: len(path)] == path for problem in found):
            given = _value_at(value, path)
            found.append(
                _Problem(path, _wrong_type(nouns[path], kind, given) if path in nouns else _not_a_choice(kind, given))
            )
    return found


def _located(cls: type[BaseModel], loc: tuple[int | str, ...]) -> _Location:
    """The path in the file of a pydantic location, which also names the alternatives of unions it passes."""
    path: Path = ()
    kind, section = Type(cls), cls
    rest = list(loc)
    while rest:
        if len(kind.members()) > 1:
            label = str(rest.pop(0))
            chosen = [Type(s) for s in kind.sections() if label == s.__name__ or label in _tags(s)]
            if label.startswith(("tuple[", "list[")):  # a list of sections: each tells about its own mistakes
                chosen = [m for m in kind.members() if is_list(m.annotation) and m.item(0).sections()]
            if not chosen or not rest:
                return _Location(path, kind, section, in_union=True)
            kind = chosen[0]
        element = rest.pop(0)
        if kind.sections():
            section = kind.sections()[0]
            known = section.model_fields.get(str(element))
            kind = Type.of(known) if known else Type(Any)
        else:
            kind = kind.item(element)
        path = (*path, element)
    return _Location(path, kind, section, in_union=False)


def _tags(section: type[BaseModel]) -> list[Any]:
    return [choice for field in section.model_fields.values() for choice in Type.of(field).choices()]


def _value_at(value: Any, path: Path) -> Any:
    for element in path:
        if isinstance(value, dict) and element in value:
            value = value[str(element)]
        elif isinstance(value, list) and isinstance(element, int) and element < len(value):
            value = value[element]
        else:
            return _ABSENT
    return value


def _problem(cls: type[BaseModel], error: ErrorDetails, at: _Location, value: Any) -> _Problem:
    path, kind = at.path, at.kind
    code, context = error["type"], error.get("ctx", {})
    if code == "extra_forbidden":
        return _Problem(path, "unknown key", at.section)
    if code == "missing":
        return _Problem(path, f"missing; must be {kind.describe()}")
    if code in ("value_error", "assertion_error"):
        return _own_words(cls, path, str(context["error"]))
    if code in ("union_tag_invalid", "union_tag_not_found"):
        tag_field = context["discriminator"].strip("'")
        tags = [tag for section in kind.sections() for tag in Type.of(section.model_fields[tag_field]).choices()]
        tagged = value.get(tag_field, _ABSENT) if isinstance(value, dict) else _ABSENT
        words = choice_words(tags)
        text = f"missing; must be {words}" if tagged is _ABSENT else _wrong_choice(tags, words, tagged)
        return _Problem((*path, tag_field), text)
    if value is _ABSENT:  # a declared default that does not pass: the program's fault, not the file's
        return _Problem(path, f"its default is invalid: {error['msg']}")
    return _Problem(path, _about_value(error, kind, value))


def _is_numeric(value: Any) -> bool:
    """Whether the value is a float, or text that would be a number without its quotes."""
    is_text = isinstance(value, str) and re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", value)
    return isinstance(value, float) or bool(is_text)


def _own_words(cls: type[BaseModel], path: Path, message: str) -> _Problem:
    """A validator's message as a problem; a dotted path at its start is the place, from the section or from the top."""
    message = " ".join(message.split())
    if match := re.match(r"(\w+(?:\.\w+)*): ", message):
        named = tuple(int(name) if name.isdecimal() else name for name in match[1].split("."))
        for absolute in ((*path, *named), named):
            if _type_at(cls, absolute) is not None:
                return _Problem(absolute, message[match.end() :])
    return _Problem(path, message)


def _about_value(error: ErrorDetails, kind: Type, value: Any) -> str:
    code, context = error["type"], error.get("ctx", {})
    if code in _BOUNDS:
        sign, name = _BOUNDS[code]
        return f"must be {sign} {context[name]:g}, is {shown(value)}"
    if code == "finite_number":
        return f"must be a finite number, is {shown(value)}"
    if code in ("too_short", "too_long"):
        limit = f"least {context['min_length']}" if code == "too_short" else f"most {context['max_length']}"
        return f"must have at {limit} items, has {context['actual_length']}"
    if code in _NOUNS and not isinstance(value, dict | list | None):
        return _wrong_type(_NOUNS[code], kind, value)
    if code.endswith(("_type", "_error", "enum")) and code != "custom_error":
        return _not_a_choice(kind, value)
    return f"{error['msg'][0].lower()}{' '.join(error['msg'][1:].split())}, is {shown(value)}"


def _wrong_type(noun: str, kind: Type, value: Any) -> str:
    """For example `'fast' is not a number; must be a number > 0`."""
    hint = f"must be {kind.describe()}"
    if isinstance(value, str):
        meant = {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(value.lower())
        if noun == "true or false" and (meant or value.lower() in ("true", "false")):
            hint = f"write {meant or value.lower()}"
        elif noun in ("a number", "an integer") and _is_numeric(value):
            hint = "remove the quotes"
    elif noun == "a string":
        hint = "put it in quotes"
    elif isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        hint = f"write {value:.0f}"
    return f"{shown(value)} is not {noun}" + ("" if hint == f"must be {noun}" else f"; {hint}")


def _not_a_choice(kind: Type, value: Any) -> str:
    return _wrong_choice(kind.choices(), kind.describe(), value)


def _wrong_choice(choices: Sequence[Any], description: str, value: Any) -> str:
    names = [choice for choice in choices if isinstance(choice, str)]
    close = similar(value, names) if isinstance(value, str) else None
    return f"must be {description}, is {shown(value)}" + (f"; did you mean {close!r}?" if close else "")


def _placed(cls: type[BaseModel], problem: _Problem, given: Input) -> tuple[tuple[int, int, int], str]:
    """The line that reports a problem, with a key to sort by."""
    inside = problem.path[:-1]
    hint = unknown_key(cls, [problem.section], str(problem.path[-1]), inside) if problem.section else ""
    number = _override_of(problem.path, given)
    if number is None:
        mark = _mark(problem, given.document.places)
        label = f"{dotted(problem.path)}: " if problem.path else ""
        text = f"{problem.text}; {hint}" if problem.section else problem.text
        return (0, *mark), f"{given.source}:{mark.line}:{mark.column}: {label}{text}"
    path, override = given.overrides[number]
    if problem.section:
        where = f" in {dotted(inside)}" if inside else ""
        text = f"unknown key {quoted(str(problem.path[-1]))}{where}; {hint}"
    else:
        text = problem.text if problem.path == path else f"{dotted(problem.path)}: {problem.text}"
    return (1, number, 0), f"-s {override}: {text}"


def _override_of(path: Path, given: Input) -> int | None:
    """Index of the override that set the value at a path, or created the section in which it is missing."""
    numbers = list(reversed(range(len(given.overrides))))
    for number in numbers:
        set_path = given.overrides[number][0]
        if path[: len(set_path)] == set_path:
            return number
    if not path or path[:-1] in given.document.places:
        return None
    return next((number for number in numbers if given.overrides[number][0][:-1] == path[:-1]), None)


def _mark(problem: _Problem, places: dict[Path, Location]) -> Mark:
    """Position of the value, or of the key; a missing value has that of the section that lacks it."""
    if place := places.get(problem.path):
        return place.key if problem.section else place.value
    above = problem.path[:-1]
    while above and above not in places:
        above = above[:-1]
    return places[above].key if above in places else Mark(1, 1)
