"""YAML 1.2 (core schema) on top of PyYAML; keeps the position of every key and value.

PyYAML speaks YAML 1.1, where `1e-3` is a string, `off` is False and `0123` is octal. Here its composer makes the nodes
and the scalars are resolved by the core schema of YAML 1.2 (section 10.3.2). Of the language's larger features a recipe
needs none, so tags and several documents in a file are refused; aliases work within bounds.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import yaml
from yaml.reader import Reader

from seedwise.base.errors import UserError

Path = tuple[str | int, ...]
"""A path from the root to a value: keys of mappings, positions in lists."""

MAX_CHARACTERS = 1_000_000
MAX_NODES = 10_000
"""Largest number of nodes after aliases are expanded, so that a few lines can't unfold to gigabytes."""
MAX_DEPTH = 32

_NULL = re.compile(r"null|Null|NULL|~|")
_TRUE = re.compile(r"true|True|TRUE")
_FALSE = re.compile(r"false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INF = re.compile(r"[-+]?\.(inf|Inf|INF)")
_NAN = re.compile(r"\.(nan|NaN|NAN)")
_NOT_STRINGS = (_NULL, _TRUE, _FALSE, _INT, _OCTAL, _HEX, _FLOAT, _INF, _NAN)


class Mark(NamedTuple):
    """A position in a file, both counted from 1; columns count characters."""

    line: int
    column: int


class Location(NamedTuple):
    """Positions of a value and its key; for the root and for items of a list both are the value's."""

    key: Mark
    value: Mark


@dataclass(frozen=True)
class Document:
    """A parsed document: plain Python values, and the position of each by its path."""

    value: Any
    places: dict[Path, Location]


def dotted(path: Path) -> str:
    """A path in dots, `train.milestones[1]`; keys that are no plain names are quoted, so that it is always one line."""
    text = ""
    for element in path:
        if isinstance(element, int):
            text += f"[{element}]"
        else:
            text += ("." if text else "") + (element if re.fullmatch(r"[\w-]{1,60}", element) else quoted(element))
    return text


def quoted(text: str) -> str:
    """A string in quotes on one line, shortened in the middle when it is long."""
    return ascii_safe(repr(text if len(text) <= 60 else f"{text[:40]}...{text[-10:]}"))


def ascii_safe(text: str) -> str:
    """Text with lone surrogates escaped, so that it can be printed anywhere."""
    return text.encode("utf-8", "backslashreplace").decode()


def resolve(text: str) -> Any:
    """Resolve a plain (unquoted) scalar by the core schema: null, a boolean, an integer, a float or a string.

    Raises ValueError for an integer of thousands of digits, which Python declines to convert.
    """
    if _NULL.fullmatch(text):
        return None
    if _TRUE.fullmatch(text) or _FALSE.fullmatch(text):
        return text[0] in "tT"
    if _INT.fullmatch(text):
        return int(text)
    if _OCTAL.fullmatch(text) or _HEX.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _INF.fullmatch(text):
        return -math.inf if text[0] == "-" else math.inf
    return math.nan if _NAN.fullmatch(text) else text


def read(text: str, source: str) -> Document:
    """Parse one document; a UserError `source:line:column: ...` for what isn't valid."""
    if len(text) > MAX_CHARACTERS:
        raise UserError(f"{source}: {len(text):,} characters, too long for a recipe; at most {MAX_CHARACTERS:,}")
    if bad := Reader.NON_PRINTABLE.search(text):
        line, column = position(text, bad.start())
        raise UserError(f"{source}:{line}:{column}: control character U+{ord(bad[0]):04X}; remove it")
    root = _compose(text, source)
    if root is None:
        raise UserError(f"{source}: empty; write at least one option, as 'key: value'")
    builder = _Builder(source)
    value = builder.build(root, (), Location(_mark(root.start_mark), _mark(root.start_mark)), ())
    return Document(value, builder.places)


def read_value(text: str) -> Any:
    """Parse an override's value: YAML where the whole text is one flow value (`1e-3`, `[1, 2]`, `{a: 1}`, `'x'`).

    Anything else (`@name`, `a: b`, `x #y`) was meant as it stands and is returned as a string.
    """
    text = text.strip()
    if Reader.NON_PRINTABLE.search(text):
        return text
    try:
        root = _compose(text, "")
        if isinstance(root, yaml.ScalarNode):
            is_value = root.style in ("'", '"') or (root.style is None and root.value == text)
        else:
            is_value = root is not None and root.flow_style
        if not is_value or root.end_mark.index < len(text):
            return text
        return _Builder("").build(root, (), Location(Mark(1, 1), Mark(1, 1)), ())
    except UserError:
        return text


def position(text: str, index: int) -> Mark:
    """Line and column of the character at an index."""
    return Mark(text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index))


class _Loader(yaml.SafeLoader):
    """PyYAML's composer without its 1.1 resolver, tags, or nesting deep enough to exhaust Python's stack."""

    yaml_implicit_resolvers: dict[str, Any] = {}
    depth = nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if tag := getattr(event, "tag", None):
            tag = tag.replace("tag:yaml.org,2002:", "!!")
            problem = f"tag {quoted(tag)}; remove it, values here need no tags"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        self.depth, self.nodes = self.depth + 1, self.nodes + 1
        if self.nodes > MAX_NODES:
            raise yaml.MarkedYAMLError(problem=f"more than {MAX_NODES:,} values", problem_mark=event.start_mark)
        if self.depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=f"nested deeper than {MAX_DEPTH} levels", problem_mark=event.start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _compose(text: str, source: str) -> Any:
    loader = _Loader(text)
    try:
        return loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = _mark(error.problem_mark or error.context_mark or loader.get_mark())
        raise UserError(f"{source}:{mark.line}:{mark.column}: {_problem(error)}") from None
    except (yaml.YAMLError, ValueError, OverflowError):  # e.g. "\UFFFFFFFF", which PyYAML hands to chr() unchecked
        mark = _mark(loader.get_mark())
        raise UserError(f"{source}:{mark.line}:{mark.column}: not valid YAML; check the escape before this") from None


def _problem(error: yaml.MarkedYAMLError) -> str:
    """PyYAML's message in one line, in plainer words for frequent ones."""
    problem = ascii_safe(" ".join(str(error.problem).split()))
    if "'\\t'" in problem:
        return "a tab character; indent with spaces"
    if "another document" in problem:
        return "a second document; keep one per file, without a '---' between"
    if problem.startswith(("tag ", "nested ", "more than ")):
        return problem
    context = f" ({' '.join(error.context.split())})" if error.context else ""
    return f"not valid YAML: {problem}{ascii_safe(context)}"


def _mark(mark: Any) -> Mark:
    return Mark(mark.line + 1, mark.column + 1)


class _Builder:
    """Builds values from nodes and records their positions."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.places: dict[Path, Location] = {}
        self.nodes = 0

    def build(self, node: yaml.Node, path: Path, place: Location, around: tuple[int, ...]) -> Any:
        """Build the value of a node; `around`: ids of the collections that contain it."""
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise self.error(place.value, path, f"more than {MAX_NODES:,} values once aliases are expanded")
        if id(node) in around:
            raise self.error(place.value, path, "the alias stands inside its own anchor; write the values out")
        self.places[path] = place
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path, (*around, id(node)))
        if isinstance(node, yaml.SequenceNode):
            return [
                self.build(
                    item, (*path, i), Location(_mark(item.start_mark), _mark(item.start_mark)), (*around, id(node))
                )
                for i, item in enumerate(node.value)
            ]
        return self.scalar(node, path)

    def mapping(self, node: yaml.MappingNode, path: Path, around: tuple[int, ...]) -> dict[str, Any]:
        """Build a mapping; its keys are strings, whatever they look like: no option is called by a number."""
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            mark = _mark(key_node.start_mark)
            if not isinstance(key_node, yaml.ScalarNode):
                raise self.error(mark, path, "a key must be a name, not a list or mapping")
            key = str(self.checked(key_node.value, key_node, path))
            if key in values:
                first = self.places[*path, key].key.line
                raise self.error(mark, (*path, key), f"duplicate key; it is on line {first} already, remove one")
            place = Location(mark, _mark(value_node.start_mark))
            values[key] = self.build(value_node, (*path, key), place, around)
        return values

    def scalar(self, node: yaml.Node, path: Path) -> Any:
        """Build a scalar: a plain one by the core schema, a quoted or block one as a string."""
        text = self.checked(node.value, node, path)
        if getattr(node, "style", None):
            return text
        try:
            return resolve(text)
        except ValueError:
            raise self.error(_mark(node.start_mark), path, f"a number of {len(text):,} digits is too long") from None

    def checked(self, text: str, node: yaml.Node, path: Path) -> str:
        """Refuse escapes such as "\\ud800", which make half a character that no file can hold."""
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise self.error(_mark(node.start_mark), path, "a lone surrogate is no character; remove the escape")
        return text

    def error(self, mark: Mark, path: Path, problem: str) -> UserError:
        where = f"{dotted(path)}: " if path else ""
        return UserError(f"{self.source}:{mark.line}:{mark.column}: {where}{problem}")


class _Dumper(yaml.SafeDumper):
    """Writes YAML that readers of 1.1 and 1.2 take for the same values."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _write_string(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    # PyYAML quotes what 1.1 misreads ("off", "1:30") except y and n; it does not know 1.2's numbers ("1e3", "0o7").
    ambiguous = text.lower() in ("y", "n") or any(pattern.fullmatch(text) for pattern in _NOT_STRINGS)
    style = '"' if not text.isprintable() else "'" if ambiguous else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _write_list(dumper: _Dumper, items: Any) -> yaml.SequenceNode:
    short = not any(isinstance(item, list | tuple | Mapping) for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=True if short else None)


_Dumper.add_representer(str, _write_string)
_Dumper.add_representer(list, _write_list)
_Dumper.add_representer(tuple, _write_list)


def write(value: Any) -> str:
    """Block-style YAML, keys in their order, a list of scalars on one line."""
    return _dump(value, flow=False)


def write_inline(value: Any) -> str:
    """One line of flow-style YAML."""
    return _dump(value, flow=True).removesuffix("\n").removesuffix("\n...")


def _dump(value: Any, *, flow: bool) -> str:
    text: str = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=math.inf, default_flow_style=flow
    )
    return text
