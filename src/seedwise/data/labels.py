"""Cleans and numbers labels and class names, and finds faults in them."""

import re
import unicodedata
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from seedwise.base.errors import UserError
from seedwise.data.describe import counted
from seedwise.data.source import EXAMPLES, Int64Array, class_order

MISSING = ("nan", "none", "null", "nil", "na", "n/a", "#n/a", "<na>", "nat", "undefined", "?")
"""Texts that programs write for a missing label, in lower case."""

JOINS = "; -s data.join_spellings=true joins them"

_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d{1,3})?", re.ASCII)
_WHOLE = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_WHOLE_FLOAT = re.compile(r"([+-]?\d{1,18})\.0*", re.ASCII)
_FRACTION = re.compile(r"[+-]?\d*\.\d*[1-9]\d*", re.ASCII)
_LISTED = re.compile(r"[,;|]")
_JOINED = re.compile(r"\s*[_&+/]+\s*")


def clean_name(name: str) -> str:
    """Strip a name and compose its Unicode characters (NFC), so that one word is one class."""
    return unicodedata.normalize("NFC", name.strip())


def label_doubts(classes: Sequence[str], counts: Sequence[int] | None = None, *, join: bool = False) -> tuple[str, ...]:
    """A line for each kind of fault that class names show, whatever they come from.

    `counts`: images to train on of each class, if known. `join`: spellings of one name will be joined.
    """
    images = None if counts is None else dict(zip(classes, counts, strict=True))
    same_number, alike = ([], []) if join else _groups(classes)
    doubts = []
    if same_number:
        doubts.append(
            f"classes that are the same number: {some(' = '.join(map(repr, it)) for it in same_number)}{JOINS}"
        )
    if fractions := [name for name in classes if _FRACTION.fullmatch(name)]:
        doubts.append(f"classes that are numbers with fractions, as measured values are: {some(map(repr, fractions))}")
    if alike:
        doubts.append(
            f"classes that differ only in case, blanks or _: {some(' ~ '.join(map(repr, it)) for it in alike)}{JOINS}"
        )
    if missing := [name for name in classes if name.casefold() in MISSING]:
        doubts.append(f"classes that may stand for a missing label: {some(_counted(missing, images))}")
    if several := _several(classes):
        doubts.append(f"classes that look like several labels in one: {some(map(repr, several))}")
    if images is not None and (empty := [name for name in classes if not images[name]]):
        doubts.append(f"classes without an image to train on: {some(map(repr, empty))}")
    return tuple(doubts)


def some(names: Iterable[str], most: int = EXAMPLES) -> str:
    """The first names, at most `most`, and the number of the others."""
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


def _counted(names: list[str], images: Mapping[str, int] | None) -> list[str]:
    return [repr(name) if images is None else f"{name!r} ({counted(images[name], 'images')})" for name in names]


def _groups(classes: Sequence[str]) -> tuple[list[list[str]], list[list[str]]]:
    """Groups of names that are one number, and groups of names that are one word."""
    same: dict[Hashable, list[str]] = {}
    for name in classes:
        same.setdefault(meaning(name), []).append(name)
    groups = [(key, names) for key, names in same.items() if len(names) > 1]
    return (
        [names for key, names in groups if isinstance(key, Decimal)],
        [names for key, names in groups if not isinstance(key, Decimal)],
    )


def meaning(name: str) -> Hashable:
    """A key that all spellings of a class share: its number, or its word."""
    return Decimal(name) if _NUMBER.fullmatch(name) else _word(name)


def as_in_train(known: Iterable[str], others: Iterable[str]) -> dict[str, str]:
    """Map other names to the known name with the same meaning, where they aren't known themselves."""
    ours = class_order(known)
    spelled = {meaning(name): name for name in reversed(ours)}
    found = {name: spelled.get(meaning(name)) for name in set(others).difference(ours)}
    return {name: to for name, to in found.items() if to is not None}


def other_spelling(known: Iterable[str], name: str) -> str:
    """The beginning of advice on a name that train has in another spelling; empty if it doesn't."""
    to = as_in_train(known, [name]).get(name)
    return "" if to is None else f"take it for {to!r} with -s data.join_spellings=true, "


def _word(name: str) -> str:
    """A name's letters and digits in lower case; the name itself where there are none."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    return "".join(c for c in folded if c not in "_-" and unicodedata.category(c)[0] not in "ZC") or name


def _several(classes: Sequence[str]) -> list[str]:
    """Names with a bracket or a separator of lists, and names made of other classes' names.

    A comma with a blank behind it is usual in single names ("tench, Tinca tinca"), so it counts when another class has
    one of the words.
    """
    known = set(classes)
    found = []
    for name in classes:
        listed = [part.strip() for part in _LISTED.split(name)]
        joined = [part for part in _JOINED.split(name) if part]
        if re.match(r"[\[({]", name):
            found.append(name)
        elif len(listed) > 1:
            tight = not all(piece.startswith(" ") for piece in name.split(",")[1:]) or re.search(r"[;|]", name)
            if tight or any(part in known for part in listed):
                found.append(name)
        elif len(joined) > 1 and all(part in known for part in joined):
            found.append(name)
    return found


def is_whole(value: Any) -> bool:
    """Whether a label is a whole number, as a number or as text."""
    return isinstance(value, int) if not isinstance(value, str) else bool(_WHOLE.fullmatch(value))


def whole_floats(labels: list[Any]) -> list[Any] | None:
    """Labels without the `.0` that a program wrote behind each whole number; None unless all have it."""
    texts = {label for label in labels if label is not None}
    if not texts or not all(isinstance(text, str) and _WHOLE_FLOAT.fullmatch(text) for text in texts):
        return None
    spelled = {text: text.partition(".")[0] for text in texts}
    return [None if label is None else spelled[label] for label in labels]


def one_to_one(left: Sequence[Any], right: Sequence[Any]) -> dict[Any, Any] | tuple[Any, Any, int]:
    """Map each value on the left to the one on the right. Where that is not one to one, an example: a value, and the
    two values that it goes with, as (value, other, row) with the row of the second."""
    forth: dict[Any, Any] = {}
    back: dict[Any, Any] = {}
    for row, (a, b) in enumerate(zip(left, right, strict=True)):
        if forth.setdefault(a, b) != b or back.setdefault(b, a) != a:
            return a, b, row
    return forth


@dataclass(frozen=True)
class Labels:
    """Class names, and the class index of each image, int64[n] by part."""

    classes: tuple[str, ...]
    indices: dict[str, Int64Array]

    @classmethod
    def of(
        cls,
        values: dict[str, list[Any]],
        column: str,
        names: Sequence[str] | Mapping[Any, str] | None,
        where: Path,
        *,
        join: bool = False,
    ) -> "Labels":
        """Number the values of each part by class; a UserError for values without a class in train.

        `names`: a list that whole numbers index, or the name of each whole number, in whose order the classes then are.
        Without them the classes are the different values of the training part. `join`: text of other parts that is
        spelled otherwise there is the same class.
        """
        known = set(values["train"])
        if join and not names:
            every = {str(value) for of in values.values() for value in of if value not in known}
            to = as_in_train({str(it) for it in known}, every) if all(isinstance(it, str) for it in known) else {}
            values = {part: [to.get(value, value) for value in of] for part, of in values.items()}
        stated = (
            names if names and not isinstance(names, Mapping) and all(isinstance(it, int) for it in known) else None
        )
        if stated is not None:
            index: dict[Any, int] = {number: number for number in range(len(stated))}
            classes = tuple(clean_name(name) for name in stated)
        elif isinstance(names, Mapping):
            index = {value: number for number, value in enumerate(sorted(known, key=lambda it: (int(it), str(it))))}
            classes = tuple(names[value] for value in index)
        else:
            classes = tuple(class_order(str(value) for value in known))
            numbers = {name: number for number, name in enumerate(classes)}
            index = {value: numbers[str(value)] for value in known}
        for part, part_values in values.items():
            for value in sorted(set(part_values), key=str):
                if names and stated is not None and value not in index:
                    raise UserError(f"{where}: {part} has {column}={value!r}, none of {len(index)} classes: mend it")
                if value not in known:
                    name = classes[index[value]] if value in index else value
                    mend = f"{other_spelling(classes, str(name))}add it or remove it there"
                    raise UserError(f"{where}: class '{name}' is in {part} but not in train: {mend}")
        return cls(classes, {p: np.array([index[value] for value in v], np.int64) for p, v in values.items()})


def superclass_of(labels: Labels, coarse: Labels) -> Int64Array | None:
    """int64[k]: the superclass of each class; None when a class lies in several (then it is not a hierarchy)."""
    pairs = {
        (int(fine), int(above))
        for part in labels.indices
        for fine, above in zip(labels.indices[part], coarse.indices[part], strict=True)
    }
    above_of = dict(pairs)
    if not len(pairs) == len(above_of) == len(labels.classes):
        return None
    return np.array([above_of[fine] for fine in range(len(labels.classes))], np.int64)
