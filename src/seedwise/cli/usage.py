"""Usage lines in the usual form: `seedwise predict [OPTIONS] RUN IMAGE...`.

typer writes `{RUN} {IMAGE...}...` from 0.29 on.
"""

from typing import Any


def plain_usage(command: Any) -> None:
    """Make this command and those below show their arguments by their metavars alone.

    Where typer looks different inside, this changes nothing.
    """
    if hasattr(command, "collect_usage_pieces"):
        command.collect_usage_pieces = lambda context: _pieces(command, context)
    for below in getattr(command, "commands", {}).values():
        plain_usage(below)


def _pieces(command: Any, context: Any) -> list[str]:
    """The words of the usage line behind the command's own name."""
    pieces = [command.options_metavar] if command.options_metavar else []
    for parameter in command.get_params(context):
        if parameter.param_type_name == "argument":
            name = parameter.metavar or parameter.name.upper()
            name += "..." if parameter.nargs != 1 and not name.endswith("...") else ""
            pieces.append(name if parameter.required else f"[{name}]")
    below = getattr(command, "subcommand_metavar", None)
    if below is not None:
        pieces.append(f"[{below}]" if command.invoke_without_command else below)
    return pieces
