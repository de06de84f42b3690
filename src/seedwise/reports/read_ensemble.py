"""Reads an ensemble's folder, and those of its members that still exist."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seedwise.audits.findings import Leak
from seedwise.base.errors import UserError
from seedwise.records.ensemble import EnsembleRecord, Member
from seedwise.records.evaluations import later_test_reads
from seedwise.records.finished import read_ensemble
from seedwise.records.predictions import Predictions, damage
from seedwise.records.run import BAGGING, PREDICTIONS, RECORD, RunRecord, read_record
from seedwise.reports.read import demand_classes, read_held, read_leaks


@dataclass(frozen=True)
class EnsembleFiles:
    """The files of an ensemble's folder, read and checked."""

    record: EnsembleRecord
    held: dict[str, Predictions]
    """The vote's predictions by split, as log probabilities; empty where predictions.npz is gone."""
    runs: list[RunRecord]
    """Records of the members that exist."""
    predictions: dict[str, list[Predictions]]
    """Predictions of all members by split, in order; empty unless every member has them."""
    missing: list[str]
    """Folders of members that are gone, damaged or other runs than the ensemble's."""
    leaks: Leak | None
    test_reads: int
    """How often test was scored by the members, by the vote, and by `seedwise evaluate` since."""
    bagging: bool

    @property
    def split(self) -> str:
        """The split that it is judged on: test, or val where there is no test."""
        return "test" if self.record.test is not None else "val"


def read_ensemble_files(folder: Path) -> EnsembleFiles:
    """Read an ensemble's folder; a UserError names a damaged file. Members may be gone."""
    record, path = read_ensemble(folder), folder / RECORD
    demand_classes(path, record.data)
    if not record.members:
        raise damage(path, "it has no members")
    if record.best is not None and not 0 <= record.best < len(record.members):
        raise damage(path, "best is not among its members")
    held = read_held(folder, record)
    found = [_member(folder / member.folder, member, record, held) for member in record.members]
    there = [each for each in found if each is not None]
    predictions = {
        split: [by_split[split] for _, by_split, _ in there]
        for split in held
        if len(there) == len(found) and all(split in by_split for _, by_split, _ in there)
    }
    return EnsembleFiles(
        record,
        held,
        [run for run, _, _ in there],
        predictions,
        [member.folder for member, each in zip(record.members, found) if each is None],
        read_leaks(folder, record, held),
        record.test_evaluations + later_test_reads(folder) + sum(reads for _, _, reads in there),
        (folder / BAGGING).exists(),
    )


def _member(
    place: Path, member: Member, ensemble: EnsembleRecord, held: dict[str, Predictions]
) -> tuple[RunRecord, dict[str, Predictions], int] | None:
    """A member's record, its predictions on the ensemble's images, and its reads of test; None for another run."""
    try:
        record = read_record(place)
        if record.data.classes != ensemble.data.classes or not _same_files(member, record):
            return None
        predictions = {
            split: theirs
            for split, theirs in read_held(place, record).items()
            if split in held and np.array_equal(theirs.ids, held[split].ids)
        }
        return record, predictions, record.test_evaluations + later_test_reads(place)
    except (UserError, ValueError):  # a ValueError where the damaged name of a folder can be none
        return None


def _same_files(member: Member, record: RunRecord) -> bool:
    return PREDICTIONS in member.files and all(record.files.get(name) == it for name, it in member.files.items())
