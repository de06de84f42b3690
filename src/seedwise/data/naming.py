"""Recognizes parts in folder names; names images and lists names for messages."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from seedwise.data.source import EXAMPLES, PART_OF, PARTS, RawImage, printable

_JOINED = re.compile(rf"({'|'.join(PART_OF)})(set|data|images|imgs)")
MAYBE = re.compile(r"hold[ _-]?out|held[ _-]?out|validate|vali\b|tuning|trn\b|tst\b|unseen|query|gallery")
"""Words that may mean a part, without certainty."""


LONGEST_NAME = 240
"""Largest length of an image's name in a record; of a longer one the end is kept."""


def exact_part(name: str) -> str | None:
    """The part that a whole name stands for: train, Valid, TESTING."""
    return PART_OF.get(name.lower())


def parts_in(text: str) -> set[str]:
    """The parts that are words of a text: val and test of `a/eval_test`."""
    return {PART_OF[word] for word in re.split(r"[^a-z]+", text.lower()) if word in PART_OF}


def named_part(name: str) -> str | None:
    """The part that is a word of a name: test1, training_set, seg_train."""
    parts = parts_in(name)
    if joined := _JOINED.fullmatch(name.lower()):
        parts.add(PART_OF[joined[1]])
    return parts.pop() if len(parts) == 1 else None


def parts_among(names: Iterable[str]) -> dict[str, str]:
    """The part of each name that has one: by whole names where any is one, else by words if they give two parts."""
    given = list(names)
    exact = {name: part for name in given if (part := exact_part(name))}
    if exact:
        return exact
    named = {name: part for name in given if (part := named_part(name))}
    return named if len(set(named.values())) > 1 else {}


def twice(parts: Mapping[str, str]) -> list[str]:
    """Names of the first part that several names stand for."""
    for part in PARTS:
        names = sorted((name for name, its in parts.items() if its == part), key=str.lower)
        if len(names) > 1:
            return names
    return []


def listed(names: Iterable[str]) -> str:
    """A list of folders for messages: "a/, b/ and c/"; of many the first few and how many more."""
    shown = [f"{printable(name)}/" for name in dict.fromkeys(names)]
    if len(shown) > EXAMPLES + 1:
        return f"{', '.join(shown[:EXAMPLES])} and {len(shown) - EXAMPLES} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def within(where: str, root: Path | None) -> str:
    """The name of an image or a place relative to the folder, archive or table of the data.

    What lies beside a table is named from the table's folder on.
    """
    starts = () if root is None else (f"{root}/", f"{root}: ", f"{root.parent}/")
    start = next((start for start in starts if where.startswith(start) and where != start), "")
    return where[len(start) :]


def image_name(raw: RawImage, root: Path | None, owners: Iterable[str]) -> str:
    """The name of an image within its data, in one line: the file's path, or the row of a table.

    `owners`: prefixes of the names of images that are in no file, to be dropped.
    """
    if isinstance(raw.data, Path):
        name = within(str(raw.data), root)
    else:
        owner = next((f"{owner}: " for owner in owners if raw.where.startswith(f"{owner}: ")), "")
        name = within(raw.where, root).removeprefix(owner)
    shown = printable(name)
    return shown if len(shown) <= LONGEST_NAME else f"…{shown[1 - LONGEST_NAME :]}"
