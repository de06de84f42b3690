"""C++ kernels, compiled for this machine at first use and kept in the cache. Without a compiler there are none.

A kernel file is plain C++ with a C interface: raw pointers and sizes, no header of torch's. So a build takes seconds,
and depends on neither torch's version nor Python's. Loops are parallel through OpenMP; the library finds the runtime
that torch brought into the process, hence torch's own threads, which is why torch has to be imported first.

Kernels are called by `call`. A kernel's data push the interpreter out of the processor's caches, so that the Python
between two kernels takes longer than it would alone: within `together()` they wait until all are ready.
"""

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from seedwise.errors import UserError
from seedwise.files import atomic_path, cache_root, sha256_of, write_text

FLAGS = (
    *("-std=c++17", "-O3", "-march=native", "-fopenmp", "-shared", "-fPIC"),
    *("-fno-math-errno", "-fno-trapping-math", "-Wall", "-Wno-unknown-pragmas"),
)
"""No -ffast-math: it would let sums be reordered and infinities vanish."""
TIMEOUT_SECONDS = 120

_log = logging.getLogger("seedwise")


class _Waiting(threading.local):
    calls: list[tuple[Callable[..., Any], Callable[[Any], object], object, tuple[Any, ...]]] | None = None


_waiting = _Waiting()


def call(function: Callable[..., Any], check: Callable[[Any], object], held: object, *arguments: Any) -> None:
    """`check(function(*arguments))`, now or, within `together()`, later; `held`: whose memory arguments point at."""
    if _waiting.calls is None:
        check(function(*arguments))
    else:
        _waiting.calls.append((function, check, held, arguments))


def cannot_fail(_code: object) -> None:
    """The check of a kernel that returns nothing."""


@contextmanager
def together() -> Iterator[None]:
    """Let this thread's calls wait until the end, or until `settle`: the same calls in the same order.

    What kernels write may be passed on to other kernels, and read by nobody else before. An exception drops them.
    """
    settle()
    before, _waiting.calls = _waiting.calls, []
    try:
        yield
        settle()
    finally:
        _waiting.calls = before


@contextmanager
def at_once() -> Iterator[None]:
    """Let no call wait: for what is timed."""
    settle()
    before, _waiting.calls = _waiting.calls, None
    try:
        yield
    finally:
        _waiting.calls = before


def settle() -> None:
    """Make the calls that wait. Whatever else computes with tensors that kernels write begins with this."""
    if not _waiting.calls:
        return
    calls, _waiting.calls = _waiting.calls, []
    for function, check, _, arguments in calls:
        check(function(*arguments))


@functools.cache
def compiler() -> str | None:
    """The C++ compiler's path: CXX's, or g++, or clang++; None when there is none."""
    names = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++"]
    return next((path for path in map(shutil.which, names) if path), None)


@functools.cache
def compiler_version() -> str | None:
    """What the compiler calls itself, for instance "g++ (Debian 12.2.0-14) 12.2.0"; None without one that runs."""
    path = compiler()
    if path is None:
        return None
    try:
        done = subprocess.run(
            [path, "--version"], capture_output=True, text=True, errors="replace", timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.partition("\n")[0].strip() or None


@functools.cache
def library(source: Path) -> ctypes.CDLL | None:
    """The compiled library of a C++ file, built now if the cache has none for this text, compiler and processor.

    The text is the file's with all C++ beside it and the headers in the folder above, so that one library's name tells
    of the others in its folder, too.

    None when there is no compiler, or it fails: the log then says how.
    """
    version = compiler_version()
    if version is None:
        return None
    files = [*sorted(source.parent.glob("*.[ch]pp")), *sorted(source.parent.parent.glob("*.hpp"))]
    text = b"".join(file.read_bytes() for file in files)
    key = hashlib.sha256(b"\0".join([text, " ".join(FLAGS).encode(), version.encode(), _processor().encode()]))
    name = f"{source.stem}-{key.hexdigest()[:16]}.so"
    try:
        return _load(source, cache_root() / "kernels" / name)
    except (OSError, UserError):  # a cache that can't be written: for this process alone, then
        with tempfile.TemporaryDirectory() as place:
            return _load(source, Path(place) / name)


def name_of(found: ctypes.CDLL | None) -> str | None:
    """Names a library's text, its compiler and this processor; None without a library."""
    return None if found is None else Path(found._name).stem


def _load(source: Path, built: Path) -> ctypes.CDLL | None:
    try:
        if not _is_sound(built):
            _build(source, built)
        return ctypes.CDLL(str(built))
    except subprocess.CalledProcessError as error:
        reason = error.stderr.strip().partition("\n")[0]
    except subprocess.SubprocessError as error:
        reason = str(error)
    _log.warning("kernels of %s can't be compiled (%s): PyTorch's own are used, which are slower", source.name, reason)
    return None


def _build(source: Path, built: Path) -> None:
    built.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(built) as temporary:
        command = [str(compiler()), *FLAGS, str(source), "-o", str(temporary)]
        subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_SECONDS, check=True)
    write_text(_seal(built), sha256_of(built))


def _seal(built: Path) -> Path:
    return built.with_suffix(".sha256")


def _is_sound(built: Path) -> bool:
    """Loading a damaged library would end the process, so its hash is compared first."""
    try:
        return _seal(built).read_text() == sha256_of(built)
    except (OSError, UnicodeDecodeError):
        return False


def _processor() -> str:
    """What `-march=native` depends on: a cache may be shared by the machines of a cluster."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    told = [line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part"))]
    return "\n".join(sorted(set(told)))
