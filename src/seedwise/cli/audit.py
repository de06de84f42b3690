"""`seedwise audit`."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seedwise.cli.options import NO_FLAGS, Data, DataDir, Json, Lang, Overrides, begin_with, begin_with_run, read_recipe

if TYPE_CHECKING:
    from seedwise.audits.findings import Findings

NAMED = 5


Out = Annotated[Path, typer.Option("-o", "--out", help="HTML file to write; the findings go beside it, as .json.")]
Labels = Annotated[
    bool,
    typer.Option(
        "--labels",
        help="Also look for wrong labels: by a linear head on pretrained features or, with --run, by five networks "
        "that are trained as that run, each without the images that it judges.",
    ),
]
OfRun = Annotated[
    Path | None,
    typer.Option("--run", metavar="RUN", help="A finished run on this data: its test top-1 without leaks."),
]
Confirm = Annotated[
    Path | None,
    typer.Option("--confirm", metavar="FILE", help="Pairs that were looked at, as the page saves them; they are kept."),
]


def audit(
    data: Data,
    out: Out = Path("audit.html"),
    labels: Labels = False,
    run: OfRun = None,
    confirm: Confirm = None,
    data_dir: DataDir = None,
    settings: Overrides = None,
    lang: Lang = "en",
    as_json: Json = False,
) -> None:
    """Check a data set: balance, sizes, damaged files, duplicates within and across splits, doubtful labels.

    Duplicates are images with equal pixels, and the same picture re-encoded, resized, cropped a little, brightened or
    mirrored. What only looks alike is listed as that, to be confirmed in the page. What was found is kept, and reports
    of runs on this data repeat that test images leak.

    Examples:

        seedwise audit ./photos

        seedwise audit ./photos --confirm confirmed.json

        seedwise audit cifar100 --data-dir DIR --labels --run runs/lite -o cifar100.html

        seedwise audit labels.csv -s data.split_column=none
    """
    if run is not None:
        begin_with_run(run, "a run's", lambda it: shlex.join(["seedwise", "audit", data, "--run", it]))
    else:
        begin_with(data, read_recipe(data, None, NO_FLAGS, settings).data, data_dir)
    from seedwise.cli.progress import phases
    from seedwise.inference.finished import audit as check

    words: dict[str, Any] = {"settings": settings or (), "labels": labels, "run": run, "confirm": confirm, "lang": lang}
    with phases() as progress:
        found = check(data, out=out, data_dir=data_dir, progress=progress, **words)
    if as_json:
        print(found.model_dump_json(indent=2))
    else:
        _print(found)
        print(out)


def _print(found: "Findings") -> None:
    from seedwise.data.describe import data_lines
    from seedwise.data.labels import some
    from seedwise.data.source import PassedOver, Survey

    survey = Survey(tuple(PassedOver(**each.model_dump()) for each in found.passed_over), tuple(found.doubts))
    print("\n".join(data_lines(found.classes, found.splits, found.given, survey)))
    opposed = [pair for pair in found.pairs if pair.is_opposed]  # the first of them
    for pair in opposed[:NAMED]:
        each = " and ".join(f"{it.where} ({found.classes[it.label]})" for it in (pair.first, pair.second))
        print(f"one picture under two labels: {each}")
    if len(opposed) > NAMED:
        print(f"one picture under two labels: {len(opposed) - NAMED} pairs more")
    for name, part in found.parts.items():
        for line in part.damaged[:NAMED]:
            print(f"damaged: {line}")
        if len(part.damaged) > NAMED:
            print(f"damaged: {len(part.damaged) - NAMED} more in {name}")
    for split, names in found.missing.items():
        print(f"no image in {split}: {some(names, NAMED)}")
    _print_pairs(found)
    for split, leak in found.leaks.items():
        known = "train or val" if split == "test" and "val" in found.splits else "train"
        print(f"leak: {leak.images} of {leak.of} {split} images ({leak.images / leak.of:.1%}) are in {known} too")
    if found.run is not None:
        without = "-" if found.run.without is None else f"{found.run.without:.4f}"
        print(f"test top-1 of {found.run.folder}: {found.run.top1:.4f}, without these {without}")
    if found.labels is not None:
        by = "a linear head" if found.labels.by is None else f"networks trained as {found.labels.by}"
        print(
            f"labels: {found.labels.count} of {found.labels.images} in doubt "
            f"({by} that did not see them: right for {found.labels.top1:.1%})"
        )
        for suspect in found.labels.suspects[:NAMED]:
            named = f"{found.classes[suspect.image.label]}, rather {found.classes[suspect.suggested]}"
            print(f"label in doubt: {suspect.image.where} ({named})")


def _print_pairs(found: "Findings") -> None:
    counts = found.counts
    print(f"duplicates: {counts['equal']} pairs equal in every pixel, {counts['copy']} re-encoded, resized or cropped")
    print(f"look-alikes: {counts['alike']} pairs, called duplicates only when confirmed")
    for kind, name in (("copy", "re-encoded, resized or cropped"), ("alike", "look-alikes")):
        it = found.estimates[kind]
        if it.two_labels:
            print(
                f"estimate by labels: about {it.false:.0f} of {it.pairs} {name} are not one picture "
                f"({it.two_labels} join two labels, as {it.chance:.0%} of false ones do)"
            )
    if found.limit < 1:
        print(f"limit: lowered to {found.limit:.2f} of the usual, since more copies would join two labels")
    judged = [f"{counts[said]} {said}" for said in ("confirmed", "rejected") if counts[said]]
    if judged:
        print(f"looked at: {', '.join(judged)}")
