"""Doubts that the decoded images themselves raise: one picture under two labels, test images in train, all black."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from seedwise.data.deep import Oddity
from seedwise.data.labels import some
from seedwise.data.naming import within
from seedwise.data.source import Int64Array, UInt8Array, printable

_ROW = re.compile(r"(?P<table>.+?): row \d+: (?P<name>.+)", re.DOTALL)
"""A table's name for an image that lies beside it."""
DARK = 31
"""Level of 255: a set without any brighter pixel is nearly black, one without any as far from white nearly white."""


class Originals(NamedTuple):
    """Original images of one part, in any order: labels int64[n], sha256 uint8[n, 32], and names for messages. `odd`:
    the names of those that something is doubtful about."""

    labels: Int64Array
    identities: UInt8Array
    where: list[str]
    odd: Mapping[Oddity, list[str]]


class Light(NamedTuple):
    """Whether any pixel of a data set is bright, and any dark."""

    has_light: bool
    has_dark: bool


_ODD = {
    Oddity.HOLES: ("image has", "images have", "values that are no numbers, which count as black"),
    Oddity.BURNT: ("image has", "images have", "more than half of the values above white, which data.pixel_range says"),
    Oddity.SEVERAL: ("file holds", "files hold", "several pictures; the first of each is used"),
    Oddity.OURS: ("image is", "images are", "a picture that seedwise drew, and no data"),
}


def doubts(parts: Mapping[str, Originals], root: Path | None, light: Light, *, is_deep: bool) -> tuple[str, ...]:
    """A line for each doubt about the images. `root`: the folder that image names are shown relative to."""
    found = [*_two_labels(parts, root), *_in_train(parts, root)]
    for oddity, (one, many, what) in _ODD.items():
        if names := sorted(_short(where, root) for part in parts.values() for where in part.odd.get(oddity, ())):
            found.append(f"{len(names)} {many if len(names) > 1 else one} {what} ({some(names)})")
    hint = ": data.pixel_range says what is white" if is_deep else ""
    if not light.has_light:
        found.append(f"all images are nearly black: no pixel is brighter than {DARK} of 255{hint}")
    if not light.has_dark:
        found.append(f"all images are nearly white: no pixel is darker than {255 - DARK} of 255{hint}")
    return tuple(found)


def _two_labels(parts: Mapping[str, Originals], root: Path | None) -> list[str]:
    keys = np.concatenate([_keys(part) for part in parts.values()])
    labels = np.concatenate([part.labels for part in parts.values()])
    order = np.lexsort((labels, keys))
    keys, labels = keys[order], labels[order]
    where = [where for part in parts.values() for where in part.where]
    differ = np.flatnonzero((keys[1:] == keys[:-1]) & (labels[1:] != labels[:-1]))
    apart = [_file(where[order[at]]) != _file(where[order[at + 1]]) for at in differ]
    differ = differ[np.array(apart, bool)]  # one file: its table tells it
    if not len(differ):
        return []
    count = len(np.unique(keys[differ]))
    pairs = (sorted(_short(where[order[i]], root) for i in (at, at + 1)) for at in differ.tolist())
    one, other = min(pairs)
    pictures = f"{count} pictures stand" if count > 1 else "1 picture stands"
    return [f"{pictures} under two labels ({one}, {other})"]


def _in_train(parts: Mapping[str, Originals], root: Path | None) -> list[str]:
    """Doubts about held-out images, of parts that the source has, which are also in train."""
    train = parts["train"]
    known = _keys(train)
    order = np.argsort(known, kind="stable")
    lines = []
    for name in ("val", "test"):
        if name not in parts:
            continue
        keys = _keys(parts[name])
        rows = np.flatnonzero(np.isin(keys, known))
        twins = {_file(train.where[row]) for row in np.flatnonzero(np.isin(known, keys[rows])).tolist()}
        apart = [_file(parts[name].where[row]) not in twins for row in rows.tolist()]
        rows = rows[np.array(apart, bool)]  # one file: its table tells it
        if rows.size:
            pairs = (
                (_short(parts[name].where[row], root), _short(train.where[order[at]], root))
                for row, at in zip(
                    rows.tolist(), np.searchsorted(known, keys[rows], sorter=order).tolist(), strict=True
                )
            )
            held_out, twin = min(pairs)
            are = "are" if rows.size > 1 else "is"
            known_too = f"{rows.size} of {len(keys)} {name} images {are} in train too, equal in every pixel"
            lines.append(f"{known_too} ({held_out}, {twin})")
    return lines


def _file(where: str) -> str:
    """Normalized path of an image's file; rows with an image in them count as files."""
    if row := _ROW.fullmatch(where):
        where = os.path.join(os.path.dirname(row["table"]), row["name"])  # noqa: PTH118, PTH120
    return os.path.normpath(where)


def _keys(part: Originals) -> npt.NDArray[np.bytes_]:
    return np.ascontiguousarray(part.identities).view("S32")[:, 0]


def _short(where: str, root: Path | None) -> str:
    return printable(within(where, root))
