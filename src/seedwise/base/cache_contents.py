"""Lists and removes what the cache holds; all of it can be made again, and nothing in it is a result.

Removing is safe while others work: whoever decodes or compiles holds a lock, and is passed over; whoever has images
mapped or a kernel loaded keeps them until its end, as the system keeps the content of removed files so long.
"""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from seedwise.base.errors import UserError
from seedwise.base.files import WINDOWS, cache_root

SOURCE = "source.json"
"""File beside decoded images that says what they were decoded from; its time is that of their last use."""
LOCK = "lock"
_DATA = re.compile(r".+-[0-9a-f]{12}")
_OF = {
    "downloads": "archives that were fetched",
    "kernels": "compiled for this machine",
    "audits": "what audits found; reports of later runs repeat it",
    "ray": "trials and data that a cluster's head sent here",
}
"""Folders of the cache besides data sets, with their descriptions."""


@dataclass(frozen=True)
class Stowed:
    """An entry of the cache: one decoded data set, or all of another kind (downloads, compiled kernels)."""

    name: str
    """As `named` takes it and `seedwise cache` prints it."""
    kind: str
    """`data`, or the name of the folder."""
    folder: Path
    source: str
    """The path or name that it was decoded from, or what it is."""
    bytes: int
    """Size on disk, in bytes."""
    used: float
    """When it was last used, in seconds since 1970."""


def note_use(folder: Path, name: str, path: Path | None) -> None:
    """Record beside decoded images their source and the time of use; a read-only cache keeps no record."""
    told = json.dumps({"name": name, "source": name if path is None else str(path)})
    with contextlib.suppress(OSError):
        file = folder / SOURCE
        if not file.is_file() or file.read_text(encoding="utf-8") != told:
            file.write_text(told, encoding="utf-8")
        os.utime(file)


def stowed() -> list[Stowed]:
    """List the entries of the cache, the largest first."""
    root = cache_root()
    if not root.is_dir():
        return []
    found = []
    for folder in sorted(root.iterdir()):
        if not folder.is_dir() or folder.is_symlink() or not (size := _bytes(folder)):
            continue
        if folder.name in _OF:
            newest = max((it.stat().st_mtime for it in _files(folder)), default=0.0)
            found.append(Stowed(folder.name, folder.name, folder, _OF[folder.name], size, newest))
        elif _DATA.fullmatch(folder.name):
            source, used = _source(folder)
            found.append(Stowed(folder.name, "data", folder, source, size, used))
    return sorted(found, key=lambda it: -it.bytes)


def named(text: str) -> Stowed:
    """Find the entry that a name, the start of one, or the path of data means; a UserError for none or several."""
    every = stowed()
    path = os.path.realpath(os.path.expanduser(text))  # noqa: PTH111 -- Path's raises for ~nobody
    exact = [it for it in every if text == it.name or it.source in (text, path)]
    close = exact or [it for it in every if it.kind == "data" and it.name.rpartition("-")[0] == text]
    if len(close) == 1:
        return close[0]
    if close:
        raise UserError(f"{text}: may be {' or '.join(it.name for it in close)}; give one of them")
    raise UserError(f"{text}: not in the cache, {cache_root()}; `seedwise cache ls` lists what is")


def clear(what: Stowed) -> int:
    """Remove an entry and return the bytes freed; a UserError while a process works in it."""
    if what.kind != "data":
        return sum(map(_unlink, list(_files(what.folder)))) + _prune(what.folder)
    with _held(what.folder / LOCK) as is_ours:
        if not is_ours:
            raise UserError(f"{what.name}: a process decodes it right now; wait for it, or stop it")
        for inner in what.folder.iterdir():
            if inner.name != LOCK:
                shutil.rmtree(inner, ignore_errors=True) if inner.is_dir() else inner.unlink(missing_ok=True)
        freed = what.bytes - _bytes(what.folder)
        if not WINDOWS:  # where filelock removes it
            (what.folder / LOCK).unlink(missing_ok=True)  # who waits for it looks whether it is still there
    _prune(what.folder)
    return freed


def _source(folder: Path) -> tuple[str, float]:
    """The path or name that images were decoded from, and when they were last used, in seconds since 1970."""
    try:
        file = folder / SOURCE
        return str(json.loads(file.read_text(encoding="utf-8"))["source"]), file.stat().st_mtime
    except (OSError, ValueError, LookupError, TypeError):  # of an earlier version
        return folder.name.rpartition("-")[0], folder.stat().st_mtime


def _unlink(file: Path) -> int:
    """Remove a file and return its bytes; 0 for a lock held or with files beside it, and for a file being written."""
    lock = file if file.suffix == ".lock" or file.name == LOCK else file.parent / LOCK
    with _held(lock) as is_ours:
        if not is_ours or file.name.startswith("."):
            return 0
        size = file.stat().st_size
        if file != lock or not WINDOWS:
            file.unlink(missing_ok=True)
        return size


@contextlib.contextmanager
def _held(lock: Path) -> Iterator[bool]:
    """Hold a lock, if nobody does; where there is none, or none that may be written, nobody can."""
    import filelock

    with contextlib.ExitStack() as held:
        try:
            if lock.exists():
                held.enter_context(filelock.FileLock(lock, 0, fallback_to_soft=False))
        except filelock.Timeout:
            yield False
            return
        except OSError:
            pass
        yield True


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _bytes(folder: Path) -> int:
    total = 0
    for path in _files(folder):
        with contextlib.suppress(OSError):  # gone meanwhile
            total += path.stat().st_size
    return total


def _prune(folder: Path) -> int:
    """Remove folders that are empty by now; returns 0, for they hold no bytes."""
    for inner in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        with contextlib.suppress(OSError):
            inner.rmdir()
    with contextlib.suppress(OSError):
        folder.rmdir()
    return 0
