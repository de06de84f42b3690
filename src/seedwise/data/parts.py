"""Assigns each row of a table to a part: by its columns, its file's name, or its image's folder.

What is unmistakable is used, and what only may be meant as parts is refused, since rows that were held out by somebody
must not be trained on.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from seedwise.base.errors import UserError
from seedwise.data.columns import FLAG, key, part_if_true, says_parts, tells_parts, word
from seedwise.data.labels import some
from seedwise.data.naming import MAYBE, listed, named_part
from seedwise.data.source import PART_OF, PARTS

_BIT = {part: 1 << number for number, part in enumerate(PARTS)}
_ANY = sum(_BIT.values())
_PARTS_OF = {bits: [part for part in PARTS if bits & _BIT[part]] for bits in range(_ANY + 1)}
_TRUTH = {
    **dict.fromkeys(("true", "yes", "t", "y", "1", "1.0"), True),
    **dict.fromkeys(("false", "no", "f", "n", "0", "0.0"), False),
}
_DRAW = "draw the parts with -s data.split_column=none"

Place = Callable[[int], str]
"""Says where a row stands, for messages."""


@dataclass(frozen=True)
class Assigned:
    """The part of each row, and doubts about it."""

    parts: list[str]
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """Everything that may say the part of each row. `columns`: values by name; `chosen`: the column that an option
    names; `files`: parts by the names of the table's files; `images`: the image's path, where rows have one."""

    where: Path
    place: Place
    columns: Mapping[str, Sequence[Any]]
    chosen: str | None
    files: Sequence[str | None]
    images: Sequence[str | None] | None = None

    def assign(self, use_columns: bool) -> Assigned:
        """Assign each row to a part, to train when nothing says otherwise; a UserError where that isn't certain."""
        usable, unclear = self._readable_columns() if use_columns else ({}, [])
        given = any(part is not None for part in self.files)
        folders = None if self.chosen or not use_columns else self._folders(is_all=not usable and not given)
        if not usable and unclear and not given and folders is None:
            self._refuse(unclear[0])
        doubts = [f"column {name!r} says no parts that are known here, and is not used" for name in unclear]
        if given:
            named = [_ANY if part is None else _BIT[part] for part in self.files]
            if self.chosen is not None:  # asked for, so it wins where the two do not agree
                named = [a & b or b for a, b in zip(named, usable[self.chosen], strict=True)]
            usable["the file's name"] = named
        if usable:
            parts = self._agree(usable)
            if folders is not None and (apart := sum(a != b for a, b in zip(parts, folders, strict=True))):
                doubts.append(f"{apart} images lie in the folder of another part than {_and(usable)} says")
        elif folders is not None:
            parts = folders
            doubts.append(f"parts are taken from the folders of the image paths: {_and(dict.fromkeys(parts))}")
        else:
            parts = ["train"] * len(self.files)
        if any(FLAG.fullmatch(key(name)) for name in usable) and parts.count("val") > parts.count("train"):
            doubts.append(f"{_and(usable)} puts {parts.count('val')} of {len(parts)} rows in val")
        return Assigned(parts, tuple(doubts))

    def _readable_columns(self) -> tuple[dict[str, list[int]], list[str]]:
        """The parts that each column allows for each row, as bits; and columns that seem to say more."""
        usable, unclear = {}, []
        for name, values in self.columns.items():
            if self.chosen not in (None, name):
                continue
            meaning = _meaning(name, values, name == self.chosen)
            if meaning is None and (says_parts(name) or name == self.chosen or tells_parts(values)):
                if name == self.chosen:
                    self._refuse(name)
                if len({word(value) for value in values}) > 1:  # what is the same in all rows divides nothing
                    unclear.append(name)
            elif meaning is not None and (says_parts(name) or name == self.chosen or _divides(meaning)):
                usable[name] = [meaning[value] for value in values]
        return usable, unclear

    def _refuse(self, name: str) -> None:
        values = self.columns[name]
        row = next(row for row, value in enumerate(values) if word(value) not in PART_OF)
        different = sorted(
            {str(value).strip() if word(value) else "nothing" for value in values}, key=lambda it: (len(it), it)
        )
        use = (
            ", name another column with -s data.split_column=NAME"
            if self.chosen is None and len(self.columns) > 1
            else ""
        )
        if part_if_true(name, True) in ("val", "test") and all(word(value) in _TRUTH for value in values):
            use = f", take true as {part_if_true(name, True)} with -s data.split_column={name}"
        raise UserError(
            f"{self.place(row)}: {name}={values[row]!r} is none of {', '.join(PARTS)} (the column has "
            f"{some(different)}): write train, val or test in it{use}, or {_DRAW}"
        )

    def _agree(self, usable: Mapping[str, Sequence[int]]) -> list[str]:
        """The one part that all columns allow for each row; train, where flags only exclude others."""
        parts = []
        for row, allowed in enumerate(zip(*usable.values(), strict=True)):
            bits = _ANY
            for each in allowed:
                bits &= each
            if not bits:
                names = [name for name in usable if name in self.columns]
                by_name = [f"the file's name ({self.files[row]})"] if self.files[row] else []
                said = " and ".join([*(f"{name}={self.columns[name][row]!r}" for name in names), *by_name])
                raise UserError(
                    f"{self.place(row)}: {said} do not agree on a part: mend them, use one with "
                    f"-s data.split_column={names[0]}, or use none with -s data.split_column=none"
                )
            if bits == _BIT["val"] | _BIT["test"]:
                name = next(name for name in usable if FLAG.fullmatch(key(name)) or key(name) in PART_OF)
                raise UserError(
                    f"{self.place(row)}: {name}={self.columns[name][row]!r} leaves open whether it is for val or for "
                    f"test: write a column with train, val or test, or {_DRAW}"
                )
            parts.append(_PARTS_OF[bits][0])
        return parts

    def _folders(self, is_all: bool) -> list[str] | None:
        """Parts by the first folders in which images' paths differ, when all folders are parts and one is train.
        `is_all`: nothing else says parts, so folders of held-out images beside others are an error."""
        if self.images is None or not all(self.images):
            return None
        paths = [PurePosixPath(image.replace("\\", "/")).parts[:-1] for image in self.images if image]
        for level in range(max(map(len, paths), default=0)):
            names = {path[level] if level < len(path) else "" for path in paths}
            if len(names) > 1:
                found = {name: named_part(name) for name in names}
                different = set(found.values())
                if None not in different and "train" in different and len(different) > 1:
                    return [part for path in paths if (part := found[path[level]])]
                held = {name for name, part in found.items() if part in ("val", "test")}
                held = held if "train" in different else {name for name in held if name.lower() in PART_OF}
                held |= {name for name in names if MAYBE.search(name.lower())}
                if is_all and held:
                    others = sorted(names - held - {""})
                    beside = f" beside {listed(others)}" if others else " beside others" if "" in names else ""
                    raise UserError(
                        f"{self.where}: images lie in {listed(sorted(held))}{beside}, so some may be held out: write "
                        f"a column with train, val or test, or {_DRAW}"
                    )
                return None
        return None


def _meaning(name: str, values: Sequence[Any], chosen: bool) -> dict[Any, int] | None:
    """The parts that each value allows, as bits; None when a value has no meaning."""
    words = {}
    for value in values:
        if value not in words:
            words[value] = word(value)
            if words[value] not in PART_OF and words[value] not in _TRUTH:
                return None
    if all(each in PART_OF for each in words.values()):
        return {value: _BIT[PART_OF[each]] for value, each in words.items()}
    part = part_if_true(name, chosen)
    if part is None or not all(each in _TRUTH for each in words.values()):
        return None
    return {value: _BIT[part] if _TRUTH[each] else _ANY ^ _BIT[part] for value, each in words.items()}


def _divides(meaning: Mapping[Any, int]) -> bool:
    return _BIT["train"] in meaning.values() and len(set(meaning.values())) > 1


def _and(names: Mapping[str, Any]) -> str:
    return " and ".join(names)
