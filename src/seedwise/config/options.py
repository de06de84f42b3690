"""The options that a configuration class declares: paths, types in words, defaults, and where a name occurs."""

import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePath
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from seedwise.config.yaml12 import write_inline


@dataclass(frozen=True)
class Option:
    """An option that `-s` sets."""

    path: str
    """Dotted path, such as `augment.cutmix.prob`."""
    type: str
    """The type in words, such as `a number > 0`."""
    default: str | None
    """As YAML; None when the option must be given."""
    description: str
    """The field's docstring."""


@dataclass(frozen=True)
class Type:
    """A field's annotation and its constraints, as messages need them."""

    annotation: Any
    metadata: tuple[Any, ...] = ()

    @classmethod
    def of(cls, field: FieldInfo) -> "Type":
        """The type of a field."""
        return cls(field.annotation, tuple(field.metadata))

    def members(self) -> list["Type"]:
        """The alternatives of a union (without null), else the type itself."""
        if get_origin(self.annotation) is Annotated:
            base, *metadata = get_args(self.annotation)
            for part in metadata:
                metadata = [*metadata, *part.metadata] if isinstance(part, FieldInfo) else metadata
            return Type(base, (*self.metadata, *metadata)).members()
        if get_origin(self.annotation) not in (Union, types.UnionType):
            return [] if self.annotation is types.NoneType else [self]
        return [member for arg in get_args(self.annotation) for member in Type(arg, self.metadata).members()]

    def takes_null(self) -> bool:
        """Whether null is allowed."""
        return types.NoneType in get_args(self.annotation)

    def sections(self) -> list[type[BaseModel]]:
        """The configuration classes among the members."""
        return [m.annotation for m in self.members() if isinstance(m.annotation, type) and is_section(m.annotation)]

    def item(self, key: str | int) -> "Type":
        """The type of one item of a list or mapping."""
        for member in self.members():
            arguments = [a for a in get_args(member.annotation) if a is not Ellipsis]
            if isinstance(key, int) and is_list(member.annotation) and arguments:
                return Type(arguments[min(key, len(arguments) - 1)])
            if get_origin(member.annotation) is dict:
                return Type(arguments[1])
        return Type(Any)

    def choices(self) -> list[Any]:
        """The values of a Literal or Enum."""
        values: list[Any] = []
        for member in self.members():
            if get_origin(member.annotation) is Literal:
                values += get_args(member.annotation)
            elif isinstance(member.annotation, type) and issubclass(member.annotation, Enum):
                values += [choice.value for choice in member.annotation]
        return values

    def describe(self) -> str:
        """The type in words, as after "must be": `an integer > 0 or 'auto'`. That null is allowed goes unsaid."""
        words = [choice_words(choices)] if (choices := self.choices()) else []
        others = [m for m in self.members() if not m.choices()]
        return " or ".join(dict.fromkeys([*(other._words() for other in others), *words])) or "null"

    def _words(self) -> str:
        annotation = self.annotation
        if is_list(annotation):
            arguments = get_args(annotation)
            if len(arguments) > 1 and arguments[-1] is not Ellipsis:
                return f"a list of {len(arguments)} ({', '.join(Type(a).describe() for a in arguments)})"
            return "a list" + (f" (each {Type(arguments[0]).describe()})" if arguments else "")
        if not isinstance(annotation, type) or get_origin(annotation) is dict or annotation is dict:
            return "a mapping" if get_origin(annotation) is dict or annotation is dict else "a value"
        if issubclass(annotation, BaseModel):
            options = ", ".join(annotation.model_fields)
            return f"a mapping of options ({options})" if options else "an empty mapping"
        names = {bool: "true or false", int: "an integer", float: "a number", str: "a string"}
        word = "a path" if issubclass(annotation, PurePath) else names.get(annotation, annotation.__name__)
        return word + self._bounds()

    def _bounds(self) -> str:
        signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
        return " and".join(
            f" {sign} {bound}"
            for part in self.metadata
            for name, sign in signs.items()
            if (bound := getattr(part, name, None)) is not None
        )


def is_section(annotation: Any) -> bool:
    """Whether an annotation is a configuration class."""
    return isinstance(annotation, type) and get_origin(annotation) is None and issubclass(annotation, BaseModel)


def is_list(annotation: Any) -> bool:
    """Whether values of an annotation are written as a YAML list."""
    return (get_origin(annotation) or annotation) in (tuple, list)


def choice_words(choices: Sequence[Any]) -> str:
    """Choices in words: `'a', 'b' or 'c'`."""
    words = [repr(choice) if isinstance(choice, str) else write_inline(choice) for choice in choices]
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def paths(cls: type[BaseModel], prefix: str = "") -> list[Option]:
    """List every option below a class in order of declaration; an optional section comes before its own options."""
    options: dict[str, Option] = {}
    for name, field in cls.model_fields.items():
        kind = Type.of(field)
        path, sections = prefix + name, kind.sections()
        default = None if field.is_required() else write_inline(default_of(field))
        if not sections or default == "null":
            words = kind.describe() + (" or null" if kind.takes_null() else "")
            options[path] = Option(path, words, default, " ".join((field.description or "").split()))
        for section in sections:
            for option in paths(section, f"{path}."):
                options.setdefault(option.path, option)
    return list(options.values())


def default_of(field: FieldInfo) -> Any:
    """A field's declared default as plain data (sections as mappings, tuples as lists)."""
    default = field.get_default(call_default_factory=True, validated_data={})
    return plain(default)


def plain(value: Any) -> Any:
    """A value as plain data that YAML can hold."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    return value.value if isinstance(value, Enum) else str(value) if isinstance(value, PurePath) else value


def owners(cls: type[BaseModel], name: str, prefix: str = "") -> Iterator[str]:
    """The dotted paths of the sections below `cls` that have an option of this name ('' for `cls` itself)."""
    if name in cls.model_fields:
        yield prefix
    for field_name, field in cls.model_fields.items():
        for section in Type.of(field).sections():
            yield from owners(section, name, f"{prefix}.{field_name}" if prefix else field_name)
