"""An option that names an input is given once: the parser's own way is to drop all but the last, silently."""

from typing import Any

from seedwise.base.errors import UserError

LISTS = {"toggle", "bagging_models", "bagging_augment"}
INPUTS = {"kernels", "run", "data", "confirm", "teacher", *LISTS}
"""Parameters of which two may be meant together. Of settings the last one counts, so that a script can be overruled."""


def refuse_second_inputs(command: Any) -> None:
    """Raise a UserError, in this command and those below, where an option of `INPUTS` is given two values.

    Where typer looks different inside, this changes nothing.
    """
    make = getattr(command, "make_parser", None)
    if make is not None:
        command.make_parser = lambda context: _strict(make(context), context)
    for below in getattr(command, "commands", {}).values():
        refuse_second_inputs(below)


def _strict(parser: Any, context: Any) -> Any:
    names = getattr(parser, "_long_opt", {}) | getattr(parser, "_short_opt", {})
    if not context.resilient_parsing:  # of completion, which shows no mistakes
        for option in {id(option): option for option in names.values()}.values():
            if option.dest in INPUTS and option.action == "store":
                option.process = _once(option)
    return parser


def _once(option: Any) -> Any:
    store = option.process

    def process(value: Any, state: Any) -> None:
        before = state.opts.get(option.dest, value)
        if before != value:
            name = min((*option._short_opts, *option._long_opts), key=len)
            once = f"{name} {before},{value}" if option.dest in LISTS else "it once"
            raise UserError(f"{name}: is given twice, as {before} and as {value}; give {once}")
        store(value, state)

    return process
