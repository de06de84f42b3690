"""Decoded images on disk, shared by all processes: `<root>/<name>-<path hash>/<stamp hash>-<short side>/`.

A start computes the stamp of the source (paths, sizes, times), finds the folder, and maps its files; no pixel is read.
Each image's checksum is compared when a process first gathers it (see storage). The first start decodes under a file
lock, so that others wait for it instead of doing the same.
"""

import errno
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seedwise.base import machine
from seedwise.base.cache_contents import LOCK, note_use
from seedwise.base.errors import UserError
from seedwise.base.files import CACHE_VARIABLE, WINDOWS, cache_root
from seedwise.data.build import INDEX_COLUMNS, Built, build
from seedwise.data.build_listed import build_listed
from seedwise.data.config import DataConfig, Order, Storage
from seedwise.data.decoder import fit_of
from seedwise.data.deep import Range
from seedwise.data.encoded import Decoding, EncodedImages
from seedwise.data.originals import Prints
from seedwise.data.planning import order_of, planned
from seedwise.data.source import Int64Array, PassedOver, Progress, Source, Survey, raw_bytes
from seedwise.data.storage import Names, StoredImages, map_images

FORMAT = 8
"""Version of the cache's files; raise it when their content changes."""
SUFFIX_OF = {"decoded": "", "encoded": "-encoded"}
"""How the folders of each kind of storage end."""
POLL_SECONDS = 0.2
"""Seconds between attempts to take a lock that another process holds; a stop is noticed as soon."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredPart:
    """One decoded part: labels int64[n], n images, their names, and hashes of their originals, uint64[n], None where
    these were not looked at."""

    labels: Int64Array
    images: StoredImages
    names: Names
    originals: Prints | None


@dataclass(frozen=True)
class DecodedSource:
    """A decoded source on disk; `short_side` in pixels. `largest_short_side`: of the originals, which decides what
    other requests it can serve. `superclass_of`: int64[k] for k classes. `pixel_range`: black and white in images of
    more than 8 bits, None without any. `disk_bytes`: size of the cache folder."""

    fingerprint: str
    originals: str
    classes: tuple[str, ...]
    superclasses: tuple[str, ...] | None
    superclass_of: Int64Array | None
    short_side: int
    largest_short_side: int
    parts: dict[str, StoredPart]
    survey: Survey
    pixel_range: Range | None
    storage: Storage = "decoded"
    order: Order = "content"
    disk_bytes: int = 0


class Damaged(Exception):
    """The files of a cache folder are not those that were written."""


def open_cached(
    source: Source,
    config: DataConfig,
    short_side: int,
    *,
    progress: Progress | None = None,
    threads: int | None = None,
    least_classes: int = 2,
) -> DecodedSource:
    """Open the decoded source, decoding it if need be, at `short_side` pixels or that of its largest image; or the
    index of the encoded one (see storing). A UserError for fewer than `least_classes` classes."""
    folder, report = place_of(source), progress or silent
    stamp = source.stamp()
    order = order_of(stamp, config)
    asked = Asked(source, config, short_side, order, _keys(stamp, config, order))
    del stamp  # a line a file
    kinds: tuple[Storage, ...] = ("decoded", "encoded") if config.storage is None else (config.storage,)
    stored = next((found for kind in kinds if (found := asked.find(folder, kind)) is not None), None)
    if stored is None:
        kind = kinds[0] if len(kinds) == 1 else planned(source, config, short_side).storage
        make = build if order == "content" else build_listed

        def build_in(place: Path) -> Built:
            return make(source, config, short_side, place, report, threads or machine.cores(), least_classes, kind)

        with cache_errors(folder), locked_cache(folder, f"decodes {source.name}", report):
            # another process may have made it meanwhile
            stored = asked.find(folder, kind) or _make(build_in, folder, asked.keys[0], kind, config)
    note_use(folder, source.name, source.path)
    return stored


class Asked(NamedTuple):
    """What is looked for in the cache. `keys`: the first is the one that it would be made under."""

    source: Source
    config: DataConfig
    short_side: int
    order: Order
    keys: tuple[str, ...]

    def find(self, folder: Path, kind: Storage) -> DecodedSource | None:
        """The source in this kind of storage, where it is there."""
        given, own = self.config.pixel_range, self.keys[0]
        for key in self.keys[1:]:
            # images of 8 bits are the same with any range, and so are others when it is the one that was guessed
            stored = _find(folder, key, self.short_side, kind, self.config)
            if stored is not None and stored.pixel_range in (None, given):
                return stored
        return _find(folder, own, self.short_side, kind, self.config)


def _keys(stamp: list[str], config: DataConfig, order: Order) -> tuple[str, ...]:
    lines = [*_lines(stamp, config), *(["order listing"] if order == "listing" else [])]
    key = _key(lines)
    return (key,) if config.pixel_range is None else (_key([*lines, f"pixel_range {config.pixel_range}"]), key)


def place_of(source: Source) -> Path:
    """The cache folder for all decodings of a source."""
    place = hashlib.sha256(raw_bytes(f"{source.path}")).hexdigest()[:12]
    return cache_root() / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', source.name)[:40]}-{place}"


def key_of(source: Source, config: DataConfig) -> str:
    """Hash for the name of a cached file, which changes with the source and with what is read of it."""
    return _key(_lines(source.stamp(), config))


def _lines(stamp: list[str], config: DataConfig) -> list[str]:
    return [f"format {FORMAT}", *config.reading(), *stamp]


def _key(stamp: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for number, line in enumerate(stamp):  # joined they would be another 200 MB of a million files
        digest.update(raw_bytes(f"\n{line}" if number else line))
    return digest.hexdigest()[:16]


@contextmanager
def cache_errors(folder: Path) -> Iterator[None]:
    """Turn the disk's errors into a UserError of one line; sources report their own files themselves."""
    try:
        yield
    except OSError as error:
        free = "free some space, or " if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        file = next((place for place in folder.parents if os.path.isfile(place)), None)  # noqa: PTH113 -- as in find.py
        reason = error.strerror if file is None else f"{file} is a file"
        raise UserError(
            f"{folder}: images cannot be kept there ({reason}): {free}set {CACHE_VARIABLE} to a folder that can be "
            "written"
        ) from error


def silent(_label: str, _done: int, _total: int) -> None:
    """A progress callback that ignores its calls."""


def _find(folder: Path, key: str, short_side: int, kind: Storage, config: DataConfig) -> DecodedSource | None:
    for candidate in sorted(folder.glob(f"{key}-*")):
        if candidate.name.endswith(SUFFIX_OF["encoded"]) != (kind == "encoded"):
            continue
        try:
            stored = load(candidate, config.workers)
        except Damaged:
            continue
        if min(short_side, stored.largest_short_side) == stored.short_side:
            return stored
    return None


def _make(
    build_in: Callable[[Path], Built], folder: Path, key: str, kind: Storage, config: DataConfig
) -> DecodedSource:
    working = folder / "building"
    shutil.rmtree(working, ignore_errors=True)  # left by a process that was killed; nobody else builds under the lock
    working.mkdir()
    try:
        built = build_in(working)
        _write_meta(working, built, kind)
        final = folder / f"{key}-{built.short_side}{SUFFIX_OF[kind]}"
        if final.exists():  # a sound one would have been found
            _log.warning("%s was damaged: the images have been decoded again", final)
        for old in folder.iterdir():
            # what an older state of the source left, or damage; processes that have it mapped keep their pages
            if old.is_dir() and old != working and (old == final or not old.name.startswith(f"{key}-")):
                shutil.rmtree(old, ignore_errors=WINDOWS)  # which keeps what is mapped
        if final.exists():
            raise UserError(f"{final}: damaged, and a process still reads it; end that one, and give the command again")
        working.rename(final)
    finally:
        shutil.rmtree(working, ignore_errors=True)
    return load(final, config.workers)


@contextmanager
def locked_cache(folder: Path, doing: str, report: Progress) -> Iterator[None]:
    """Makes the folder and keeps other processes out of it; they wait for whoever `doing`, "decodes cats", is."""
    import filelock

    def waits() -> bool:
        report(f"waiting for another process that {doing}", 0, 1)  # raises where this one is to stop
        return False

    with ExitStack() as held:
        while True:
            folder.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # `seedwise cache clear` removed the folder meanwhile
                lock = filelock.FileLock(folder / LOCK, fallback_to_soft=False)
                held.enter_context(lock.acquire(poll_interval=POLL_SECONDS, cancel_check=waits))
                break
        yield


def _write_meta(folder: Path, built: Built, kind: Storage) -> None:
    contents = built.contents
    body: dict[str, Any] = {
        "fingerprint": built.fingerprint,
        "originals": built.originals,
        "classes": contents.classes,
        "superclasses": contents.superclasses,
        "superclass_of": None if contents.superclass_of is None else contents.superclass_of.tolist(),
        "short_side": built.short_side,
        "largest_short_side": built.largest_short_side,
        "pixel_range": built.pixel_range,
        "storage": kind,
        "order": built.order,
        "fit": built.fit,
        "survey": asdict(contents.survey),
        "index_sha256": {part: _sha256((folder / f"{part}.index").read_bytes()) for part in contents.parts},
        "names_sha256": {part: Names(folder / f"{part}.names").sha256 for part in contents.parts},
        "originals_sha256": {part: _sha256((folder / f"{part}.originals").read_bytes()) for part in contents.parts},
    }
    with (folder / "meta.json").open("w", encoding="utf-8") as file:
        json.dump({"sha256": _sha256(json.dumps(body).encode()), "body": body}, file)
        file.flush()
        os.fsync(file.fileno())


def load(folder: Path, workers: int | None = None) -> DecodedSource:
    """Map a cache folder's files; raises `Damaged` for other files than were written. Pixels are checked later.
    `workers`: processes to decode with."""
    try:
        meta = json.loads((folder / "meta.json").read_bytes())
        body = meta["body"]
        if _sha256(json.dumps(body).encode()) != meta["sha256"]:
            raise Damaged("meta.json has changed")
        digests = {kind: body[f"{kind}_sha256"] for kind in ("index", "names", "originals")}
        # decoded before there was a choice
        storage, order = body.get("storage", "decoded"), body.get("order", "content")
        read = {
            name: _read_part(folder, name, {kind: it[name] for kind, it in digests.items()}) for name in _names(body)
        }
        counts = {name: len(it.rows) for name, it in read.items()}
        decoding = Decoding(folder, counts, fit_of(body["fit"]), workers) if storage == "encoded" else None
        parts = {name: _stored_part(folder, name, it, order, decoding) for name, it in read.items()}
        survey = _survey(body["survey"])
        pixel_range = body["pixel_range"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{error}") from error
    superclasses, superclass_of = body["superclasses"], body["superclass_of"]
    return DecodedSource(
        fingerprint=body["fingerprint"],
        originals=body["originals"],
        classes=tuple(body["classes"]),
        superclasses=None if superclasses is None else tuple(superclasses),
        superclass_of=None if superclass_of is None else np.array(superclass_of, np.int64),
        short_side=body["short_side"],
        largest_short_side=body["largest_short_side"],
        parts=parts,
        survey=survey,
        pixel_range=None if pixel_range is None else (pixel_range[0], pixel_range[1]),
        storage=storage,
        order=order,
        disk_bytes=sum(file.stat().st_size for file in folder.iterdir()),
    )


def _names(body: dict[str, Any]) -> list[str]:
    return list(body["index_sha256"])


def _survey(body: dict[str, Any]) -> Survey:
    passed_over = (PassedOver(**{**each, "examples": tuple(each["examples"])}) for each in body["passed_over"])
    return Survey(tuple(passed_over), tuple(body["doubts"]))


class _ReadPart(NamedTuple):
    rows: Int64Array
    names: Names
    prints: Prints


def _read_part(folder: Path, part: str, written: dict[str, str]) -> _ReadPart:
    raw, names = (folder / f"{part}.index").read_bytes(), Names(folder / f"{part}.names")
    prints = (folder / f"{part}.originals").read_bytes()
    found = {"index": _sha256(raw), "names": names.sha256, "originals": _sha256(prints)}
    if changed := [name for name, digest in found.items() if digest != written[name]]:
        raise Damaged(f"{part}.{changed[0]} has changed")
    return _ReadPart(np.frombuffer(raw, np.int64).reshape(-1, INDEX_COLUMNS), names, np.frombuffer(prints, np.uint64))


def _stored_part(folder: Path, part: str, read: _ReadPart, order: Order, decoding: Decoding | None) -> StoredPart:
    index = read.rows
    labels, sizes, slots, crcs = index[:, 0].copy(), index[:, 1:3].copy(), index[:, 3].copy(), index[:, 4].copy()
    prints = read.prints if order == "content" else None
    if decoding is not None:
        images: StoredImages = EncodedImages(decoding, part, slots, sizes if order == "content" else None)
        return StoredPart(labels, images, read.names, prints)
    pixels = folder / f"{part}.pixels"
    expected = int(sizes.prod(axis=1).sum()) * 3
    if (size := pixels.stat().st_size) != expected:
        raise Damaged(f"{pixels.name} has {size} bytes instead of {expected}")
    # by the listing alone nobody knows that all images have one size, and both storages have to say the same
    images = map_images(pixels, sizes, slots, crcs, may_be_alike=order == "content")
    return StoredPart(labels, images, read.names, prints)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
