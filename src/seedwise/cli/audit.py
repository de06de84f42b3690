"""`seedwise audit`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seedwise.cli.options import NO_FLAGS, Data, DataDir, Json, Lang, Overrides, begin_in, begin_with, read_recipe

if TYPE_CHECKING:
    from seedwise.audit.findings import Findings

NAMED = 5


def audit(
    data: Data,
    out: Annotated[Path, typer.Option("-o", "--out", help="HTML file to write.")] = Path("audit.html"),
    labels: Annotated[
        bool, typer.Option("--labels", help="Also look for wrong labels, by a linear head on pretrained features.")
    ] = False,
    run: Annotated[
        Path | None, typer.Option(metavar="RUN", help="A finished run on this data: its test top-1 without leaks.")
    ] = None,
    data_dir: DataDir = None,
    settings: Overrides = None,
    lang: Lang = "en",
    as_json: Json = False,
) -> None:
    """Check a data set: balance, sizes, damaged files, duplicates within and across splits, doubtful labels.

    Near-duplicates are found by their pixels: re-encoded, shifted, brightened or mirrored copies. What was found is
    kept beside the decoded images, and reports of runs on this data repeat that test images leak.

    Examples:

        seedwise audit ./photos

        seedwise audit cifar100 --data-dir DIR --labels --run runs/lite -o cifar100.html

        seedwise audit labels.csv -s data.split_column=none
    """
    from seedwise.errors import UserError

    _demand_writable(out, lang)
    if run is not None and settings:
        raise UserError("-s and --run: give one of them; a run's data are read with the run's own options")
    if run is not None:
        begin_in(run, "a run's")
    recipe = read_recipe(data, None, NO_FLAGS, settings)
    if run is None:
        begin_with(data, recipe.data, data_dir)
    from seedwise.audit.check import audit as check
    from seedwise.audit.findings import AUDIT, keep
    from seedwise.cli.watch import phases
    from seedwise.record import write_sealed
    from seedwise.report.audit_page import write_audit
    from seedwise.runs import load

    loaded = None if run is None else load(run)
    recipe = recipe if loaded is None else loaded.recipe
    with phases() as progress:
        found = check(data, recipe.data, data_dir=data_dir, run=loaded, labels=labels, progress=progress)
    keep(found.findings)
    if loaded is not None:
        write_sealed(loaded.folder / AUDIT, found.findings)
    write_audit(found.findings, found.thumbnails, out, lang)
    if as_json:
        print(found.findings.model_dump_json(indent=2))
    else:
        _print(found.findings)
        print(out)


def _demand_writable(out: Path, lang: str) -> None:
    """A place and a language for the page, before anything takes long."""
    from seedwise.errors import UserError
    from seedwise.report.words import Words

    Words(lang)
    if out.is_dir():
        raise UserError(f"{out}: is a folder; give an HTML file to write")
    if not out.parent.is_dir():
        raise UserError(f"{out.parent}: no such folder; create it first")


def _print(found: "Findings") -> None:
    from seedwise.data.describe import data_lines
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
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        print(f"no image in {split}: {', '.join(names[:NAMED])}{more}")
    exact = sum(pair.exact for pair in found.pairs)
    print(f"duplicates: {found.pair_count} pairs, {exact} of them equal in every pixel")
    if found.too_alike:
        print("most images are alike by nature: these pairs, and the leaks below, say little")
    for split, leak in found.leaks.items():
        known = "train or val" if split == "test" and "val" in found.splits else "train"
        print(f"leak: {leak.images} of {leak.of} {split} images ({leak.images / leak.of:.1%}) are in {known} too")
    if found.run is not None:
        without = "-" if found.run.without is None else f"{found.run.without:.4f}"
        print(f"test top-1 of {found.run.folder}: {found.run.top1:.4f}, without these {without}")
    if found.labels is not None:
        print(
            f"labels: {found.labels.count} of {found.labels.images} in doubt "
            f"(a linear head that did not see them is right for {found.labels.top1:.1%})"
        )
