"""Reads WebDataset shards: tar files in which an image and its label share a key, `0001.jpg` and `0001.cls`.

The headers of all shards are read once, and where each image lies is kept in the cache. Format:
https://github.com/webdataset/webdataset
"""

import itertools
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from seedwise.base.errors import UserError
from seedwise.data.archive import ArchiveMember, members, reading
from seedwise.data.cache import cache_errors, key_of, place_of
from seedwise.data.config import DataConfig
from seedwise.data.formats import named_as_image
from seedwise.data.labels import clean_name, label_doubts, some
from seedwise.data.located import PLAIN, NumberRows
from seedwise.data.naming import parts_in
from seedwise.data.source import (
    PART_OF,
    PARTS,
    Contents,
    Int64Array,
    Located,
    RawImage,
    SourcePart,
    Survey,
    class_order,
    file_stamp,
    printable,
    raw_bytes,
)
from seedwise.data.tree import names_in

SUFFIX = ".tar"
NAMES = "classnames.txt"
"""File beside the shards whose line i, from 0, names class i."""
LABEL_KEYS = ("label", "cls", "class")
"""Keys of a JSON member that hold the label."""
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")
_PEEKED = 8
"""Members that show whether a tar is a shard."""


def shards_of(path: Path) -> list[Path] | None:
    """The shards that a path names: a pattern `train-{000000..000009}.tar`, a shard, or a folder of shards, also in
    folders called like parts; None where it names none."""
    if _BRACES.search(path.name):
        return [path.with_name(name) for name in _expanded(path.name)]
    # os.path's are also False for names too long or otherwise impossible, where Path's raise
    if os.path.isfile(path):  # noqa: PTH113
        return [path] if path.name.lower().endswith(SUFFIX) and _is_shard(path) else None
    if not os.path.isdir(path):  # noqa: PTH112
        return None
    inside = names_in(path)
    folders = [name for name in inside if name.lower() in PART_OF and (path / name).is_dir()]
    below = [path / folder / name for folder in folders for name in names_in(path / folder)]
    tars = [path / name for name in inside if name.lower().endswith(SUFFIX)]
    found = tars or [it for it in below if it.name.lower().endswith(SUFFIX)]
    return found if found and _is_shard(found[0]) else None


def _expanded(name: str) -> list[str]:
    """The names that a pattern with `{000..009}` stands for."""
    if (match := _BRACES.search(name)) is None:
        return [name]
    first, last = match[1], match[2]
    numbers = (str(number).zfill(len(first)) for number in range(int(first), int(last) + 1))
    return [name[: match.start()] + number + rest for number in numbers for rest in _expanded(name[match.end() :])]


def _is_shard(path: Path) -> bool:
    """Whether the first members of a tar are images with labels of the same key beside them."""
    try:
        names = [member.name for member in itertools.islice(members(path), _PEEKED)]
    except (UserError, OSError):
        return False
    images = {_key(name) for name in names if named_as_image(name)}
    return bool(images & {_key(name) for name in names if _ending(name) in ("cls", "json", "txt")})


def _key(name: str) -> str:
    folder, _, file = name.rpartition("/")
    return f"{folder}/{file.partition('.')[0]}"


def _ending(name: str) -> str:
    return name.rpartition("/")[2].partition(".")[2].lower()


@dataclass(frozen=True)
class _Index:
    """All labelled images of all shards, in order. `rows`: int64[n, 4], shard, offset, length, label; `names`: the
    members' names, a line each; `labels`: the different labels."""

    rows: Int64Array
    names: bytes
    labels: list[str]


@dataclass(frozen=True)
class WebDatasetSource:
    """Tar shards of images with labels; `path`: their folder, the one shard, or the pattern of their names."""

    name: str
    path: Path
    files: tuple[Path, ...]
    config: DataConfig

    def stamp(self) -> list[str]:
        """Path, size and time of every shard, and of the class names."""
        names = self._names_file
        return [*map(file_stamp, self.files), *([file_stamp(names)] if names.is_file() else [])]

    def read(self) -> Contents:
        """Read the labels, from the kept index where there is one; a UserError for an image without a label."""
        index = self._index()
        named = self._class_names(index.labels)
        shard_parts = self._parts()
        of_row = np.array([PARTS.index(part) for part in shard_parts], np.int64)[index.rows[:, 0]]
        rows = {part: np.flatnonzero(of_row == at) for at, part in enumerate(PARTS) if (of_row == at).any()}
        if "train" not in rows:
            raise UserError(
                f"{self.path}: no shard is called train ({some(it.name for it in self.files)}): rename them"
            )
        trained = np.unique(index.rows[rows["train"], 3])
        classes = class_order(named[label] for label in trained.tolist())
        number = {name: at for at, name in enumerate(classes)}
        to = np.array([number.get(name, -1) for name in named], np.int64)
        parts = {}
        for part, chosen in rows.items():
            labels = to[index.rows[chosen, 3]]
            if (labels < 0).any():
                unknown = named[int(index.rows[chosen[np.flatnonzero(labels < 0)[0]], 3])]
                raise UserError(
                    f"{self.path}: class '{printable(unknown)}' is in {part} and not in train: add it there"
                )
            places = partial(self._places, index, chosen)
            parts[part] = SourcePart(labels, partial(_images, places), places)
        counts = np.bincount(parts["train"].labels, minlength=len(classes)).tolist()
        survey = Survey(doubts=label_doubts(tuple(classes), counts, join=self.config.join_spellings))
        return Contents(tuple(classes), parts, survey=survey)

    @property
    def _names_file(self) -> Path:
        folder = self.path if self.path.is_dir() else self.path.parent
        return folder / NAMES

    def _parts(self) -> list[str]:
        """Each shard's part, by the words of its name and folder; all are trained on where none says one."""
        root = self.path if self.path.is_dir() else self.path.parent
        said = [parts_in(str(file.relative_to(root).with_suffix(""))) for file in self.files]
        for file, parts in zip(self.files, said, strict=True):
            if len(parts) > 1:
                raise UserError(f"{file}: its name says both {' and '.join(sorted(parts))}: rename it")
        return [next(iter(parts), "train") for parts in said]

    def _class_names(self, labels: list[str]) -> list[str]:
        """What each label is called: by `classnames.txt` where labels are whole numbers and it is there."""
        file = self._names_file
        if not file.is_file() or not all(label.isdecimal() for label in labels):
            return labels
        names = [clean_name(line) for line in file.read_text(encoding="utf-8").splitlines()]
        if missing := [label for label in labels if int(label) >= len(names) or not names[int(label)]]:
            raise UserError(f"{file}: has {len(names)} lines, and no name for class {missing[0]}: add it")
        return [names[int(label)] for label in labels]

    def _places(self, index: _Index, chosen: Int64Array) -> Iterator[Located]:
        names = index.names.split(b"\n")
        for row in chosen.tolist():
            shard, offset, length, _label = index.rows[row].tolist()
            file = str(self.files[shard])
            name = names[row].decode("utf-8", "surrogateescape")
            yield Located(f"{file}: {name}", file, offset, length, PLAIN, length)

    def _index(self) -> _Index:
        """The index in the cache, or a new one from the headers of all shards."""
        kept = place_of(self) / f"tars-{key_of(self, self.config)}.npz"
        try:
            with np.load(kept) as found:
                labels = found["labels"].tobytes().decode("utf-8", "surrogateescape").split("\n")
                return _Index(found["rows"], found["names"].tobytes(), labels)
        except (OSError, ValueError, KeyError, EOFError):
            pass
        index = self._listed()
        text = raw_bytes("\n".join(index.labels))
        with cache_errors(kept.parent):
            kept.parent.mkdir(parents=True, exist_ok=True)
            writing = kept.with_name(f"{os.getpid()}-{kept.name}")
            names, labels_text = np.frombuffer(index.names, np.uint8), np.frombuffer(text, np.uint8)
            np.savez(writing, rows=index.rows, names=names, labels=labels_text)
            writing.replace(kept)
        return index

    def _listed(self) -> _Index:
        rows, names, labels = NumberRows(4), bytearray(), dict[str, int]()
        for shard, file in enumerate(self.files):
            for _, group in itertools.groupby(_members(file), key=lambda it: _key(it.name)):
                image, label = _read_group(file, group)
                if image is None or image.place is None:
                    continue
                rows.add(shard, image.place[0], image.size, labels.setdefault(label, len(labels)))
                names += raw_bytes(image.name.replace("\n", " ")) + b"\n"
        if not len(rows):
            raise UserError(f"{self.path}: no image with a label in {some(it.name for it in self.files)}")
        return _Index(rows.array(), bytes(names[:-1]), list(labels))


def _members(file: Path) -> Iterator[ArchiveMember]:
    for member in members(file):
        if member.place is None:
            raise UserError(f"{file}: is compressed: images are compressed already, so unpack it to a plain tar")
        yield member


def _read_group(file: Path, group: Iterator[ArchiveMember]) -> tuple[ArchiveMember | None, str]:
    """The image of a key, None where it has none, and its label: `.cls`, else a JSON's label, else `.txt`."""
    image, found = None, dict[str, str]()
    for member in group:
        ending = _ending(member.name).rpartition(".")[2]
        if named_as_image(member.name):
            image = image or member
        elif ending in _LABELS:
            with reading(file):
                text = member.file.read().decode("utf-8", "replace")
            if (label := _LABELS[ending](text)) is not None:
                found[ending] = clean_name(label)
    label = next((found[ending] for ending in _LABELS if found.get(ending)), "")
    if image is not None and not label:
        raise UserError(
            f"{file}: {printable(image.name)} has no label beside it: add a member {_key(image.name).strip('/')}.cls"
        )
    return image, label


def _of_json(text: str) -> str | None:
    try:
        read = json.loads(text)
    except ValueError:
        return None
    value = next((read[key] for key in LABEL_KEYS if key in read), None) if isinstance(read, dict) else None
    return str(value) if isinstance(value, str | int) else None


_LABELS: dict[str, Callable[[str], str | None]] = {"cls": str, "json": _of_json, "txt": str}
"""How the label is read from each kind of member, the best first."""


def _images(places: Callable[[], Iterator[Located]]) -> Iterator[RawImage]:
    """Read images in the order of their shards."""
    for path, group in itertools.groupby(places(), key=lambda it: it.file):
        with open(path, "rb") as file:  # noqa: PTH123
            for it in group:
                file.seek(it.offset)
                yield RawImage(it.where, file.read(it.length))
