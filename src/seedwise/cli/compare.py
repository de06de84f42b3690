"""`seedwise compare`."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seedwise.cli.options import Json, Margin, Split
from seedwise.cli.output import print_table

if TYPE_CHECKING:
    from seedwise.stats import Ratio
    from seedwise.study.compare import Compared

SHOWN = 20
"""Largest number of differing options that are printed; `--json` has all."""
Classes = Annotated[bool, typer.Option("--classes", help="Differences by class and by superclass too.")]


def compare(
    folders: Annotated[
        list[Path], typer.Argument(metavar="RUN|STUDY...", help="Runs, studies, ensembles, or folders that hold runs.")
    ],
    margin: Margin = None,
    split: Split = "test",
    classes: Classes = False,
    as_json: Json = False,
) -> None:
    """Say whether the others are really better or worse than the first, and how sure that is.

    Runs with the same seeds are pairs. A study's arms are compared with its own base, or with the first folder's.

    Examples:

        seedwise compare runs/lite runs/lite-cutmix

        seedwise compare STUDY --classes --json
    """
    from seedwise.inference.finished import compare as compare_folders

    found = compare_folders(folders, split=split or "test", margin=margin, classes=classes)
    for path in found.skipped:
        print(f"left out, {'not finished' if path.is_dir() else 'gone'}: {path}", file=sys.stderr)
    print(json.dumps(found.to_dict(), indent=2)) if as_json else _print(found)


def _print(found: "Compared") -> None:
    from seedwise.cli.print_study import by_average, place_lines, verdict_lines
    from seedwise.stats import SHARE, Scale, summarize

    images = len(next(iter(found.correct[found.base].values())))
    print(f"top-1 on {images} {found.split} images, differences from {found.base} in points")
    table = [["", "n", "mean ± SD", "difference", "p (Holm)", "sign flip", "time"]]
    for arm in found.arms:
        summary = summarize(list(found.top1(arm.name).values()), SHARE)
        spread = f"{summary.mean:.4f}" if summary.sd is None else f"{summary.mean:.4f} ± {summary.sd:.4f}"
        row = [arm.name, str(summary.n), spread]
        each = found.comparisons.get(arm.name)
        if each is not None:
            said = Scale().difference(each.mean, each.ci95_simultaneous).replace(" points", "")
            p_holm = "-" if each.p_holm is None else f"{each.p_holm:.4f}"
            flips = "-"
            if each.p_signflip is not None and each.signflip_floor is not None:
                flips = f"{each.p_signflip:.4f} ≥ {each.signflip_floor:.2g}"
            said = said.replace(", interval", "")
            row += [said, p_holm, flips, _time(found.times[arm.name])]
        table.append(row)
    print_table(table, right=(1,))
    if averaged := [arm.name for arm in found.arms if arm.averaged]:
        print(by_average(averaged))
    print("\n".join(place_lines(next(iter(found.holds.values())))))
    for name, each in found.comparisons.items():
        first, *rest = verdict_lines(f"{name}: {each.sentence}", found.holds[name], found.advice[name])
        print("\n".join([first, *(f"  {line}" for line in rest)]))
        for line in [*_differences(found.differs[name]), *_details(each)]:
            print(f"  {line}")
        for what, rows in found.classes.get(name, {}).items():
            _print_classes(what, rows)
    alpha, margin = next(iter(found.comparisons.values())).alpha, f"the margin is ±{100 * found.margin:g}"
    look = f", the level of this look (intervals of {100 * (1 - alpha):.6g}%)" if alpha < 0.05 else ""
    if found.family > 1:
        said = f"p and intervals are corrected for {found.family} comparisons (Holm)"
        print(f"{said}; a difference is real where p is below {alpha:g}{look}; {margin}")
    else:
        print(f"a difference is real where p is below {alpha:g}{look}; {margin}")
    if found.planned_margin not in (None, found.margin):
        print(f"the study fixed ±{100 * (found.planned_margin or 0):g} before its first trial: this margin is another")


def _differences(lines: Sequence[str]) -> list[str]:
    """The options in which the recipes differ, a few of them."""
    shown = [f"differs in {line}" for line in lines[:SHOWN]]
    return shown + [f"… and in {len(lines) - SHOWN} more options (--json has them)"] * (len(lines) > SHOWN)


def _details(each: Any) -> list[str]:
    from seedwise.stats import Scale

    lines = []
    how = {
        "paired": f"{each.n} pairs by seed",
        "welch": "seeds don't match: compared as two groups (Welch), which sees less",
        "single": "single networks: another seed is another network",
    }
    unused = f"; {each.unused} runs not used, for their seeds have no partner" if each.unused else ""
    lines.append(how[each.kind] + unused)
    if each.ci95_images is not None:
        said = Scale().difference(each.mean, each.ci95_images).split("interval ")[1]
        lines.append(f"with other test images too: {said}")
    if each.p_equivalence_holm is not None:
        lines.append(f"p of a difference at the margin or beyond: {each.p_equivalence_holm:.4f}")
    if each.p_mcnemar is not None:
        said = Scale().difference(each.mean, each.ci95_mcnemar)
        lines.append(f"these two networks on these images (McNemar): {said}, p {each.p_mcnemar:.4f}")
    return lines


def _time(found: "Ratio | None") -> str:
    if found is None:
        return "-"
    return f"×{found.ratio:.2f}" + ("" if found.ci95 is None else f" [{found.ci95[0]:.2f}, {found.ci95[1]:.2f}]")


def _print_classes(what: str, rows: list[dict[str, Any]]) -> None:
    from seedwise.stats import Scale

    if not rows:
        print(f"  {what}: need two common seeds or more")
        return
    decided = [row for row in rows if row["verdict"] != "undecided"]
    print(f"  {what}: {len(decided)} of {len(rows)} differ (seeds and images random, Holm over all arms and classes)")
    for row in decided:
        said = Scale().difference(row["mean"], row["ci95_simultaneous"])
        print(f"    {row['name']}: {row['verdict']}, {said}, p {row['p_holm']:.4f}")
