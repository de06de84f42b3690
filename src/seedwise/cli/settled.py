"""Says when a command found all of a folder's runs trained already."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

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
    if study := trusted(folder / STUDY, "study", 1):
        trials = study["trials"]
        kind, runs = "study", len(trials)
        done = [folder / trial["folder"] for trial in trials if trial["status"] == "finished"]
    else:
        bagging = (folder / BAGGING).is_file()
        kind, members = ("bagging", sorted(folder.glob("runs/member-*"))) if bagging else ("run", [folder])
        records_of = {each: trusted(each / RECORD, "run", 1) or {} for each in members}
        runs, done = len(members), [each for each in members if records_of[each].get("status") == "finished"]
    records = [each / RECORD for each in done if (each / RECORD).is_file()]
    return Settled(kind, runs, len(done), max(it.stat().st_mtime for it in records)) if records else None


def finished_seeds(folder: Path) -> set[int]:
    """Seeds that a run, a study of one recipe or an ensemble has finished, as far as its records are sound."""
    if study := trusted(folder / STUDY, "study", 1):
        return {trial["seed"] for trial in study["trials"] if trial["arm"] == BASE and trial["status"] == "finished"}
    members = sorted(folder.glob("runs/member-*")) if (folder / BAGGING).is_file() else [folder]
    records = [trusted(each / RECORD, "run", 1) or {} for each in members]
    return {record["seed"] for record in records if record.get("status") == "finished"}


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
