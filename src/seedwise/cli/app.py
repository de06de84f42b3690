"""`seedwise`: one verb a file, and what happens to errors."""

import sys

import typer

from seedwise.cli import augment, doctor, recipes, resume, train
from seedwise.errors import Interrupted, UserError
from seedwise.machine import prepare_process

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


def main() -> None:
    """Run the command line; a mistake of the user's is one line and exit code 2, a stop is 130."""
    prepare_process()
    try:
        app()
    except UserError as error:
        sys.exit(_say(f"error: {error}", error.exit_code))
    except Interrupted as stop:
        sys.exit(_say(str(stop), stop.exit_code))
    except KeyboardInterrupt:
        sys.exit(_say("stopped", Interrupted.exit_code))
    except BrokenPipeError:
        sys.exit(141)


def _say(message: str, code: int) -> int:
    print(message, file=sys.stderr)
    return code
