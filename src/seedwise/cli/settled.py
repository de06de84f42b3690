"""Says when a command found all of a folder's runs trained already."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seedwise.base import machine
from seedwise.records.checksum import trusted
from seedwise.records.run import BAGGING, RECIPE, RECORD, STUDY
from seedwise.study.record import BASE, read_study

if TYPE_CHECKING:
    from seedwise.recipe.schema import Recipe


@dataclass(frozen=True)
class Settled:
    """Counts of a folder's finished runs."""

    kind: str
    runs: int
    finished: int
    at: float
    """Time at which the last one finished, in seconds since 1970."""


def settled(folder: Path) -> Settled | None:
    """Count the finished runs of a run, a study or an ensemble; None for any other, or before one is finished."""
    kind, runs = _runs(folder)
    done = [run for run in runs if run["status"] == "finished"]
    records = [run["folder"] / RECORD for run in done if (run["folder"] / RECORD).is_file()]
    return Settled(kind, len(runs), len(done), max(it.stat().st_mtime for it in records)) if records else None


def finished_seeds(folder: Path) -> set[int]:
    """Seeds that a run, a study of one recipe or an ensemble has finished, as far as its records are sound."""
    return {run["seed"] for run in _runs(folder)[1] if run["arm"] == BASE and run["status"] == "finished"}


def _runs(folder: Path) -> tuple[str, list[dict[str, Any]]]:
    """What a folder holds, and of each of its runs: folder, arm, status, and the seed of one that began."""
    if study := trusted(folder / STUDY, "study", 1):
        return "study", [trial | {"folder": folder / trial["folder"]} for trial in study["trials"]]
    is_bagging = (folder / BAGGING).is_file()
    members = sorted(folder.glob("runs/member-*")) if is_bagging else [folder]
    records = ((each, trusted(each / RECORD, "run", 1) or {"status": "planned"}) for each in members)
    return "bagging" if is_bagging else "run", [it | {"folder": each, "arm": BASE} for each, it in records]


def stored_recipe(folder: Path) -> "Recipe | None":
    """The resolved recipe of a folder's runs, or of its first member; None before it began."""
    from seedwise.config.section import load
    from seedwise.recipe.schema import Recipe

    if (folder / STUDY).is_file():
        return read_study(folder).recipe(BASE)
    place = (folder / "runs" / "member-1" if (folder / BAGGING).is_file() else folder) / RECIPE
    return load(Recipe, place) if place.is_file() else None


@contextmanager
def saying_nothing_trained(folder: Path) -> Iterator[None]:
    """Say on stderr, before any result, that all was finished before, if the block added nothing."""
    before = settled(folder)
    yield
    after = None if before is None else settled(folder)
    if before is None or after is None or not before.finished == after.finished == after.runs or machine.rank():
        return
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(before.at))
    runs = "" if after.kind == "run" else f", all {after.runs} runs"
    more = ", or more seeds with --seeds" if after.kind == "study" else ""
    again = f"to train again, give its command another folder with -o{more}"
    print(f"{folder} is finished ({when}{runs}): nothing trained; {again}", file=sys.stderr, flush=True)
