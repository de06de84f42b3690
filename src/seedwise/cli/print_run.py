"""Prints results: a run, a dry run, and what any result has at its end."""

import contextlib
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seedwise.base import machine
from seedwise.base.durations import in_words
from seedwise.cli.errors import print_errors
from seedwise.config.section import dump
from seedwise.recipe.schema import Recipe
from seedwise.records.run import RunRecord, Scores, Timed, demand_final, tells_top5
from seedwise.reports import REPORT
from seedwise.run.convergence import sentence
from seedwise.study.outcome import SPLITS, Study
from seedwise.study.record import StudyRecord

if TYPE_CHECKING:
    from seedwise.ensembles.model import Ensemble
    from seedwise.run.rehearsal import Rehearsal
    from seedwise.run.run import Run

INERT = 3
"""Exit code: everything is trained and saved, but a technique that was on did nothing."""


def announce_trial(arm: str, seed: int, number: int, count: int) -> None:
    """Print on stderr which run of a study is next."""
    print(f"[{number}/{count}] {arm}, seed {seed}", file=sys.stderr, flush=True)


def print_finished(done: "Run | Study | Ensemble", as_json: bool) -> int:
    """Print what a training has come to, whatever it was of; the exit code."""
    from seedwise.cli.ensemble import print_ensemble
    from seedwise.cli.print_study import print_done
    from seedwise.ensembles.model import Ensemble

    if isinstance(done, Ensemble):
        print_ensemble(done.folder, done.record, as_json)
        return 0
    if isinstance(done, Study):
        return print_done(done, as_json)
    return print_run(done.folder, done.record, as_json) if machine.rank() == 0 else 0


def print_run(folder: Path, record: RunRecord, as_json: bool) -> int:
    """Print a finished run's scores (one run has no spread) and where its files are; returns the exit code."""
    final = demand_final(folder, record)
    if as_json:
        print(record.model_dump_json(indent=2))
        say_leaks(folder, as_json=True)
        return say_inert([record.inert])
    top5 = tells_top5(len(record.data.classes))
    print(f"{'':<8}{'top-1':>8}{'top-5' if top5 else '':>{8 * top5}}{'loss':>8}")
    for name in SPLITS:
        scores: Scores | None = getattr(final, name)
        if scores is not None:
            _print_scores(name, scores, top5)
    average = "" if record.ema is None else record.ema.kind.upper()
    for title, part in ((average, record.ema), ("TTA", record.tta)):
        for name in ("val", "test") if part is not None else ():
            if (beside := getattr(part, name)) is not None:
                _print_scores(f"{name} {title}", beside, top5)
    best = final.test or final.val or final.train
    name = "test" if final.test else "val" if final.val else "train"
    print(f"{name} top-1 {best.top1:.4f} (one seed; --seeds 5 for a spread)")
    say_cut(record.timed)
    if record.convergence is not None and (said := sentence(record.convergence, record.epochs)):
        print(said)
    say_leaks(folder)
    print_errors(folder)
    print(
        f"seed {record.seed}, {in_words(record.seconds['total'])}, {record.images_per_second:.0f} images/s in training"
    )
    print_places(folder)
    return say_inert([record.inert])


def print_places(folder: Path) -> None:
    """Print where the report and the files are."""
    if (folder / REPORT).is_file():
        print(f"report: {folder / REPORT}")
    print(f"files: {folder}")


def say_leaks(folder: Path, *, as_json: bool = False) -> None:
    """Warn of test images of a run or ensemble that are among those trained on; on stderr beside JSON."""
    from seedwise.base.errors import UserError
    from seedwise.reports.read import leaks_of

    leak = None
    with contextlib.suppress(UserError):  # of a damaged audit, which the report has told
        leak = leaks_of(folder)
    if leak is not None:
        print(
            f"leak: {leak.images} of {leak.of} test images are among those trained on or selected by: "
            "the test scores are too high by what they gain from that",
            file=sys.stderr if as_json else sys.stdout,
        )


def say_inert(runs: Sequence[Sequence[str]]) -> int:
    """Name on stderr the techniques that had no effect in one of the runs; returns the exit code."""
    counts = Counter(name for names in runs for name in names)
    if not counts:
        return 0
    words = [name if len(runs) == 1 else f"{name} ({count} of {len(runs)} runs)" for name, count in counts.items()]
    sys.stdout.flush()
    them = "these" if len(counts) > 1 else "it"
    print(f"inert: {', '.join(words)}: on, and did nothing; switch {them} off, or find out why", file=sys.stderr)
    return INERT


def _print_scores(name: str, scores: Scores, top5: bool) -> None:
    print(f"{name:<8}{scores.top1:>8.4f}{f'{scores.top5:>8.4f}' if top5 else ''}{scores.loss:>8.3f}")


def say_cut(timed: Timed | None) -> None:
    """Print what `--time` took from the rule's numbers."""
    if timed is not None and timed.cut:
        print(timed.cut)


def say_unconverged(study: StudyRecord) -> None:
    """Print which finished runs of a study were too short."""
    finished = [trial for trial in study.trials if trial.status == "finished"]
    short = [trial for trial in finished if trial.converged is False]
    if short:
        arms = ", ".join(dict.fromkeys(trial.arm for trial in short))
        of = f"{len(short)} of {len(finished)} runs" + (f" ({arms})" if len(study.arms) > 1 else "")
        print(f"not converged: {of}: few optimizer steps, or validation still rising; give more epochs")


def print_nothing_left(recipe: Recipe, done: Sequence[int], folder: str, as_json: bool) -> None:
    """Print a dry run of what is trained already."""
    if as_json:
        print(json.dumps({"recipe": recipe.model_dump(mode="json"), "seeds": [], "done": list(done)}, indent=2))
        return
    print(dump(recipe), end="")
    print(f"# seeds:  none left, done in {folder}: {', '.join(map(str, done))}")
    print("#         (the same command without --dry-run shows the results)")


def print_plan(
    found: "Rehearsal", seeds: Sequence[int], done: Sequence[int], start_seconds: float, as_json: bool
) -> None:
    """Print a dry run: the resolved recipe, then its cost; `done`: seeds that are trained already."""
    from seedwise.run.resolve import doubts

    recipe, dataset, cost = found.recipe, found.dataset, found.cost
    total = start_seconds + cost.run_seconds * len(seeds)
    if as_json:
        facts: dict[str, Any] = {"steps": cost.steps, "seconds_per_run": cost.run_seconds, "memory_gb": cost.memory_gb}
        facts |= {"start_seconds": start_seconds, "seconds": total}
        content = {"recipe": recipe.model_dump(mode="json"), "splits": dataset.splits, "seeds": list(seeds), **facts}
        content["done"] = list(done)
        content["timed"] = found.timed and found.timed.model_dump()
        print(json.dumps(content, indent=2))
        return
    print(dump(recipe), end="")
    for line in [*dataset.lines(), dataset.storage_line(), *doubts(recipe)]:
        print(f"# {line}")
    also = f" (done: {', '.join(map(str, done))})" if done else ""
    print(f"# seeds:  {', '.join(map(str, seeds))}{also}")
    if found.timed is not None and found.timed.cut:
        print(f"# {found.timed.cut}")
    print(f"# steps:  {cost.steps} a run")
    if recipe.train.repeats > 1:
        print(f"#         (an epoch takes 1/{recipe.train.repeats} of the images, {recipe.train.repeats} times each)")
    if cost.memory_gb is not None:
        print(f"# memory: {cost.memory_gb:.1f} GB at the peak of a step (measured)")
    runs = "1 run" if len(seeds) == 1 else f"{len(seeds)} runs"
    of = f"{in_words(cost.seconds)} in steps and evaluation, {in_words(cost.besides_seconds)} for pictures and files"
    print(f"# time:   {in_words(total)}: {in_words(start_seconds)} to start, {runs} of {in_words(cost.run_seconds)}")
    print(f"#         {of}")
    print("#         (measured; data and kernels are ready now)")
