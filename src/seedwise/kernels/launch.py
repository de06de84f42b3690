"""C++ kernels, compiled when seedwise is installed, or at first use and kept in the cache.

A kernel file is plain C++ with a C interface: raw pointers and sizes, no header of torch's. So a build takes seconds,
and depends on neither torch's version nor Python's. Loops are parallel through OpenMP; the library finds the runtime
that torch brought into the process, hence torch's own threads, which is why torch has to be imported first.

Kernels are called with tensors, by a `KernelLibrary` (`library.py`). A kernel's data push the interpreter out of the
processor's caches, so that the Python between two kernels takes longer than it would alone: within
`deferred_launches()` calls wait until all are ready.
"""

import contextlib
import ctypes
import enum
import logging
import os
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from seedwise.base.errors import UserError
from seedwise.base.files import atomic_path, cache_root, one_at_a_time, write_text
from seedwise.base.machine import cores, load
from seedwise.kernels import build
from seedwise.kernels.build import TARGETS, is_sound

TARGET_VARIABLE = "SEEDWISE_TARGET"
"""The environment variable that chooses a class: for tests, and to compute elsewhere what another machine does."""
NATIVE = "native"
"""What it may say for this processor's own."""

_log = logging.getLogger("seedwise")


class Code(enum.IntEnum):
    """What a kernel returns; the same as in `csrc/code.hpp`."""

    DONE = 0
    NO_MEMORY = 1
    NO_KERNEL = 2
    NO_ACTIVATION = 3


_ERRORS: dict[Code, tuple[type[Exception], str]] = {
    Code.NO_MEMORY: (MemoryError, "no memory for what the kernel works in"),
    Code.NO_KERNEL: (ValueError, "no kernel is compiled for this kernel size and stride"),
    Code.NO_ACTIVATION: (ValueError, "no activation has this number"),
}

Kernel = Callable[..., int]
"""A function of a library: it returns a `Code`."""


class _Waiting(threading.local):
    calls: list[tuple[Kernel, object, Sequence[Any]]] | None = None
    asked: str | None = None


_waiting = _Waiting()


def call(kernel: Kernel, held: object, arguments: Sequence[Any]) -> None:
    """Call a kernel now or, within `deferred_launches()`, later.

    `held`: what its arguments point into, which is kept until then. MemoryError or ValueError with the kernel's
    name, by the code that it returns.
    """
    if _waiting.calls is None:
        _call(kernel, arguments)
    else:
        _waiting.calls.append((kernel, held, arguments))


def _call(kernel: Kernel, arguments: Sequence[Any]) -> None:
    code = kernel(*arguments)
    if code:
        error, why = _ERRORS[Code(code)]
        raise error(f"{kernel.__name__}: {why}")


@contextmanager
def deferred_launches() -> Iterator[None]:
    """Let this thread's calls wait until the end, or until `synchronize`: the same calls in the same order.

    What kernels write may be passed on to other kernels, and read by nobody else before. An exception drops them.
    """
    synchronize()
    asked = asked_target()
    before, _waiting.calls, _waiting.asked = _waiting.calls, [], asked
    try:
        yield
        synchronize()
    finally:
        _waiting.calls = before


@contextmanager
def eager_launches() -> Iterator[None]:
    """Let no call wait: for what is timed."""
    synchronize()
    before, _waiting.calls = _waiting.calls, None
    try:
        yield
    finally:
        _waiting.calls = before


def synchronize() -> None:
    """Make the calls that wait. Whatever else computes with tensors that kernels write begins with this."""
    if not _waiting.calls:
        return
    calls, _waiting.calls = _waiting.calls, []
    for kernel, _, arguments in calls:
        _call(kernel, arguments)


def asked_target() -> str | None:
    """What SEEDWISE_TARGET says; within `deferred_launches()`, what it said when they began, which takes less long."""
    return os.environ.get(TARGET_VARIABLE) if _waiting.calls is None else _waiting.asked


def target() -> str:
    """The class that kernels are compiled for: SEEDWISE_TARGET's, or this processor's. A UserError if it can't run."""
    name = os.environ.get(TARGET_VARIABLE) or NATIVE
    if (reason := why_not(name)) is not None:
        known = ", ".join((NATIVE, *TARGETS))
        raise UserError(f"{TARGET_VARIABLE}={name}: {reason}; leave it out, or take one of {known}")
    return build.best_target() if name == NATIVE else name


def why_not(name: str) -> str | None:
    """Why no kernels for a target can run here; None when they can."""
    if name not in (NATIVE, *TARGETS):
        return "there is no such target"
    lacking = build.missing(name)
    return f"this processor has no {lacking[0]}" if lacking else None


def library(source: Path) -> ctypes.CDLL | None:
    """The compiled library of a C++ file: as it was installed, or from the cache, or built now.

    None when there is no compiler, or it fails: the log then says how.
    """
    found = _ready(source)
    if found is not None:
        return found
    if build.compiler_version() is None:
        return None
    try:
        return _built(source, _kept(source))
    except (OSError, UserError):  # a cache that can't be written: for this process alone, then
        with tempfile.TemporaryDirectory() as place:
            return _built(source, Path(place) / _kept(source).name)


def lacking() -> list[Path]:
    """Kernel files whose library is neither installed nor in the cache."""
    return [source for source in build.sources() if not any(map(is_sound, _candidates(source)))]


def prepare() -> None:
    """Compile all kernels that are missing, on all cores, and say so: it takes a while, once."""
    missing = lacking()
    if len(missing) < 2 or build.compiler_version() is None:
        return
    _log.warning("compiling %d kernels once, about %.0f s …", len(missing), seconds_to_prepare())
    with ThreadPoolExecutor(min(cores(), len(missing))) as pool:
        list(pool.map(library, missing))


def seconds_to_prepare() -> float:
    """About what compiling the missing kernels would take here now; 0 where none are, or there is no compiler."""
    missing = lacking()
    if not missing or build.compiler_version() is None:
        return 0.0
    pool_size = min(cores(), len(missing))
    seconds = [build.SECONDS.get(source.stem, 1) for source in missing]
    share = min(1.0, cores() / (pool_size + (load() or 0)))  # of a core, for each of ours
    return max(*seconds, sum(seconds) / pool_size) / share


def name_of(found: ctypes.CDLL | None) -> str | None:
    """Names a library's text, its compiler and its target; None without a library."""
    return None if found is None else Path(found._name).stem


def builder_of(found: ctypes.CDLL | None) -> str | None:
    """What the compiler of a library calls itself; None without a library."""
    if found is None:
        return None
    with contextlib.suppress(OSError, IndexError):
        return build.checksum_file(Path(found._name)).read_text().splitlines()[1]
    return build.compiler_version()  # it was built for this process alone


def _candidates(source: Path) -> list[Path]:
    """Files that hold the library if they are whole, the installed one first.

    Another compiler's are as good, unless CXX asks for one.
    """
    version = build.compiler_version() if os.environ.get("CXX") else None
    pattern = build.name_of(source, target(), version or "*")
    installed = sorted((build.PACKAGE / build.PREBUILT).glob(pattern))
    if version is None and build.compiler_version() is not None:
        return [*installed, _kept(source)]
    return [*installed, *sorted(_cache().glob(pattern))]


def _ready(source: Path) -> ctypes.CDLL | None:
    for built in _candidates(source):
        if is_sound(built):
            with contextlib.suppress(OSError):  # made for another C library than this system's
                return ctypes.CDLL(str(built))
    return None


def _cache() -> Path:
    return cache_root() / "kernels"


def _kept(source: Path) -> Path:
    return _cache() / build.name_of(source, target(), str(build.compiler_version()))


def _built(source: Path, built: Path) -> ctypes.CDLL | None:
    try:
        _build(source, built)
        return ctypes.CDLL(str(built))
    except subprocess.SubprocessError as error:
        why = build.reason(error)
    _log.warning("kernels of %s can't be compiled (%s): PyTorch's own are used, which are slower", source.name, why)
    return None


def _build(source: Path, built: Path) -> None:
    built.parent.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(built.with_suffix(".lock")):  # whoever waited finds what the other one built
        if is_sound(built):
            return
        with atomic_path(built) as temporary:
            build.compile_to(temporary, source, target())
        write_text(build.checksum_file(built), build.checksum_text(built))
