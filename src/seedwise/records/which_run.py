"""Says which run may have been meant by a folder that is no run's; starts at once, without heavy imports."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from seedwise.base.errors import UserError
from seedwise.base.nearest import demand_folder
from seedwise.records.checksum import RECORD, STUDY, trusted

_NAMED = 4
"""Largest number of runs that are named."""


def no_run(folder: Path, command: Callable[[str], str] | None = None) -> UserError:
    """A UserError about a folder that is no run's: which runs it holds and what to type. `command`: makes the command
    to type, given a run's folder."""
    runs = _runs_in(folder)
    if not runs:
        return UserError(f"{folder}: not a run folder (it has no {RECORD})")
    named = ", ".join(map(str, runs[:_NAMED])) + (f" and {len(runs) - _NAMED} more" if len(runs) > _NAMED else "")
    what = "is a study" if (folder / STUDY).is_file() else "is no run, but holds some"
    one = "its only run" if len(runs) == 1 else f"one of its {len(runs)} runs"
    typed = f": {command(str(runs[0]))}" if command is not None else ""
    return UserError(f"{folder}: {what}; name {one} ({named}){typed}")


def demand_run(folder: Path, whose: str, command: Callable[..., str], others: Sequence[str] = ()) -> None:
    """Raise a UserError unless this is the folder of a finished run or an ensemble; imports nothing heavy.

    `command`: makes the command to type, given a folder and, if they were swapped, images; `others`: the arguments
    behind the folder.
    """
    if (folder / RECORD).is_file():
        status = (trusted(folder / RECORD, "run", 1) or {}).get("status", "finished")
        if status != "finished":
            raise UserError(f"{folder}: not finished (status: {status}); `seedwise resume` it first")
        return
    swapped = next((other for other in others if any(_lies(other, name) for name in (RECORD, STUDY))), None)
    if swapped is not None and folder.exists():
        images = [str(folder) if other == swapped else other for other in others]
        raise UserError(f"{folder}: is no run, but {swapped} is: they are swapped; give: {command(swapped, images)}")
    if folder.is_file():
        raise UserError(f"{folder}: is a file; give {whose} folder in its place")
    demand_folder(folder, whose)
    raise no_run(folder, command)


def _lies(place: str, name: str) -> bool:
    return os.path.isfile(os.path.join(place, name))  # noqa: PTH113, PTH118 -- Path's raises for impossible names


def _runs_in(folder: Path) -> list[Path]:
    """The runs of a study or an unfinished ensemble, and those that lie directly in a folder."""
    found = (file.parent for pattern in ("runs/*/*", "runs/*", "*") for file in folder.glob(f"{pattern}/{RECORD}"))
    return sorted(found)
