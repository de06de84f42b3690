"""`seedwise`: one verb a file."""

from typing import Any

import typer

from seedwise.cli import augment, doctor, recipes, resume, train
from seedwise.errors import Interrupted, UserError

app = typer.Typer(
    name="seedwise",
    help="Fine-tunes image classifiers over several seeds and tells which tricks really helped.",
    epilog="Start with: seedwise train digits --seeds 5",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.command(name="train")(train.train)
app.command(name="resume")(resume.resume)
app.add_typer(recipes.app, name="recipes")
app.command(name="doctor")(doctor.doctor)
app.command(name="augment")(augment.augment)


_UsageError: Any = typer.BadParameter.__base__
"""What typer raises for a wrong command line, under no public name of its own."""


def run() -> int:
    """Parse the command line and run its verb; a mistake in it is a UserError like any other."""
    try:
        code = app(standalone_mode=False)
    except typer.Abort:
        return Interrupted.exit_code
    except _UsageError as error:
        command = error.ctx.command_path if error.ctx else "seedwise"
        raise UserError(f"{error.format_message().rstrip('.')}; see `{command} --help`") from None
    return code or 0
