"""Options that several verbs share; one flag has one meaning, whatever the verb.

docs/commands.md has the table of verbs and flags; a test compares it with the verbs.
"""

import functools
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from seedwise.base import machine
from seedwise.recipe.library import default_recipe as default_recipe

if TYPE_CHECKING:
    from seedwise.data.config import DataConfig
    from seedwise.recipe.schema import Recipe

Verb = TypeVar("Verb", bound=Callable[..., Any])


def _complete_override(incomplete: str) -> list[tuple[str, str]]:
    from seedwise.config.section import paths
    from seedwise.recipe.schema import Recipe

    return [
        (f"{option.path}=", option.description.split("\n")[0])
        for option in paths(Recipe)
        if option.path.startswith(incomplete)
    ]


def _complete_recipe(incomplete: str) -> list[tuple[str, str]]:
    from seedwise.recipe import library

    return [(name, library.summary(name)) for name in library.names() if name.startswith(incomplete)]


DEFAULTS = "demo for digits, lite for cifar, else photos"
"""`default_recipe` in words."""

Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="`digits`, `cifar10`, `cifar100`, or a path: a folder or archive of images, a Parquet or CSV file.",
    ),
]
RecipeName = Annotated[
    str | None,
    typer.Option(
        "-r",
        "--recipe",
        "--base",
        help="Name (see `seedwise recipes ls`) or path.",
        show_default=DEFAULTS,
        autocompletion=_complete_recipe,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "-s",
        "--set",
        metavar="KEY=VALUE",
        help="Set any option: `-s augment.cutmix.prob=0.5`; `=null` removes, `=default` adds. May be repeated.",
        autocompletion=_complete_override,
    ),
]
Model = Annotated[
    str | None, typer.Option("-m", "--model", help="Architecture, for instance efficientnetv2_s or timm:resnet18.")
]
Weights = Annotated[str | None, typer.Option(help="auto, pip, hub, none, or a file or folder.")]
Epochs = Annotated[str | None, typer.Option(metavar="N|auto", help="Passes over the training images.")]
Time = Annotated[
    str | None,
    typer.Option(
        "--time",
        metavar="TIME",
        help="Train for at most so long, as well as that allows: 10min, 90s or 1h; a bare number is minutes.",
    ),
]
LearningRate = Annotated[float | None, typer.Option("--lr", help="Peak learning rate.")]
BatchSize = Annotated[str | None, typer.Option("-b", "--batch-size", metavar="N|auto", help="Images per batch.")]
ImageSize = Annotated[
    str | None,
    typer.Option("--img-size", metavar="N|auto", help="Image side in pixels, in training and evaluation."),
]
Seed = Annotated[int | None, typer.Option(min=0, help="One seed, for all that is random.", show_default="the recipe's")]
Seeds = Annotated[
    str | None,
    typer.Option(
        metavar="N|A,B,C",
        help="A study of N seeds, drawn from the recipe's master seed, or of these; -o is its folder.",
    ),
]
Select = Annotated[
    str | None, typer.Option(metavar="last|best", help="Keep the last weights, or the best by validation top-1.")
]
Patience = Annotated[int | None, typer.Option(help="Stop after this many epochs without a better validation top-1.")]
Teacher = Annotated[
    str | None, typer.Option(metavar="DIR", help="Distill: learn from this run, ensemble or study's base, too.")
]
Device = Annotated[str | None, typer.Option(help="auto, cpu, mps, cuda or cuda:N.")]
DeviceAtHand = Annotated[
    str | None,
    typer.Option(
        "--device",
        help="auto, cpu, mps, cuda or cuda:N.",
        show_default="the one trained on, else what there is",
    ),
]
Precision = Annotated[str | None, typer.Option(help="auto, fp32, tf32, bf16 or fp16.")]
Threads = Annotated[str | None, typer.Option(metavar="N|auto", help="CPU threads of a run.")]
Out = Annotated[
    Path | None,
    typer.Option("-o", "--out", help="Output folder.", show_default="runs/<data>-<recipe>-<time>"),
]
Bagging = Annotated[
    int | None,
    typer.Option(
        min=2, max=1000, help="An ensemble of so many runs, each on a bootstrap sample; -o is then its folder."
    ),
]
BaggingModels = Annotated[
    str | None, typer.Option("--bagging-models", metavar="A,B,C", help="Architectures that its members take in turns.")
]
BaggingAugment = Annotated[
    str | None,
    typer.Option("--bagging-augment", metavar="R,S", help="Recipes whose augmentation its members take in turns."),
]
Jobs = Annotated[
    str,
    typer.Option(
        "-j", "--jobs", metavar="N|auto", help="Trials at a time; the threads are divided. auto: one for each GPU."
    ),
]
Budget = Annotated[
    str | None,
    typer.Option(
        metavar="TIME", help="No seed is begun that would not fit: 15min, 90s, 2h or 1h30m; a bare number is minutes."
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print what would be done, its steps, memory and time; train nothing.")
]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Where local copies of named data lie; else the variable SEEDWISE_DATA."),
]
Top = Annotated[int, typer.Option(min=1, help="Most probable classes to print.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout, and nothing else there.")]
Margin = Annotated[
    float | None,
    typer.Option(
        help="The least difference that matters, in points of accuracy (0.5: half a point).",
        show_default="the study's, else 0.5",
    ),
]
Split = Annotated[str | None, typer.Option("--split", metavar="test|val", help="Which images.")]
Lang = Annotated[str, typer.Option("--lang", metavar="en|ko", help="The page's language.")]
Flags = dict[str, Any]
"""Short forms as given, by name; None for those not given."""
NO_FLAGS: Flags = {}

SHORT_FORMS: dict[str, tuple[str, Any]] = {
    "model": ("model.name", Model),
    "weights": ("model.weights", Weights),
    "epochs": ("train.epochs", Epochs),
    "lr": ("optim.lr", LearningRate),
    "batch_size": ("train.batch_size", BatchSize),
    "img_size": ("train.image_size", ImageSize),
    "select": ("train.select", Select),
    "patience": ("train.patience", Patience),
    "teacher": ("loss.distill.teacher", Teacher),
    "device": ("compute.device", Device),
    "precision": ("compute.precision", Precision),
    "threads": ("compute.threads", Threads),
}
"""Flags that stand for an option of the recipe: name -> (option, flag)."""


def short_forms(*names: str) -> Callable[[Verb], Verb]:
    """Decorate a verb with these flags, or all of `SHORT_FORMS`; their values go to its parameter `flags`."""

    def extend(verb: Verb) -> Verb:
        own = inspect.signature(verb)
        chosen = names or tuple(SHORT_FORMS)

        @functools.wraps(verb)
        def extended(**given: Any) -> Any:
            flags = {name: given.pop(name, None) for name in chosen}
            return verb(**given, flags=flags)

        parameters: list[inspect.Parameter] = []
        for parameter in own.parameters.values():
            if parameter.name != "flags":
                parameters.append(parameter)
                continue
            for name in chosen:
                kind, annotation = inspect.Parameter.POSITIONAL_OR_KEYWORD, SHORT_FORMS[name][1]
                parameters.append(inspect.Parameter(name, kind, default=None, annotation=annotation))
        extended.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        extended.__annotations__ = {each.name: each.annotation for each in parameters}
        return extended  # type: ignore[return-value]

    return extend


def read_recipe(data: str, recipe: str | None, flags: Mapping[str, Any], settings: Iterable[str] | None) -> "Recipe":
    """Read the recipe of -r, or the data's own, with short forms and `-s` options applied."""
    from seedwise.recipe import library

    chosen = library.read(default_recipe(data) if recipe is None else recipe, overrides(flags, settings))
    demand_one_network(chosen, flags)
    return chosen


def begin_with(data: str, config: "DataConfig", data_dir: Path | None) -> None:
    """Raise a UserError for missing data, and say on a terminal what is read: importing tensors takes seconds."""
    from seedwise.data.find import find_source

    source = find_source(data, data_dir, config)
    say_first(f"reading {source.name if source.path is None else source.path}")


def begin_in(folder: Path, whose: str) -> None:
    """Raise a UserError for a missing folder of runs, and say on a terminal that it is read."""
    from seedwise.base.nearest import demand_folder

    demand_folder(folder, whose)
    say_first(f"reading {folder}")


def begin_with_run(folder: Path, whose: str, command: Callable[..., str], others: Sequence[str] = ()) -> None:
    """`begin_in` for a single run or ensemble; see `seedwise.records.which_run.demand_run`."""
    from seedwise.records.which_run import demand_run

    demand_run(folder, whose, command, others)
    say_first(f"reading {folder}")


def say_first(words: str) -> None:
    """Print a first line on a terminal, before tensors are imported."""
    if sys.stderr is not None and sys.stderr.isatty() and machine.rank() == 0:
        print(f"{words} …", file=sys.stderr, flush=True)


def overrides(flags: Mapping[str, Any], given: Iterable[str] | None) -> list[str]:
    """Short forms as overrides, followed by the explicit `-s` ones, which win."""
    from seedwise.config.yaml12 import write_inline

    values = {SHORT_FORMS[name][0]: _number(value) for name, value in flags.items() if value is not None}
    return [f"{path}={write_inline(value)}" for path, value in values.items()] + list(given or ())


def _number(value: Any) -> Any:
    """Parse a number: `--threads 2`, or `-1`, which is refused later; `auto` stays text."""
    return int(value) if isinstance(value, str) and re.fullmatch(r"-?[0-9]+", value) else value


def demand_one_network(recipe: "Recipe", flags: Mapping[str, Any]) -> None:
    """Raise a UserError for a named model, or its weights, beside the user's own network, which would replace it."""
    from seedwise.base.errors import UserError

    factory, model, weights = recipe.model.factory, flags.get("model"), flags.get("weights")
    if factory is not None and model not in (None, recipe.model.name):
        raise UserError(f"-m {model}: the model is model.factory={factory}; drop one of them (-s model.factory=null)")
    if factory is not None and weights in ("pip", "hub"):
        raise UserError(
            f"--weights {weights}: is for named models, and the model is model.factory={factory}; "
            "give --weights none, or a file or folder"
        )
