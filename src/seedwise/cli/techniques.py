"""`seedwise techniques`: the catalogue."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from seedwise.cli.options import Json
from seedwise.cli.output import print_json, print_table

if TYPE_CHECKING:
    from seedwise.recipe.techniques import Technique

app = typer.Typer(invoke_without_command=True, rich_markup_mode=None)

WIDTH = 100


def _complete(incomplete: str) -> list[str]:
    from seedwise.recipe.techniques import TECHNIQUES

    return [technique.name for technique in TECHNIQUES if technique.name.startswith(incomplete)]


@app.callback()
def techniques_alone(context: typer.Context) -> None:
    """List the techniques, and show their cards; `seedwise techniques` alone lists them."""
    if context.invoked_subcommand is None:
        ls()


@app.command()
def ls(as_json: Json = False) -> None:
    """List every technique with the option that switches it on.

    Example: `seedwise techniques ls`
    """
    from seedwise.recipe.techniques import TECHNIQUES, card, techniques

    if as_json:
        print_json(techniques())
        return
    print_table((each.name, _switch(each), card(each).summary) for each in TECHNIQUES)


@app.command()
def show(
    name: Annotated[
        str, typer.Argument(metavar="TECHNIQUE", help="As `seedwise techniques ls` names it.", autocompletion=_complete)
    ],
    as_json: Json = False,
) -> None:
    """Print a technique's card: what it does, when it helps and hurts, its source, cost and options.

    Example: `seedwise techniques show cutmix`
    """
    from seedwise.recipe.techniques import find, techniques

    if as_json:
        print_json(techniques(name)[0])
    else:
        sys.stdout.write(text(find(name)))


def text(technique: "Technique") -> str:
    """A technique's card for a terminal."""
    import textwrap

    from seedwise.recipe.techniques import card, verdict_line, verdicts

    of, found = card(technique), verdicts(technique.name)
    rows = {"What": of.what, "Helps": of.helps, "Hurts": of.hurts, "Source": of.source, "Cost": _cost(technique)}
    rows |= {"On": _switch(technique), "Off": f"-s {technique.path}={technique.off}"}

    def paragraph(label: str, words: str, indent: int) -> str:
        first, rest = f"{label:<{indent}}", " " * indent
        return textwrap.fill(words, WIDTH, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False)

    lines = [technique.name, "", *(paragraph(label, words, 8) for label, words in rows.items() if words)]
    lines += [paragraph("" if number else "Found", verdict_line(each), 8) for number, each in enumerate(found)]
    lines += [*(f"        {command}" for command in dict.fromkeys(each["command"] for each in found)), ""]
    for option in of.options if len(of.options) > 1 else ():
        if option.path != technique.path:
            lines.append(f"{option.path} = {'(must be given)' if option.default is None else option.default}")
            lines.append(paragraph("", option.description, 4))
    return "\n".join(lines).rstrip() + "\n"


def _switch(technique: "Technique") -> str:
    return f"-s {technique.path}={technique.on}"


def _cost(technique: "Technique") -> str:
    from seedwise.recipe.techniques import costs

    measured = costs()
    if technique.name not in measured.get("techniques", {}):
        return ""
    row = measured["techniques"][technique.name]
    theirs = f"; torchvision's, image by image: {row['torchvision_us']:.0f}" if "torchvision_us" in row else ""
    return f"{row['us']:.1f} µs an image of {measured['side']} px on one thread{theirs} (benchmarks/augment.py)"
