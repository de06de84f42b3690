"""The command line for a study's record: what decides its result, without what is this machine's own."""

from pathlib import Path
from typing import Any

import typer

OWN = ("address", "budget", "data_dir", "dry_run", "as_json")
"""Parameters left out of the recorded command: a cluster's address, local paths, time limits, and what is printed."""


def given(context: typer.Context, out: Path) -> str:
    """The verb's full command line, quoted for a shell, with its output folder."""
    from seedwise.study.advice import joined, with_option

    words = ["seedwise", context.info_name or ""]
    for parameter in context.command.params:
        source = context.get_parameter_source(str(parameter.name))
        if parameter.name in OWN or source is None or source.name != "COMMANDLINE":
            continue
        words += _words(parameter, context.params[str(parameter.name)])
    return joined(with_option(words, "-o", _portable(str(out))))


def _words(parameter: Any, value: Any) -> list[str]:
    """A parameter's words; options by their first name, a short one where there is one."""
    values = [_portable(str(each)) for each in (value if isinstance(value, list | tuple) else [value])]
    if parameter.param_type_name == "argument":
        return values
    name = min(parameter.opts, key=len)
    return [name] if isinstance(value, bool) else [word for each in values for word in (name, each)]


def _portable(text: str) -> str:
    """An absolute path relative to the current folder, else to home; other text unchanged."""
    path = Path(text)
    for root, start in ((Path.cwd(), "."), (Path.home(), "~")):
        if path.is_absolute() and path.is_relative_to(root) and len(root.parts) > 1:
            return f"{start}/{path.relative_to(root)}".removeprefix("./")
    return text
