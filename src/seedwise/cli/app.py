"""`seedwise`: one verb a file. Verbs import what they need when they are called, so that help is there at once."""

from typing import Any

import typer
from typer.main import get_command

from seedwise.cli import augment, doctor, recipes, resume, train
from seedwise.cli.quick import quicken
from seedwise.errors import Interrupted, UserError

app = typer.Typer(
    name="seedwise",
    help="Fine-tunes image classifiers over several seeds and tells which tricks really helped.",
    epilog="Start with: seedwise train digits --seeds 5",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: drawing it with rich takes longer than everything else before it
)
app.command(name="train")(train.train)
app.command(name="resume", short_help="Complete a run or a study that was stopped.")(resume.resume)
app.add_typer(recipes.app, name="recipes")
app.command(name="doctor")(doctor.doctor)
app.command(name="augment", short_help="Draw what a recipe's augmentation does.")(augment.augment)


_UsageError: Any = typer.BadParameter.__base__
"""What typer raises for a wrong command line, under no public name of its own."""


def run() -> int:
    """Parse the command line and run its verb; a mistake in it is a UserError like any other."""
    command = get_command(app)
    quicken(command)
    try:
        code = command(standalone_mode=False)
    except typer.Abort:
        return Interrupted.exit_code
    except _UsageError as error:
        path = error.ctx.command_path if error.ctx else "seedwise"
        raise UserError(f"{error.format_message().rstrip('.')}; see `{path} --help`") from None
    return code or 0
