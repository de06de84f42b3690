"""`seedwise ablate`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
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
    default_recipe,
    demand_one_network,
    overrides,
    seconds_of,
    short_forms,
)

if TYPE_CHECKING:
    from seedwise.study.arms import Arms
    from seedwise.study.cluster import Cluster

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
    jobs: Jobs = 1,
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
    from seedwise.errors import UserError

    cluster = _cluster(on, address, cpus_per_trial, gpus_per_trial, own_disks, elsewhere)
    if cluster is not None and (jobs != 1 or dry_run):
        raise UserError(f"{'--dry-run' if dry_run else '--jobs'}: is about this machine; drop it, or --on ray")
    seconds = seconds_of("--budget", budget)
    asked = _asked(data, recipe, toggle, seeds, margin, overrides(flags, settings))
    demand_one_network(asked.arms.base, flags)
    begin_with(asked.data, asked.arms.base.data, data_dir)
    if dry_run:
        _dry_run(asked, data_dir, jobs, as_json)
        return 0
    folder = out or asked.folder
    conduct = {"data_dir": data_dir, "jobs": jobs, "budget_seconds": seconds, "elsewhere": elsewhere}
    return _run(asked, folder, conduct | {"command": given(context, folder), "cluster": cluster}, as_json)


@dataclass(frozen=True)
class _Asked:
    """What is to be compared, from the command line or from a study file."""

    data: str
    name: str
    arms: "Arms"
    seeds: tuple[int, ...]
    points: float | None
    """The margin."""

    @property
    def folder(self) -> Path:
        """The default one, in which the same command finds its study again."""
        return Path("runs") / (re.sub(r"[^\w.-]+", "_", f"{Path(self.data).name}-{self.name}") + "-ablation")


def _asked(
    data: str, base: str | None, toggle: str | None, seeds: str | None, margin: float | None, settings: Sequence[str]
) -> _Asked:
    from seedwise.errors import UserError
    from seedwise.study.arms import read_study_file, toggled
    from seedwise.study.plan import parse_seeds

    if margin is not None and not 0 < margin < 100:
        raise UserError(f"--margin {margin:g}: must be points between 0 and 100, such as 0.5")
    if _is_study_file(data):
        if base is not None or toggle is not None:
            raise UserError(f"{data}: a study file names its base and arms; drop {'-r' if base else '--toggle'}")
        file, arms = read_study_file(Path(data), settings)
        wanted = seeds or (str(file.seeds) if isinstance(file.seeds, int) else f"{','.join(map(str, file.seeds))},")
        points = file.margin if margin is None else margin
        return _Asked(file.data, Path(data).stem, arms, parse_seeds(wanted, arms.base.seed), points)
    if toggle is None:
        raise UserError("--toggle: say which techniques to compare, such as cutmix,rotation; or give a study file")
    names = [name.strip() for name in toggle.split(",") if name.strip()]
    arms = toggled(default_recipe(data) if base is None else base, settings, names)
    return _Asked(data, arms.base.name, arms, parse_seeds(seeds or "6", arms.base.seed), margin)


def _run(asked: _Asked, folder: Path, conduct: dict[str, Any], as_json: bool) -> int:
    from seedwise.cli.show import announce_trial
    from seedwise.cli.show_study import print_done
    from seedwise.cli.watch import watching
    from seedwise.study.run import Conduct, ablate

    margin = None if asked.points is None else asked.points / 100
    with watching(folder) as watch:
        how = Conduct(watch, announce_trial, **conduct)
        done = ablate(asked.arms, asked.data, asked.seeds, folder, margin=margin, conduct=how)
    return print_done(folder, done, as_json)


def _dry_run(asked: _Asked, data_dir: Path | None, jobs: int, as_json: bool) -> None:
    import json

    from seedwise.config import diff
    from seedwise.durations import in_words
    from seedwise.rehearsal import rehearse
    from seedwise.study.run import divided

    arms, seeds = asked.arms, asked.seeds
    found = rehearse(divided(arms.base, jobs), asked.data, data_dir=data_dir)
    resolved, dataset, cost = found.recipe, found.dataset, found.cost
    changes = {arm: diff(arms.base, recipe) for arm, recipe in arms.recipes.items()}
    trials = (len(changes) + 1) * len(seeds)
    total = cost.run_seconds * trials / jobs
    if as_json:
        facts = {"splits": dataset.splits, "seeds": list(seeds), "trials": trials, "jobs": jobs}
        times = {"memory_gb": cost.memory_gb, "seconds_per_run": cost.run_seconds, "seconds": total}
        print(json.dumps({"base": resolved.model_dump(mode="json"), "arms": changes, **facts, **times}, indent=2))
        return
    width = max(map(len, changes))
    print(f"{'base':<{width}}  {resolved.name} ({resolved.model.name}, {resolved.train.image_size} px)")
    for arm, lines in changes.items():
        print("\n".join(f"{arm if not i else '':<{width}}  {line}" for i, line in enumerate(lines)))
    print("\n".join(dataset.lines()))
    print(f"trials: {trials} ({len(changes) + 1} arms, {len(seeds)} seeds), {jobs} at a time")
    print(f"memory: {cost.memory_gb:.1f} GB each at the peak of a step (measured, of the base)")
    each = in_words(cost.run_seconds)
    print(f"time:   {each} a trial, {in_words(total)} in all (from measured steps of the base)")


def _cluster(
    on: str, address: str | None, cpus: int | None, gpus: float | None, own_disks: bool, elsewhere: bool
) -> "Cluster | None":
    from seedwise.errors import UserError

    if on not in ("local", "ray"):
        raise UserError(f"--on {on}: give local or ray")
    if on == "ray":
        from seedwise.study.cluster import Cluster

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


def _is_study_file(data: str) -> bool:
    return Path(data).suffix in (".yaml", ".yml")
