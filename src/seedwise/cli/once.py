"""An option of one value is given once: the parser's own way is to drop all values but the last, silently."""

from typing import Any

from seedwise.base.errors import UserError


def refuse_repeats(command: Any) -> None:
    """Raise a UserError, in this command and those below, where an option of one value is given two that differ.

    Where typer looks different inside, this changes nothing.
    """
    make = getattr(command, "make_parser", None)
    if make is not None:
        command.make_parser = lambda context: _strict(make(context), context)
    for below in getattr(command, "commands", {}).values():
        refuse_repeats(below)


def _strict(parser: Any, context: Any) -> Any:
    names = getattr(parser, "_long_opt", {}) | getattr(parser, "_short_opt", {})
    if not context.resilient_parsing:  # of completion, which shows no mistakes
        for option in {id(option): option for option in names.values() if option.action == "store"}.values():
            option.process = _once(option)
    return parser


def _once(option: Any) -> Any:
    store = option.process

    def process(value: Any, state: Any) -> None:
        before = state.opts.get(option.dest, value)
        if before != value:
            name = min((*option._short_opts, *option._long_opts), key=len)
            raise UserError(f"{name}: is given twice, as {before} and as {value}; give it once")
        store(value, state)

    return process
