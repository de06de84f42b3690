"""Suggests an existing path for one that doesn't exist."""

import os
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

from seedwise.base.errors import UserError

_LOOKED_AT = 5000
"""Largest number of a folder's entries that are compared."""
_LONGEST = 100
"""Largest length of a name that is compared: longer ones take long, and nobody types them."""


def nearest(name: str) -> str | None:
    """The most similar path that exists, each missing part replaced by the most similar name in its folder, or None."""
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
    """`did you mean 'x'?` for a path that doesn't exist, or `otherwise` where nothing is similar."""
    close = nearest(name)
    return f"did you mean '{close}'?" if close else otherwise


def demand_folder(folder: Path, whose: str) -> None:
    """Raise a UserError unless the folder exists; `whose` says what it should be: "a run's or a study's"."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; {meant(str(folder), f'give {whose}')}")


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
