"""`seedwise sweep`."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seedwise.cli.given import given
from seedwise.cli.options import (
    NO_FLAGS,
    Budget,
    Data,
    DataDir,
    Flags,
    Jobs,
    Json,
    RecipeName,
    Seeds,
    begin_with,
    default_recipe,
    demand_one_network,
    overrides,
    short_forms,
)

if TYPE_CHECKING:
    from seedwise.study.sweep import Swept

Settings = Annotated[
    list[str] | None,
    typer.Option(
        "-s",
        "--set",
        metavar="KEY=A,B,C",
        help="Values to try; several such options make a grid. One value alone holds for all settings.",
    ),
]


@short_forms()
def sweep(
    context: typer.Context,
    data: Data,
    recipe: RecipeName = None,
    flags: Flags = NO_FLAGS,
    settings: Settings = None,
    seeds: Seeds = "3",
    budget: Budget = None,
    jobs: Jobs = 1,
    data_dir: DataDir = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Study folder.", show_default="runs/<data>-<recipe>-sweep")
    ] = None,
    as_json: Json = False,
) -> int:
    """Try a grid of settings with the same seeds, rank them on validation, and score the best one on test.

    The other settings' test images are never read, so that the winner's score is not the luckiest of many.

    Example:

        seedwise sweep cifar100 -r lite -s optim.lr=1e-4,4e-4,1e-3 -s train.batch_size=32,64,128 --seeds 3

    The same command again completes what is missing, and starts nothing when nothing is. The winner is known when all
    seeds are there.
    """
    from seedwise.base.durations import seconds_of
    from seedwise.study.grid import grid
    from seedwise.study.record import parse_seeds

    swept = grid(default_recipe(data) if recipe is None else recipe, overrides(flags, settings))
    base, seconds = swept.arms.base, seconds_of("--budget", budget)
    demand_one_network(base, flags)
    begin_with(data, base.data, data_dir)
    numbers = parse_seeds(seeds or "3", base.seed)
    name = re.sub(r"[^\w.-]+", "_", f"{Path(data).resolve().name}-{base.name}")
    folder = out or Path("runs") / f"{name}-sweep"
    from seedwise.cli.print_run import announce_trial
    from seedwise.cli.print_study import print_done
    from seedwise.cli.progress import watching
    from seedwise.study.execute import Conduct
    from seedwise.study.sweep import Swept
    from seedwise.study.sweep import sweep as run_sweep

    with watching(folder) as watch:
        conduct = Conduct(watch, announce_trial, data_dir, jobs, seconds, command=given(context, folder))
        found = run_sweep(swept, data, numbers, folder, conduct)
    if isinstance(found, Swept):
        _print(folder, found, as_json)
        return 0
    return print_done(folder, found, as_json, "the same command with more time, or without --budget")


def _print(folder: Path, found: "Swept", as_json: bool) -> None:
    import json
    from dataclasses import asdict

    from seedwise.config.yaml12 import write_inline

    best = found.ranking[0]
    if as_json:
        content = {
            "study": str(folder),
            "seeds": best.seeds,
            "ranking": [asdict(place) for place in found.ranking],
            "winner": {"arm": best.arm, "setting": best.setting, "test": found.test and asdict(found.test)},
        }
        print(json.dumps(content, indent=2))
        return
    rows = [[*best.setting, "val top-1", "loss"]]
    for place in found.ranking:
        spread = "" if place.val.sd is None else f" ± {place.val.sd:.4f}"
        rows.append([*map(write_inline, place.setting.values()), f"{place.val.mean:.4f}{spread}", f"{place.loss:.3f}"])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
    options = " ".join(f"-s {path}={write_inline(value)}" for path, value in best.setting.items())
    print(f"best on validation: {options}")
    if found.test is not None:
        print(f"its test top-1 {found.test}")
    print(f"files: {folder}")
