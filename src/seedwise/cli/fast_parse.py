"""Parses words of the command line without pydantic.

Newer versions of typer (0.29 is one) import pydantic and build a schema for every option of a command, given or not:
that takes longer than showing recipes or a study. What is absent, text, a switch or a path needs none of it.
"""

from pathlib import Path
from typing import Any

import typer


def quicken(command: Any, above: Any = None) -> None:
    """Skip typer's conversion of absent values, text, switches and paths, in this command and those below.

    Where typer looks different inside, this changes nothing.
    """
    context = typer.Context(command, parent=above, **command.context_settings)  # which says how help is asked for
    for parameter in command.get_params(context):  # --help is among these alone
        if hasattr(parameter, "_runtime_param") and hasattr(parameter, "type_descriptor"):
            parameter._runtime_param = _AsItIs()
    for below in getattr(command, "commands", {}).values():
        quicken(below, context)


class _AsItIs:
    """Replaces typer's conversion of a parameter until there is a value to convert."""

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Convert a value as typer does."""
        kind, many = param.type_descriptor.annotation, param.multiple or param.nargs == -1
        own = getattr(param.type_descriptor.parameter_info, "parser", None) is not None
        if value is None:
            return () if many else None
        if (kind is str and isinstance(value, str) and not own) or (kind is bool and isinstance(value, bool)):
            return value
        if kind is Path and isinstance(value, str) and not own:
            return Path(value)  # the verbs say themselves what is wrong with it
        if kind == list[str] and isinstance(value, tuple) and not own:
            return list(value)
        param._runtime_param = None  # typer builds its own where there is none
        return param.get_runtime_param().coerce(value, param=param, ctx=ctx)
