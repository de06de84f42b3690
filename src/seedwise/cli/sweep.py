"""`seedwise sweep`."""

import json
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
    demand_one_network,
    overrides,
    short_forms,
)
from seedwise.cli.output import print_table

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
    jobs: Jobs = "1",
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
    from seedwise.study.jobs import jobs_of
    from seedwise.study.request import swept

    asked = swept(data, recipe, seeds, overrides(flags, settings))
    base, seconds = asked.grid.arms.base, seconds_of("--budget", budget)
    demand_one_network(base, flags)
    begin_with(data, base.data, data_dir)
    folder, number = out or asked.folder, jobs_of(jobs, base.compute.device)
    from seedwise.cli.print_run import announce_trial
    from seedwise.cli.print_study import print_done
    from seedwise.cli.progress import watching
    from seedwise.inference.training import run_sweep
    from seedwise.study.execute import TrialOptions
    from seedwise.study.outcome import Study

    with watching(folder) as control:
        options = TrialOptions(control, announce_trial, data_dir, number, seconds, command=given(context, folder))
        found = run_sweep(asked, data, folder, options)
    if isinstance(found, Study):
        return print_done(found, as_json, "the same command with more time, or without --budget")
    _print(folder, found, as_json)
    return 0


def _print(folder: Path, found: "Swept", as_json: bool) -> None:
    from seedwise.config.yaml12 import write_inline

    if as_json:
        print(json.dumps(found.to_dict(), indent=2))
        return
    best = found.ranking[0]
    rows = [[*best.setting, "val top-1", "loss"]]
    for place in found.ranking:
        spread = "" if place.val.sd is None else f" ± {place.val.sd:.4f}"
        rows.append([*map(write_inline, place.setting.values()), f"{place.val.mean:.4f}{spread}", f"{place.loss:.3f}"])
    print_table(rows)
    options = " ".join(f"-s {path}={write_inline(value)}" for path, value in best.setting.items())
    print(f"best on validation: {options}")
    if found.test is not None:
        print(f"its test top-1 {found.test}")
    print(f"files: {folder}")
