"""Finds the Parquet files in a folder, and the part of each: shards in the Hugging Face layout, or other names."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise, takewhile
from pathlib import Path

from seedwise.base.errors import UserError
from seedwise.data import numbered
from seedwise.data.formats import named_as_image
from seedwise.data.hubcard import HubCard, read_card
from seedwise.data.labels import some
from seedwise.data.naming import exact_part, parts_in
from seedwise.data.source import PART_OF, Survey, Tally
from seedwise.data.table import other_parts
from seedwise.data.tree import entries, folders_in, is_hidden, names_in

SUFFIX = ".parquet"

_SHARD = re.compile(
    r"((?P<split>.+?)[-_. ])??(?:(part|shard|chunk|file)[-_. ]?)?"
    r"(?P<index>\d+)[-_. ]?of[-_. ]?(?P<count>\d+)([-_.][0-9a-z]+)*\.parquet",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Files:
    """Parquet files to read, in order, with the part that each one's name says (None: no part). `survey`: about the
    files not used. `beside`: names of those that hold data, for the stamp. `card`: of a README.md."""

    parts: dict[Path, str | None]
    survey: Survey = field(default_factory=Survey)
    beside: tuple[str, ...] = ()
    card: HubCard = field(default_factory=HubCard)


@dataclass(frozen=True)
class _Shard:
    file: Path
    split: str
    index: int
    total: str

    @property
    def count(self) -> int:
        return int(self.total)

    @property
    def group(self) -> str:
        return f"{self.split}-*-of-{self.total}{SUFFIX}".removeprefix("-")


def shard_folder(folder: Path) -> Path | None:
    """The folder of Parquet files: itself, `data/` in it as in a clone from the hub, or one with `train/`, `test/`.

    Files that are not named like shards may be somebody's notes beside folders of images, so then they do not count.
    """
    for candidate in (folder, folder / "data"):
        if not candidate.is_dir():
            continue
        files = _parquet_files(candidate)
        has_shards = any(_SHARD.fullmatch(file.name) for file in files)
        if has_shards or (files and (files[0].parent != candidate or not folders_in(candidate))):
            return candidate
    return None


def config_folder(folder: Path) -> Path | None:
    """The folder of Parquet files in a clone from the hub: `data/`, or that of a configuration, `plain_text/`.

    Several configurations are several data sets, so they are a UserError.
    """
    if not folder.is_dir():
        return None
    own = shard_folder(folder)
    if own == folder:
        return own
    inside = folders_in(folder)
    found = [below for below in inside if _is_config(below)]
    if own is not None and own not in found:
        found.append(own)
    if len(found) > 1:
        raise UserError(
            f"{folder}: holds {len(found)} data sets, {some(f'{it.name}/' for it in found)}: give {found[0]}"
        )
    if found and any(_has_image(below) for below in inside if below not in found):
        return own  # class folders, which say themselves that one of them has no images
    return found[0] if found else config_folder(folder / "data")


def _is_config(folder: Path) -> bool:
    """Whether it holds Parquet files with parts in their names; stops at an image, which class folders are full of."""
    if folder.name.lower() in PART_OF:
        return False
    with entries(folder) as found:
        for entry in found:
            if named_as_image(entry.name):
                return False
            if is_hidden(entry.name):
                continue
            name, suffix = os.path.splitext(entry.name.lower())  # noqa: PTH122
            if suffix == SUFFIX and (name in PART_OF or _SHARD.fullmatch(entry.name)):
                return True
            if name in PART_OF and entry.is_dir() and _parquets(Path(entry.path)):
                return True
    return False


def _has_image(folder: Path) -> bool:
    with entries(folder) as found:
        return any(named_as_image(entry.name) for entry in found)


def _parquet_files(folder: Path) -> list[Path]:
    """Parquet files, sorted; those in folders named after parts, unless files in the folder itself name parts."""
    own = _parquets(folder)
    inside = [file for part in folders_in(folder) if part.name.lower() in PART_OF for file in _parquets(part)]
    saying = next((file for file in own if _part_alone(file)), None)
    if saying and inside:
        raise UserError(
            f"{folder}: both {saying.name} and {inside[0].parent.name}/ are there: keep one of the two sets"
        )
    return inside or own


def _parquets(folder: Path) -> list[Path]:
    return [folder / name for name in names_in(folder) if name.lower().endswith(SUFFIX)]


def find_files(path: Path, root: Path | None = None) -> Files:
    """Find a single file, which says no part, or those of a `shard_folder`, found in the given folder `root`."""
    if not path.is_dir():
        shard = _shard(path)
        if shard is not None and shard.count > 1:
            raise UserError(
                f"{path}: is 1 of {shard.count} files of a whole: give the folder {path.parent}, "
                "or rename the file to use it alone"
            )
        said = other_parts(path, (SUFFIX,), _part_alone)
        if not said and (others := numbered.beside(path, _parquets(path.parent))):
            said = (f"only {path.name} is read, and not {some(others)} beside it",)
        return Files({path: None}, Survey(doubts=said))
    files = _parquet_files(path)
    tally, doubts = Tally(), []
    root = root or path
    card = read_card(root, files)
    files = _without_other_splits(files, card, tally)
    shards = {file: shard for file in files if (shard := _shard(file)) is not None}
    if shards:
        parts = _parts_of_shards(
            path, list(shards.values()), [file for file in files if file not in shards], tally, card
        )
    else:
        parts = {file: _said(file, _part_of_path(file.relative_to(path)), card) for file in files}
        doubts = _doubts(path, {file: part for file, part in parts.items() if file not in card.splits})
    doubts += numbered.demand_all(path, [file for file in parts if file not in shards])
    if None in parts.values() and len(set(parts.values())) > 1:
        unclear = next(file for file, part in parts.items() if part is None)
        raise UserError(f"{unclear}: its name says no part, but others there do: add train, val or test to it")
    if "train" not in parts.values() and None not in parts.values():
        there = some(f"{group}" for group in dict.fromkeys(it.group for it in shards.values())) or some(
            it.name for it in files
        )
        raise UserError(f"{path}: no train-*-of-*.parquet among the Parquet files ({there}): add the training split")
    beside = _tally_beside(path, parts, tally, card)
    for level in (path, *path.parents)[: len(path.relative_to(root).parts)]:
        beside += _tally_beside(level.parent, [level], tally, card)
    return Files(parts, Survey(tally.passed_over(), tuple(doubts)), beside, card)


def _without_other_splits(files: list[Path], card: HubCard, tally: Tally) -> list[Path]:
    """Pass over files of splits that the card doesn't call parts, unless they are all there is."""
    others = {file for file, split in card.splits.items() if exact_part(split) is None}
    if len(others) in (0, len(files)):
        return files
    for file in sorted(others):
        tally.add("files", f"split {card.splits[file]}", file.name)
    return [file for file in files if file not in others]


def _said(file: Path, part: str | None, card: HubCard) -> str | None:
    """The part that a file's name says, or else the card."""
    said = exact_part(card.splits.get(file, ""))
    if said and part and said != part:
        raise UserError(f"{file}: its name says {part}, and {card.file} says {said}: mend one of them")
    return said or part


def _part_alone(file: Path) -> str | None:
    shard = _shard(file)
    return PART_OF.get((file.stem if shard is None else shard.split).lower())


def _shard(file: Path) -> _Shard | None:
    match = _SHARD.fullmatch(file.name)
    return None if match is None else _Shard(file, match["split"] or "", int(match["index"]), match["count"])


def _parts_of_shards(
    folder: Path, shards: list[_Shard], others: list[Path], tally: Tally, card: HubCard
) -> dict[Path, str | None]:
    """The part of each shard; shards of unknown splits are passed over, unless they are all there is."""
    prefix = _common_prefix({shard.split for shard in shards})
    named = {shard.file: _said(shard.file, _part_of_shard(folder, shard, prefix), card) for shard in shards}
    known = [shard for shard in shards if named[shard.file] is not None]
    if not known and len({shard.split.lower() for shard in shards}) == 1:
        known = shards
    _demand_complete(folder, known, named)
    taken = {shard.file for shard in known}
    for shard in shards:
        if shard.file not in taken:
            tally.add("files", f"split {shard.split}", shard.file.name)
    parts: dict[Path, str | None] = {shard.file: named[shard.file] for shard in known}
    for file in others:
        part = _said(file, PART_OF.get(file.stem.lower()), card)
        if part is None:
            tally.add("files", "not named like the shards", file.name)
        elif part in parts.values():
            group = next(shard.group for shard in known if named[shard.file] == part)
            raise UserError(f"{folder}: both {group} and {file.name} are there: keep one of the two sets")
        else:
            parts[file] = part
    return dict(sorted(parts.items()))


def _common_prefix(splits: Iterable[str]) -> str:
    """Words that all splits begin with: a data set's name (`cifar10-train`, `cifar10-test`)."""
    words = [re.split(r"(?<=[-_.])", split.lower())[:-1] for split in splits]
    return "".join(same[0] for same in takewhile(lambda same: len(set(same)) == 1, zip(*words, strict=False)))


def _part_of_shard(folder: Path, shard: _Shard, prefix: str) -> str | None:
    by_name = PART_OF.get(shard.split.lower()) or PART_OF.get(shard.split.lower()[len(prefix) :])
    by_folder = None if shard.file.parent == folder else PART_OF.get(shard.file.parent.name.lower())
    if by_name and by_folder and by_name != by_folder:
        raise UserError(f"{shard.file}: its name says both {by_folder} and {by_name}: rename it")
    return by_name or by_folder


def _demand_complete(folder: Path, shards: Iterable[_Shard], part_of: dict[Path, str | None]) -> None:
    """Raise a UserError for a missing shard: half a training set is another training set."""
    group_of: dict[str | None, str] = {}
    there: dict[str | None, list[_Shard]] = {}
    for shard in shards:
        part = part_of[shard.file]
        if group_of.setdefault(part, shard.group) != shard.group:
            raise UserError(f"{folder}: both {group_of[part]} and {shard.group} are there: keep one of the two sets")
        there.setdefault(part, []).append(shard)
    for part, group in group_of.items():
        indices, count = sorted(shard.index for shard in there[part]), there[part][0].count
        twice = next((a for a, b in pairwise(indices) if a == b), None)
        if twice is not None:
            same = some(shard.file.name for shard in there[part] if shard.index == twice)
            raise UserError(f"{folder}: {same} are the same shard of a set: keep one")
        if len(indices) != count:
            raise UserError(f"{folder / group}: {len(indices)} of {count} files are there: copy all of them")
        if indices[-1] - indices[0] >= count or indices[0] > 1:
            raise UserError(f"{folder / group}: their numbers are not 0 to {count - 1}: copy all of them again")


def _part_of_path(file: Path) -> str | None:
    """The part whose name is a word of a file's path (`cifar_train.parquet`, `test/0000.parquet`)."""
    parts = parts_in(str(file.with_suffix("")))
    if len(parts) > 1:
        raise UserError(f"{file}: its name says both {' and '.join(sorted(parts))}: rename it")
    return parts.pop() if parts else None


def _words(file: Path) -> tuple[str, ...]:
    return tuple(word for word in re.split(r"[^a-z]+", str(file.with_suffix("")).lower()) if word)


def _doubts(folder: Path, parts: dict[Path, str | None]) -> list[str]:
    """Doubts about files of one part with different names, which may be different things (`train`, `train_extra`)."""
    doubts = []
    for part in dict.fromkeys(part for part in parts.values() if part):
        named = {_words(file.relative_to(folder)): file for file, it in parts.items() if it == part}
        if len(named) > 1:
            doubts.append(
                f"{part} is read from {some(str(file.relative_to(folder)) for file in named.values())} together"
            )
    return doubts


def _tally_beside(folder: Path, used: Iterable[Path], tally: Tally, card: HubCard) -> tuple[str, ...]:
    """Count what else lies in a folder; Parquet files beside others are counted where their names are read."""
    tops = {file.relative_to(folder).parts[0] for file in used}
    has_files = any(name.lower().endswith(SUFFIX) for name in tops)
    beside = [name for name in names_in(folder) if name not in tops and folder / name != card.file]
    data = []
    for name in beside:
        parquets = _parquets(folder / name) if (folder / name).is_dir() else []
        if name.lower().endswith(SUFFIX):
            data.append(name)
            if not has_files:
                tally.add("files", f"beside {some(f'{top}/' for top in sorted(tops))}", name)
        elif parquets:
            data.append(name)
            tally.add("files", f"in {name}/", f"{name}/{parquets[0].name}", len(parquets))
        elif not (folder / name).is_dir():
            tally.add("files", Path(name).suffix.lower() or "no suffix", name)
        else:
            tally.add("folders", "beside Parquet files", name)
            data += [name] if _has_image(folder / name) else []
    return tuple(data)
