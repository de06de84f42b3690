"""`seedwise ablate`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seedwise.cli.given import given
from seedwise.cli.options import (
    NO_FLAGS,
    Budget,
    DataDir,
    DryRun,
    Flags,
    Jobs,
    Json,
    Margin,
    Overrides,
    RecipeName,
    Seeds,
    begin_with,
    demand_one_network,
    overrides,
    short_forms,
)
from seedwise.cli.output import print_named

if TYPE_CHECKING:
    from seedwise.recipe.schema import Recipe
    from seedwise.run.rehearsal import Rehearsal
    from seedwise.study.ray_runner import Cluster
    from seedwise.study.request import StudyRequest

Toggle = Annotated[
    str | None,
    typer.Option(metavar="A,B,C", help="Techniques: the arm is `no-x` where the base has x, else `x`."),
]
On = Annotated[str, typer.Option("--on", metavar="local|ray", help="Where the trials run.")]
Address = Annotated[
    str | None,
    typer.Option(metavar="auto|HOST:PORT", help="Ray cluster's head; `auto`: this machine's.", show_default="auto"),
]
CpusPerTrial = Annotated[
    int | None, typer.Option(min=1, max=1024, help="CPUs of a trial on Ray: its threads.", show_default="2")
]
GpusPerTrial = Annotated[float | None, typer.Option(min=0, max=64, help="GPUs of a trial on Ray.", show_default="0")]
OwnDisks = Annotated[
    bool, typer.Option("--own-disks", help="On Ray: nodes don't write into the study folder, though they see it.")
]
Elsewhere = Annotated[
    bool, typer.Option("--elsewhere", help="On Ray: take nodes that give other bits, and mark their runs.")
]
Out = Annotated[
    Path | None, typer.Option("-o", "--out", help="Study folder.", show_default="runs/<data>-<base>-ablation")
]


@short_forms()
def ablate(
    context: typer.Context,
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA|STUDY.yaml",
            help="As for `seedwise train`; or a study file, `studies/x.yaml`, which names data, base and arms.",
        ),
    ],
    recipe: RecipeName = None,
    toggle: Toggle = None,
    flags: Flags = NO_FLAGS,
    seeds: Seeds = None,
    budget: Budget = None,
    jobs: Jobs = "1",
    margin: Margin = None,
    on: On = "local",
    address: Address = None,
    cpus_per_trial: CpusPerTrial = None,
    gpus_per_trial: GpusPerTrial = None,
    own_disks: OwnDisks = False,
    elsewhere: Elsewhere = False,
    settings: Overrides = None,
    data_dir: DataDir = None,
    out: Out = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> int:
    """Compare a recipe with itself, one thing changed: every arm with the same seeds (6 if not told), and a verdict.

    Examples:

        seedwise ablate digits -r demo --toggle rotation,cutmix --seeds 6 -j 2

        seedwise ablate studies/reference.yaml --data-dir DIR --budget 3h -j 2

        seedwise ablate studies/reference.yaml --on ray --address n1:6379 --cpus-per-trial 4

    The same command again completes what is missing, and starts nothing when nothing is. More seeds and more arms can
    be added; the margin and the arms stay what they were before the first trial.
    """
    from seedwise.base.durations import seconds_of
    from seedwise.base.errors import UserError
    from seedwise.study.jobs import jobs_of, read_jobs
    from seedwise.study.request import ablation

    cluster = _cluster(on, address, cpus_per_trial, gpus_per_trial, own_disks, elsewhere)
    if cluster is not None and (read_jobs(jobs) != 1 or dry_run):
        raise UserError(f"{'--dry-run' if dry_run else '--jobs'}: is about this machine; drop it, or --on ray")
    seconds = seconds_of("--budget", budget)
    asked = ablation(data, recipe, toggle, seeds, margin, overrides(flags, settings))
    demand_one_network(asked.arms.base, flags)
    begin_with(asked.data, asked.arms.base.data, data_dir)
    folder, number = out or asked.folder, jobs_of(jobs, asked.arms.base.compute.device)
    if dry_run:
        _dry_run(asked, folder, data_dir, number, as_json)
        return 0
    options = {"data_dir": data_dir, "jobs": number, "budget_seconds": seconds, "elsewhere": elsewhere}
    return _run(asked, folder, options | {"command": given(context, folder), "cluster": cluster}, as_json)


def _run(asked: "StudyRequest", folder: Path, options: dict[str, Any], as_json: bool) -> int:
    from seedwise.cli.print_run import announce_trial
    from seedwise.cli.print_study import print_done
    from seedwise.cli.progress import watching
    from seedwise.inference.training import run_ablation
    from seedwise.study.execute import TrialOptions

    with watching(folder) as control:
        done = run_ablation(asked, folder, TrialOptions(control, announce_trial, **options))
    return print_done(done, as_json)


def _dry_run(asked: "StudyRequest", folder: Path, data_dir: Path | None, jobs: int, as_json: bool) -> None:
    """Print what is left to do, with measured costs unless that is nothing."""
    from seedwise.cli.print_run import announce_trial
    from seedwise.config.section import diff
    from seedwise.engine.control import RunControl
    from seedwise.run.rehearsal import rehearse
    from seedwise.study.execute import TrialOptions, divided, planned
    from seedwise.study.progress import finished_trials
    from seedwise.study.record import BASE

    options = TrialOptions(RunControl(), announce_trial, data_dir, jobs)
    study = planned(asked.arms, asked.data, asked.seeds, folder, asked.margin, options)
    base = asked.arms.base if study is None else study.recipe(BASE)
    arms = asked.arms.recipes if study is None else {it: study.recipe(it) for it in study.arms if it != BASE}
    changes = {arm: diff(base, recipe) for arm, recipe in arms.items()}
    seeds = list(asked.seeds if study is None else study.seeds)
    done = 0 if study is None else finished_trials(study)
    left = (len(changes) + 1) * len(seeds) - done
    found = rehearse(divided(base, jobs), asked.data, data_dir=data_dir) if left else None
    if as_json:
        facts: dict[str, Any] = {"seeds": seeds, "trials": left, "done": done, "jobs": jobs, "seconds": 0.0}
        if found is not None:
            each = found.cost.run_seconds
            facts |= {"splits": found.dataset.splits, "memory_gb": found.cost.memory_gb}
            facts |= {"seconds_per_run": each, "seconds": each * left / jobs}
        recipe = base if found is None else found.recipe
        print(json.dumps({"base": recipe.model_dump(mode="json"), "arms": changes, **facts}, indent=2))
        return
    _print_dry_run(base, changes, found, folder, len(seeds), done, jobs)


def _print_dry_run(
    base: "Recipe",
    changes: dict[str, list[str]],
    found: "Rehearsal | None",
    folder: Path,
    seeds: int,
    done: int,
    jobs: int,
) -> None:
    """Print a dry run; `done`: trials that need nothing more."""
    from seedwise.base.durations import in_words

    recipe, left = base if found is None else found.recipe, (len(changes) + 1) * seeds - done
    head = f"{recipe.name} ({recipe.model.name}, {recipe.train.image_size} px)"
    print_named([("base", [head]), *changes.items()])
    of = f"{len(changes) + 1} arms, {seeds} seeds"
    if done:
        print(f"done:   {done} of {left + done} trials ({of}), in {folder}")
        of = "left"
    if found is None:
        print("trials: none left; the same command without --dry-run shows the results")
        return
    print("\n".join([*found.dataset.lines(), found.dataset.storage_line()]))
    print(f"trials: {left} ({of}), {jobs} at a time")
    if found.cost.memory_gb is not None:
        print(f"memory: {found.cost.memory_gb:.1f} GB each at the peak of a step (measured, of the base)")
    each = found.cost.run_seconds
    print(f"time:   {in_words(each)} a trial, {in_words(each * left / jobs)} in all (from measured steps of the base)")


def _cluster(
    on: str, address: str | None, cpus: int | None, gpus: float | None, own_disks: bool, elsewhere: bool
) -> "Cluster | None":
    from seedwise.base.errors import UserError

    if on not in ("local", "ray"):
        raise UserError(f"--on {on}: give local or ray")
    if on == "ray":
        from seedwise.study.ray_runner import Cluster

        cluster = Cluster(address or "auto", cpus, gpus or 0.0, not own_disks)
        cluster.check()
        return cluster
    given = {
        "--address": address is not None,
        "--cpus-per-trial": cpus is not None,
        "--gpus-per-trial": gpus is not None,
        "--own-disks": own_disks,
        "--elsewhere": elsewhere,
    }
    if name := next((name for name, is_given in given.items() if is_given), None):
        raise UserError(f"{name}: is for a cluster; give --on ray with it")
    return None
