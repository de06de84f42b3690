"""What somebody may have meant by a path that isn't there."""

import os
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

from seedwise.base.errors import UserError
from seedwise.records.checksum import RECORD, STUDY, trusted

_LOOKED_AT = 5000
"""Entries of a folder, at most."""
_NAMED = 4
"""Runs that are named, at most."""
_LONGEST = 100
"""Characters of a name that is compared: beyond it takes long, and nobody types it."""


def nearest(name: str) -> str | None:
    """The path most like this one that is there: each part that is missing is the one most like it in its folder."""
    typed = Path(os.path.expanduser(name))  # noqa: PTH111 -- Path's raises for ~nobody
    found = Path(typed.anchor)
    for part in typed.parts[1:] if typed.anchor else typed.parts:
        meant = part if os.path.lexists(found / part) else _likest(part, found)
        if meant is None:
            return None
        found /= meant
    dot = f".{os.sep}" if name.startswith(f".{os.sep}") else ""
    return None if found == typed else f"{dot}{found}"


def meant(name: str, otherwise: str) -> str:
    """`did you mean 'x'?` for a path that isn't there, or what else to say."""
    close = nearest(name)
    return f"did you mean '{close}'?" if close else otherwise


def demand_folder(folder: Path, whose: str) -> None:
    """Raise a UserError unless the folder is there; `whose`: "a run's or a study's"."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; {meant(str(folder), f'give {whose}')}")


def no_run(folder: Path, command: Callable[[str], str] | None = None) -> UserError:
    """Of a folder that is no run's: which runs it holds, and what to type; `command`: with a run in its place."""
    runs = _runs_in(folder)
    if not runs:
        return UserError(f"{folder}: not a run folder (it has no {RECORD})")
    named = ", ".join(map(str, runs[:_NAMED])) + (f" and {len(runs) - _NAMED} more" if len(runs) > _NAMED else "")
    what = "is a study" if (folder / STUDY).is_file() else "is no run, but holds some"
    one = "its only run" if len(runs) == 1 else f"one of its {len(runs)} runs"
    typed = f": {command(str(runs[0]))}" if command is not None else ""
    return UserError(f"{folder}: {what}; name {one} ({named}){typed}")


def demand_run(folder: Path, whose: str, command: Callable[..., str], others: Sequence[str] = ()) -> None:
    """Raise a UserError, with nothing heavy imported, unless this is the folder of a finished run or an ensemble.

    `command`: the one that was given, with another folder and, if they were swapped, other images in it; `others`: what
    stands behind the folder.
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
    """The runs of a study or an unfinished bagging, and those that lie in a folder of runs."""
    found = (file.parent for pattern in ("runs/*/*", "runs/*", "*") for file in folder.glob(f"{pattern}/{RECORD}"))
    return sorted(found)


def _likest(part: str, folder: Path) -> str | None:
    if len(part) > _LONGEST or part in (os.pardir, os.curdir):
        return None
    try:
        with os.scandir(folder) as entries:
            names = [it.name for it in islice(entries, _LOOKED_AT)]
    except (OSError, ValueError):
        return None
    known = {it.lower(): it for it in sorted(names) if it.isprintable() and it.startswith(".") == part.startswith(".")}
    close = get_close_matches(part.lower(), known, n=1)
    return known[close[0]] if close else None
