"""Files that are whole or absent: atomic writes, checksums, and a lock that keeps a folder's writers alone."""

import contextlib
import errno
import hashlib
import json
import os
import platform
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seedwise.base.errors import UserError

if TYPE_CHECKING:
    from PIL.PngImagePlugin import PngInfo

LOCK = ".lock"
WINDOWS = os.name == "nt"
SOFTWARE = "seedwise"
"""The `Software` in PNG files drawn by seedwise, by which they are recognized among images."""
OUTPUT_MARK = ".seedwise"
"""A file that marks a folder of pictures as ours, so that it is never taken for data."""
_LOOK_SECONDS, _POLL_SECONDS = 0.1, 0.02
"""How long a writer tries to get a lock: who only looks, or clears the cache, holds it for a moment."""
_PAUSES = (0.01, 0.03, 0.1, 0.3, 1.0)
"""Seconds between tries to rename on Windows, where a virus scanner or an indexer opens each new file for a moment."""
_LEFTOVERS = (".*.tmp", ".tmp" + 6 * "[0-9A-Za-z]")
"""Temporary files that killed writers leave: ours, and those of safetensors."""
_made: set[Path] = set()
"""Absolute folders that this process made, which `discard` may remove."""

CACHE_VARIABLE = "SEEDWISE_CACHE"


class FolderHeld(UserError):
    """Another process holds a folder's lock."""


class Unwritable(UserError):
    """A file or folder can't be written."""

    def __init__(self, path: Path, reason: str, advice: str) -> None:
        super().__init__(f"{path}: can't be written: {reason}; {advice}")
        self.reason, self.advice = reason, advice


def cache_root() -> Path:
    """SEEDWISE_CACHE, or `~/.cache/seedwise` where it is, or the system's place for caches (XDG_CACHE_HOME).

    Holds decoded images, downloads, compiled kernels (see `stowed`).
    """
    if given := os.environ.get(CACHE_VARIABLE):
        return Path(given).expanduser()
    earlier = Path("~/.cache/seedwise").expanduser()
    if earlier.is_dir():
        return earlier
    import platformdirs

    return platformdirs.user_cache_path("seedwise", appauthor=False)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; on success it is synced and renamed over `path`.

    After a kill at any moment `path` holds its old content or its new one, never a part.
    """
    temporary = _temporary(path, path.parent, f".{path.name}.")
    try:
        yield temporary
        _sync(temporary)
        temporary.chmod(0o666 & ~_umask())
        _rename(temporary, path)
        if not WINDOWS:  # which opens no folders
            _sync(path.parent)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        with contextlib.suppress(OSError):  # what keeps it from going must not hide what went wrong before
            temporary.unlink(missing_ok=True)


def _temporary(path: Path, folder: Path, prefix: str) -> Path:
    """Create an empty temporary file in a folder, for what is to be written at `path`."""
    try:
        handle, name = tempfile.mkstemp(dir=folder, prefix=prefix, suffix=".tmp")
    except OSError as error:
        raise write_error(path, error) from error
    os.close(handle)
    return Path(name)


def demand_writable(path: Path, what: str) -> None:
    """Raise a UserError, before the work whose result it is for, where a file can't be written; nothing is left.

    `what` says what it should be: "an HTML file".
    """
    if path.is_dir():
        raise UserError(f"{path}: is a folder; give {what} to write")
    if not path.parent.is_dir():
        raise UserError(f"{path.parent}: no such folder; create it first")
    _temporary(path, path.parent, f".{path.name}.").unlink()


def demand_writable_folder(path: Path) -> None:
    """Raise a UserError, before the work whose results it is for, where a folder can't be made or written."""
    there = next(place for place in (path, *_real(path).parents) if os.path.lexists(place))
    _temporary(path, there, ".try.").unlink()


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def drawn_here() -> "PngInfo":
    """PNG metadata that names seedwise as the software, for `Image.save(..., pnginfo=)`."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Software", SOFTWARE)
    return info


def write_text(path: Path, content: str) -> None:
    """Write a whole UTF-8 text file atomically."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON atomically; NaN and infinity are refused, since JSON has no such numbers."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def read_text(path: Path) -> str:
    """Read a UTF-8 text file; a UserError names the file and the place of what is wrong."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text at byte {error.start}") from error


def read_json(path: Path, advice: str) -> Any:
    """Parse a JSON file that seedwise wrote; a UserError names the place of what is wrong, and ends with `advice`."""
    try:
        content = json.loads(read_text(path))
        json.dumps(content, allow_nan=False, ensure_ascii=False).encode()  # NaN, 1e999 and lone surrogates are refused
        return content
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}:{error.colno}: damaged, not JSON ({error.msg}); {advice}") from error
    except (RecursionError, ValueError) as error:
        raise UserError(f"{path}: damaged, not JSON of ours; {advice}") from error
    except UserError as error:
        raise UserError(f"{error}; {advice}") from error


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_folder(path: Path) -> None:
    """Create a folder and its parents; a UserError says why that fails."""
    if not make_new_folder(path) and not path.is_dir():
        raise write_error(path, FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)))


def make_new_folder(path: Path) -> bool:
    """Create a folder and its parents; False if something of that name exists. A UserError says why all else fails."""
    whole = _real(path)
    missing = [folder for folder in (whole, *whole.parents) if not os.path.lexists(folder)]
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        return False
    except OSError as error:
        raise write_error(path, error) from error
    _made.update(missing)
    return True


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, or raise a UserError that names who holds it.

    The operating system releases it when the holder dies, however it dies, so no stale lock is ever left. Temporary
    files that a killed writer left are removed.
    """
    import filelock  # takes as long to import as all that `seedwise status` needs

    make_folder(folder)
    lock = folder / LOCK
    try:
        held = filelock.FileLock(lock, _LOOK_SECONDS, fallback_to_soft=False).acquire(poll_interval=_POLL_SECONDS)
    except filelock.Timeout:
        raise FolderHeld(
            f"{folder}: another process is writing this folder{_holder(lock)}; wait for it, or stop it"
        ) from None
    except OSError as error:
        raise write_error(lock, error) from error
    with held:
        for leftover in (found for pattern in _LEFTOVERS for found in folder.glob(pattern)):
            leftover.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # a full disk is for what matters to complain about
            _say_holder(lock)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                os.truncate(lock, 0)  # where it still is
    if WINDOWS:  # where filelock removes it
        with contextlib.suppress(OSError):
            lock.touch()


def _say_holder(lock: Path) -> None:
    """Write who holds a lock behind its first byte, which on Windows nobody may read or write as long as it is held."""
    with lock.open("r+b", buffering=0) as file:
        file.seek(1)
        file.write(f"process {os.getpid()} on {platform.node()}".encode())
        file.truncate()


def _holder(lock: Path) -> str:
    """Who wrote that it holds a lock, in parentheses; '' where nobody did."""
    with contextlib.suppress(OSError, ValueError), lock.open("rb", buffering=0) as file:
        file.seek(1)
        if said := file.read(200).decode().strip():
            return f" ({said:.100})"
    return ""


@contextmanager
def one_at_a_time(lock: Path) -> Iterator[None]:
    """Wait until no other process holds this lock file, then hold it; the system releases it when its holder dies.

    A file system without locks lets all go on at once: for work that is only wasted when two do it.
    """
    import filelock

    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):
            held.enter_context(filelock.FileLock(lock, fallback_to_soft=False))
        yield


def is_held(folder: Path) -> bool:
    """Whether some process writes this folder now; it isn't disturbed, and nothing is written.

    A shared lock on a file that is open for reading only: filelock has none, and would need leave to write into
    folders that are other people's.
    """
    try:
        import fcntl
    except ModuleNotFoundError:  # Windows
        return _is_taken(folder / LOCK)
    try:
        with (folder / LOCK).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError as error:
        return error.errno in (errno.EWOULDBLOCK, errno.EACCES)
    return False


def _is_taken(lock: Path) -> bool:
    """Whether a lock can't be had, where the system has no shared one: it is held for a moment to find out."""
    import filelock

    if not lock.is_file():
        return False
    try:
        with filelock.FileLock(lock, 0, fallback_to_soft=False):
            pass
    except filelock.Timeout:
        return True
    except OSError:  # none that we may open: nobody's, as far as one can see
        return False
    with contextlib.suppress(OSError):
        lock.touch()  # filelock removes it there
    return False


def discard(folder: Path, *names: str) -> None:
    """Remove these files, and the folder and those above it as far as this process made them and they are empty.

    The lock stays where other files do: it is what tells that they are ours, and that the same command may go on.
    """
    for name in sorted(names, key=lambda name: name == LOCK):
        if name != LOCK or not _others(folder):
            (folder / name).unlink(missing_ok=True)
    whole = _real(folder)
    with contextlib.suppress(OSError):  # not empty, or not there
        for made in (whole, *whole.parents):
            if made not in _made:  # the user's own, even if it is empty
                return
            made.rmdir()
            _made.discard(made)


def _others(folder: Path) -> bool:
    return folder.is_dir() and any(path.name != LOCK for path in folder.iterdir())


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))  # Path's own resolve() raises where links lead in a circle


def not_portable(name: str) -> str | None:
    """Why some system refuses a name of a file or folder; None where each takes it.

    Windows's rules, in "Naming Files, Paths, and Namespaces" of its documentation.
    """
    if found := re.search(r'[<>:"/\\|?*\x00-\x1f]', name):
        return f"Windows has no {found[0]!r} in names"
    if name.endswith((".", " ")):
        return f"Windows drops the {name[-1]!r} at its end"
    stem = name.partition(".")[0].rstrip().lower()
    if stem in ("con", "prn", "aux", "nul") or re.fullmatch("(com|lpt)[0-9¹²³]", stem):
        return f"{stem} is a device on Windows"
    return None


def _rename(temporary: Path, path: Path) -> None:
    """Rename over `path`; on Windows again and again for a while, as long as somebody has one of them open."""
    for pause in (*(_PAUSES if WINDOWS else ()), None):
        try:
            temporary.replace(path)
            return
        except PermissionError:
            if pause is None:
                raise
            time.sleep(pause)


def _sync(path: Path) -> None:
    """Bring a file's content, or a folder's entries, to disk; Windows does so only for who may write it."""
    descriptor = os.open(path, os.O_RDWR if WINDOWS else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_error(path: Path, error: OSError) -> Unwritable:
    """The error of a file or folder that can't be written: why, and what to do."""
    reason = {
        errno.ENOSPC: "the disk is full",
        errno.EDQUOT: "the disk quota is used up",
        errno.EROFS: "the file system is read-only",
        errno.EACCES: "no permission to write there",
        errno.ENOTDIR: "a file stands where a folder is needed",
        errno.EEXIST: "a file stands where a folder is needed",
        errno.ENAMETOOLONG: "the name is too long",
    }.get(error.errno or 0, f"{error.strerror or error}")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        advice = "free some space, then resume or give the command again"
    elif error.errno == errno.ENAMETOOLONG:
        advice = "choose a shorter one with -o"
    elif _real(path).is_relative_to(_real(cache_root())):
        advice = f"set {CACHE_VARIABLE} to a folder that can be written"
    elif os.path.lexists(path.parent / LOCK):  # of a run or a study, whose verbs need not have -o
        advice = f"copy {path.parent} to where it can be written, and give that folder"
    else:
        advice = "choose another folder with -o"
    return Unwritable(path, reason, advice)
