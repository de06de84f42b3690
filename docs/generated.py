"""What the site shows and nobody types: every option from its docstring, every verb from its help. No torch here.

    python docs/generated.py options|verbs

prints the Markdown that `make docs` puts into docs/options.md and docs/commands.md.
"""

import inspect
import re
import sys
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from seedwise.config.options import Type, choice_words, default_of, is_list
from seedwise.config.yaml12 import write_inline

DEEPEST = 4
"""Headings below this are no help in finding one's way."""
FACTS = "{ .facts }"
"""Marks a paragraph for docs/site.css."""
_CARD = re.compile(r"\s+(Helps|Hurts|Source):\s+")
_PAGE = re.compile(r"\bdocs/([\w-]+\.md)")


def options() -> str:
    """A heading for every option of a recipe, with its type, its default and its docstring."""
    from seedwise.recipe.schema import Recipe

    return "\n\n".join(_section(Recipe, "")) + "\n"


def _section(cls: type[BaseModel], prefix: str) -> Iterator[str]:
    """The options of a section; at the top those without sections come first."""
    fields = sorted(cls.model_fields.items(), key=lambda item: not prefix and bool(Type.of(item[1]).sections()))
    if not prefix:
        yield "## The recipe itself"
    for name, field in fields:
        yield from _option(f"{prefix}{name}", field)


def _option(path: str, field: FieldInfo) -> Iterator[str]:
    """One option: what it is, then what is below it."""
    kind, level = Type.of(field), min(path.count(".") + 2, DEEPEST)
    below = kind.sections()
    yield f"{'#' * max(level, 2 if below else 3)} `{path}` {{ #{path} }}"
    if not below:
        items = kind.item(0).sections() if any(is_list(member.annotation) for member in kind.members()) else []
        yield _facts(kind, field, "a list, each item with the options below" if items else "")
        yield prose(field.description or "")
        for item in items:
            yield from _section(item, f"{path}.0.")
        return
    if kind.takes_null():
        yield f"Off unless `-s {path}={getattr(below[0], 'on', 'default')}` turns it on; `=null` turns it off.\n{FACTS}"
    elif len(below) > 1:
        yield f"Default: `{write_inline(default_of(field))}`.\n{FACTS}"
        yield prose(field.description or "")
    shared: set[str] = set()
    if len(below) > 1:
        shared = {"name"}
        choices = [cls.model_fields["name"].default for cls in below]
        yield f"{'#' * DEEPEST} `{path}.name` {{ #{path}.name }}"
        yield f"{choice_words(choices)}. Default: `{default_of(field)['name']}`.\n{FACTS}"
        yield prose(below[0].model_fields["name"].description or "")
    for cls in below:
        chosen = f"**`{cls.model_fields['name'].default}`**: " if len(below) > 1 else ""
        yield chosen + prose(inspect.getdoc(cls) or "")
        for name, each in cls.model_fields.items():
            if name not in shared:
                yield from _option(f"{path}.{name}", each)
        shared |= set(cls.model_fields)


def _facts(kind: Type, field: FieldInfo, first: str) -> str:
    """Type and default, in words."""
    others = re.sub(r"a list \(each a mapping.*?\)\)( or |$)", "", kind.describe())
    words = ", or ".join(filter(None, (first, others)))
    words += " or null" if kind.takes_null() else ""
    default = "It has to be given." if field.is_required() else f"Default: `{write_inline(default_of(field))}`."
    return f"{words[0].upper()}{words[1:]}. {default}\n{FACTS}".replace("<", "&lt;")


def prose(text: str) -> str:
    """A docstring as Markdown: a technique's card in its parts, documents as links, nothing markup by chance."""
    parts = re.split(r"(`[^`]*`)", _CARD.sub(r"\n\n@\1@ ", " ".join(text.split())))
    parts[::2] = [_PAGE.sub(r"[\1](\1)", it.replace("*", "\\*").replace("<", "&lt;")) for it in parts[::2]]
    return re.sub("@(Helps|Hurts|Source)@", r"**\1:**", "".join(parts))


def verbs() -> str:
    """A heading for every verb, with its help and its flags."""
    from typer.main import get_command

    from seedwise.cli.app import app
    from seedwise.cli.usage import plain_usage

    command = get_command(app)
    plain_usage(command)
    return "\n\n".join(_verb(command, "seedwise")) + "\n"


def _verb(command: Any, name: str) -> Iterator[str]:
    """A verb, or those below it."""
    for word, each in getattr(command, "commands", {}).items():
        path = f"{name} {word}"
        yield f"### `{path}` {{ #{'-'.join(path.split()[1:])} }}"
        context = each.make_context(path, [], resilient_parsing=True)
        usage = each.get_usage(context).removeprefix("Usage: ")
        yield f"```text\n{usage}\n```"
        yield _help(inspect.cleandoc(each.help or ""))
        records = [record for it in each.get_params(context) if (record := it.get_help_record(context))]
        if rows := [f"| <code>{_cell(flag)}</code> | {_cell(text)} |" for flag, text in records if flag != "--help"]:
            yield "\n".join(["| | what it does |", "| --- | --- |", *rows])
        yield from _verb(each, path)


def _help(text: str) -> str:
    """A verb's help, its examples as code."""
    lines = [f"    {line.strip()}" if line.startswith(("    ", "seedwise ")) else line for line in text.splitlines()]
    return re.sub(r"(?<=\n)(    .+)\n\n(?=    )", r"\1\n", "\n".join(lines))


def _cell(text: str) -> str:
    """Help within a table."""
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    print({"options": options, "verbs": verbs}[sys.argv[1]](), end="")
