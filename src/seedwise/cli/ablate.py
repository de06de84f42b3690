"""`seedwise ablate`."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seedwise.cli.options import DataDir, Json, Overrides, default_recipe

if TYPE_CHECKING:
    from seedwise.study.arms import Arms
    from seedwise.study.cluster import Cluster

Jobs = Annotated[int, typer.Option("-j", "--jobs", min=1, max=1024, help="Trials at a time; the threads are divided.")]


def ablate(
    data: Annotated[
        str,
        typer.Argument(
            help="As for `seedwise train`; or a study file, `studies/x.yaml`, which names data, base and arms."
        ),
    ],
    base: Annotated[
        str | None,
        typer.Option("--base", help="Recipe that the arms change.", show_default="demo for digits, else lite"),
    ] = None,
    toggle: Annotated[
        str | None,
        typer.Option(metavar="A,B,C", help="Techniques: the arm is `no-x` where the base has x, else `x`."),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(metavar="N|A,B,C", help="How many seeds, or which.", show_default="6")
    ] = None,
    budget: Annotated[
        str | None, typer.Option(metavar="TIME", help="`2h`, `90m`, `1h30m`: no seed is begun that would not fit.")
    ] = None,
    jobs: Jobs = 1,
    margin: Annotated[
        float | None, typer.Option(help="The least difference that matters, in points of top-1.", show_default="0.5")
    ] = None,
    on: Annotated[str, typer.Option("--on", metavar="local|ray", help="Where the trials run.")] = "local",
    address: Annotated[
        str | None,
        typer.Option(metavar="auto|HOST:PORT", help="Ray cluster's head; `auto`: this machine's.", show_default="auto"),
    ] = None,
    cpus_per_trial: Annotated[
        int | None, typer.Option(min=1, max=1024, help="CPUs of a trial on Ray: its threads.", show_default="2")
    ] = None,
    gpus_per_trial: Annotated[
        float | None, typer.Option(min=0, max=64, help="GPUs of a trial on Ray.", show_default="0")
    ] = None,
    own_disks: Annotated[
        bool, typer.Option("--own-disks", help="On Ray: nodes don't write into the study folder, though they see it.")
    ] = False,
    elsewhere: Annotated[
        bool, typer.Option("--elsewhere", help="On Ray: take nodes that give other bits, and mark their runs.")
    ] = False,
    settings: Overrides = None,
    data_dir: DataDir = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Study folder.", show_default="runs/<data>-<base>-ablation")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the arms, what they change and the time; train nothing.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Compare a recipe with itself, one thing changed: every arm with the same seeds, and a verdict on each.

    Examples:

        seedwise ablate digits --base demo --toggle rotation,cutmix --seeds 6 -j 2

        seedwise ablate studies/reference.yaml --data-dir DIR --budget 3h -j 2

        seedwise ablate studies/reference.yaml --on ray --address n1:6379 --cpus-per-trial 4

    The same command again completes what is missing, and starts nothing when nothing is. More seeds and more arms can
    be added; the margin and the arms stay what they were before the first trial.
    """
    from seedwise.errors import UserError
    from seedwise.study.arms import read_study_file, toggled
    from seedwise.study.plan import parse_seeds

    cluster = _cluster(on, address, cpus_per_trial, gpus_per_trial, own_disks, elsewhere)
    if cluster is not None and (jobs != 1 or dry_run):
        raise UserError(f"{'--dry-run' if dry_run else '--jobs'}: is about this machine; drop it, or --on ray")
    seconds = None if budget is None else _seconds(budget)
    if margin is not None and not 0 < margin < 100:
        raise UserError(f"--margin {margin:g}: must be points between 0 and 100, such as 0.5")
    points = margin
    if _is_study_file(data):
        path = Path(data)
        if base is not None or toggle is not None:
            raise UserError(f"{data}: a study file names its base and arms; drop {'--base' if base else '--toggle'}")
        file, arms = read_study_file(path, settings or ())
        data, name, points = file.data, path.stem, file.margin if margin is None else margin
        wanted = seeds or (str(file.seeds) if isinstance(file.seeds, int) else f"{','.join(map(str, file.seeds))},")
    else:
        if toggle is None:
            raise UserError("--toggle: say which techniques to compare, such as cutmix,rotation; or give a study file")
        base = default_recipe(data) if base is None else base
        arms = toggled(base, settings or (), [name.strip() for name in toggle.split(",") if name.strip()])
        name, wanted = arms.base.name, seeds or "6"
    numbers = parse_seeds(wanted, arms.base.seed)
    folder = out or Path("runs") / (re.sub(r"[^\w.-]+", "_", f"{Path(data).name}-{name}") + "-ablation")
    if dry_run:
        _dry_run(arms, data, numbers, data_dir, jobs, as_json)
        return 0
    conduct = {
        "data_dir": data_dir,
        "jobs": jobs,
        "budget_seconds": seconds,
        "elsewhere": elsewhere,
        "cluster": cluster,
    }
    return _run(arms, data, numbers, folder, None if points is None else points / 100, conduct, as_json)


def _run(
    arms: "Arms",
    data: str,
    seeds: tuple[int, ...],
    folder: Path,
    margin: float | None,
    conduct: dict[str, Any],
    as_json: bool,
) -> int:
    from seedwise.cli.show import announce_trial
    from seedwise.cli.show_study import print_done
    from seedwise.cli.watch import watching
    from seedwise.study.run import Conduct, ablate

    with watching(folder) as watch:
        done = ablate(arms, data, seeds, folder, margin=margin, conduct=Conduct(watch, announce_trial, **conduct))
    return print_done(folder, done, as_json)


def _dry_run(arms: "Arms", data: str, seeds: tuple[int, ...], data_dir: Path | None, jobs: int, as_json: bool) -> None:
    import json
    from datetime import timedelta

    from seedwise.config import diff
    from seedwise.study.run import divided
    from seedwise.training import rehearse

    resolved, splits, cost = rehearse(divided(arms.base, jobs), data, data_dir=data_dir)
    changes = {arm: diff(arms.base, recipe) for arm, recipe in arms.recipes.items()}
    trials = (len(changes) + 1) * len(seeds)
    total = cost.seconds * trials / jobs
    if as_json:
        facts = {"splits": splits, "seeds": list(seeds), "trials": trials, "jobs": jobs, "memory_gb": cost.memory_gb}
        times = {"seconds_per_run": cost.seconds, "seconds": total}
        print(json.dumps({"base": resolved.model_dump(mode="json"), "arms": changes, **facts, **times}, indent=2))
        return
    width = max(map(len, changes))
    print(f"{'base':<{width}}  {resolved.name} ({resolved.model.name}, {resolved.train.image_size} px)")
    for arm, lines in changes.items():
        print("\n".join(f"{arm if not i else '':<{width}}  {line}" for i, line in enumerate(lines)))
    print(f"images: {', '.join(f'{name} {count}' for name, count in splits.items())}")
    print(f"trials: {trials} ({len(changes) + 1} arms, {len(seeds)} seeds), {jobs} at a time")
    print(f"memory: {cost.memory_gb:.1f} GB each at the peak of a step (measured, of the base)")
    each = timedelta(seconds=round(cost.seconds))
    print(f"time:   {each} a trial, {timedelta(seconds=round(total))} in all (from measured steps of the base)")


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


def _seconds(text: str) -> float:
    from seedwise.errors import UserError

    match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", text.replace(" ", ""))
    if not match or not any(match.groups()):
        raise UserError(f"--budget {text}: give hours, minutes or seconds, such as 2h, 90m or 1h30m")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + seconds
