"""`seedwise lr-find`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seedwise.cli.options import (
    NO_FLAGS,
    Data,
    DataDir,
    Flags,
    Json,
    Overrides,
    RecipeName,
    Seed,
    begin_with,
    read_recipe,
    short_forms,
)

if TYPE_CHECKING:
    from seedwise.run.lr_finder import LearningRateCurve


@short_forms("model", "weights", "batch_size", "img_size", "device", "precision", "threads")
def lr_find(
    data: Data,
    recipe: RecipeName = None,
    flags: Flags = NO_FLAGS,
    settings: Overrides = None,
    data_dir: DataDir = None,
    steps: Annotated[int, typer.Option(help="Optimizer steps, each at a higher rate.")] = 100,
    low: Annotated[float, typer.Option("--min", help="The first rate.")] = 1e-7,
    high: Annotated[float, typer.Option("--max", help="The last rate.")] = 1.0,
    seed: Seed = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="PNG or SVG file for the curve.")] = None,
    as_json: Json = False,
) -> None:
    """Try rising learning rates for a few steps, and suggest one: a tenth of that with the lowest smoothed loss.

    Nothing is trained further and no run folder is touched. Example:

        seedwise lr-find digits -m small -o lr.png
    """
    from dataclasses import asdict

    from seedwise.base import machine
    from seedwise.base.errors import UserError
    from seedwise.base.files import demand_writable
    from seedwise.run.folder import demand_outside

    chosen = read_recipe(data, recipe, flags, settings)
    if out is not None:
        demand_writable(out, "a .png or .svg file")
    if out is not None and out.suffix not in (".png", ".svg"):
        raise UserError(f"{out}: is no .png or .svg file; give one with -o")
    begin_with(data, chosen.data, data_dir)
    if out is not None:
        demand_outside(out, data, chosen, data_dir)

    from seedwise.cli.progress import watching
    from seedwise.run.lr_finder import find_learning_rate

    with watching(Path("lr-find")) as control:
        found = find_learning_rate(
            chosen, data, seed=seed, data_dir=data_dir, steps=steps, low=low, high=high, control=control
        )
    if machine.rank() != 0:
        return
    if as_json:
        print(json.dumps(asdict(found) | {"doubt": found.doubt}, indent=2))
    else:
        _say(found)
    if out is not None:
        from seedwise.run.lr_curve import draw

        draw(out, found, f"{chosen.model.name} on {data}, recipe {chosen.name}")
        if not as_json:
            print(f"curve: {out}")


def _say(found: "LearningRateCurve") -> None:
    end = f"diverged at {found.rates[-1]:.2g}" if found.diverged else f"no divergence up to {found.rates[-1]:.2g}"
    print(f"suggested optim.lr: {found.suggestion:.2g}  (a tenth of the rate with the lowest smoothed loss)")
    print(f"lowest loss at {found.lowest:.2g}, steepest descent at {found.steepest:.2g}, {end}")
    if found.doubt is not None:
        print(f"don't trust it: {found.doubt}")
