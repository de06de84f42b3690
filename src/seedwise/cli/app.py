"""The `seedwise` command, a file for each verb. Verbs import what they need when called: help starts at once."""

import sys
from typing import Annotated, Any

import typer
from typer.main import get_command

from seedwise.base.errors import Interrupted, UserError
from seedwise.cli import (
    ablate,
    audit,
    augment,
    cache,
    compare,
    doctor,
    ensemble,
    errors,
    evaluate,
    lr_find,
    predict,
    recipes,
    report,
    resume,
    status,
    sweep,
    techniques,
    train,
)
from seedwise.cli.fast_parse import quicken
from seedwise.cli.once import refuse_second_inputs
from seedwise.cli.usage import plain_usage

app = typer.Typer(
    name="seedwise",
    help="Fine-tunes image classifiers over several seeds and tells which tricks really helped.",
    epilog="Start with: seedwise train digits --seeds 5",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: drawing it with rich takes longer than everything else before it
)


def _say_version(asked: bool) -> None:
    if asked:
        import seedwise

        print(f"seedwise {seedwise.__version__}")
        raise typer.Exit


@app.callback(context_settings={"help_option_names": ["-h", "--help"]})
def _seedwise(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_say_version, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


app.command(name="train")(train.train)
app.command(name="ablate", short_help="Compare a recipe with itself, one thing changed, over several seeds.")(
    ablate.ablate
)
app.command(name="sweep", short_help="Try a grid of settings, and rank them on validation.")(sweep.sweep)
app.command(name="status", short_help="Show how far a study or a run is.")(status.status)
app.command(name="resume", short_help="Complete a run or a study that was stopped.")(resume.resume)
app.command(name="compare", short_help="Say whether runs really differ.")(compare.compare)
app.command(name="ensemble", short_help="Let runs vote, and say what that gains.")(ensemble.ensemble)
app.command(name="report", short_help="Make a page of a run, a study or an ensemble.")(report.report)
app.command(name="evaluate", short_help="Score a finished run again, on its own or on other data.")(evaluate.evaluate)
app.command(name="errors", short_help="List the images that a run gets wrong.")(errors.errors)
app.command(name="predict", short_help="Classify images with a finished run.")(predict.predict)
app.command(name="audit", short_help="Check a data set: balance, damage, duplicates, labels.")(audit.audit)
app.add_typer(recipes.app, name="recipes")
app.add_typer(techniques.app, name="techniques")
app.add_typer(cache.app, name="cache")
app.command(name="doctor")(doctor.doctor)
app.command(name="lr-find", short_help="Suggest a learning rate by a short test.")(lr_find.lr_find)
app.command(name="augment", short_help="Draw what a recipe's augmentation does.")(augment.augment)


_UsageError: Any = typer.BadParameter.__base__
"""typer's exception for a wrong command line, which has no public name of its own."""


def run() -> int:
    """Parse the command line and run its verb; a UserError for mistakes in it."""
    command = get_command(app)
    quicken(command)
    plain_usage(command)
    refuse_second_inputs(command)
    try:
        code = command(standalone_mode=False, prog_name="seedwise")
    except typer.Abort:
        return Interrupted.exit_code
    except _UsageError as error:
        if (
            error.ctx and error.format_message() == error.ctx.get_help()
        ):  # `seedwise` alone: it is no mistake to explain
            print(error.ctx.get_help(), file=sys.stderr)
            return UserError.exit_code
        from seedwise.cli.unknown import advised

        path = error.ctx.command_path if error.ctx else "seedwise"
        raise UserError(f"{advised(command, error)}; see `{path} --help`") from None
    return code or 0
