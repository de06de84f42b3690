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
from typing import Any, Generic, TypeVar

from seedwise.errors import UserError
from seedwise.files import atomic_path, cache_root, one_at_a_time, sha256_of, write_text

FLAGS = (
    *("-std=c++17", "-O3", "-fopenmp", "-shared", "-fPIC"),
    *("-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off", "-Wall", "-Wno-unknown-pragmas"),
)
"""No -ffast-math: it would let sums be reordered and infinities vanish. What is fused of products and sums, kernels say
themselves (`models/fused.hpp`): left to the compiler, a result's bits depend on the tile that it falls into."""
TARGETS = {
    "native": ("-march=native",),
    "avx512": ("-march=x86-64-v4",),
    "avx2": ("-march=x86-64-v3", "-mtune=znver3"),
    "generic": (),
}
"""What kernels may be compiled for, and the flags for it. `generic`: what any processor of this kind has. `avx2`, for
the tests, is tuned for a processor on which GCC fuses here and not there (see `models/fused.hpp`)."""
TARGET_VARIABLE = "SEEDWISE_TARGET"
"""Names the environment variable that chooses one: for tests, and to compute elsewhere what another machine does."""
TIMEOUT_SECONDS = 120

_V3 = {"avx2", "fma", "f16c", "bmi1", "bmi2", "movbe", "abm"}
_NEEDED = {"avx2": _V3, "avx512": _V3 | {f"avx512{part}" for part in ("f", "bw", "cd", "dq", "vl")}}
"""Linux's names of what a target's code uses."""

_log = logging.getLogger("seedwise")
Loaded = TypeVar("Loaded")


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


def target() -> str:
    """What kernels are compiled for: what SEEDWISE_TARGET names, or this processor. A UserError if that can't run."""
    name = os.environ.get(TARGET_VARIABLE) or "native"
    if (reason := why_not(name)) is not None:
        raise UserError(f"{TARGET_VARIABLE}={name}: {reason}; leave it out, or take one of {', '.join(TARGETS)}")
    return name


@functools.cache
def why_not(name: str) -> str | None:
    """Why no kernels for a target can run here; None when they can."""
    if name not in TARGETS:
        return "there is no such target"
    words = {word for line in _processor().splitlines() if line.startswith("flags") for word in line.split()}
    missing = sorted(_NEEDED.get(name, set()) - words)
    return f"this processor has no {missing[0]}" if missing else None


class OnceATarget(Generic[Loaded]):
    """A function without arguments, called once for each target that it is asked for."""

    def __init__(self, load: Callable[[], Loaded]) -> None:
        functools.update_wrapper(self, load)
        self._found = functools.cache(lambda _target: load())
        self.cache_clear = self._found.cache_clear

    def __call__(self) -> Loaded:
        """What it returned for `target()`."""
        return self._found(target())


def library(source: Path) -> ctypes.CDLL | None:
    """The compiled library of a C++ file, built now if the cache has none for this text, compiler and target.

    The text is the file's with all C++ beside it and the headers in the folder above, so that one library's name tells
    of the others in its folder, too.

    None when there is no compiler, or it fails: the log then says how.
    """
    version, flags = compiler_version(), [*FLAGS, *TARGETS[target()]]
    if version is None:
        return None
    files = [*sorted(source.parent.glob("*.[ch]pp")), *sorted(source.parent.parent.glob("*.hpp"))]
    text = b"".join(file.read_bytes() for file in files)
    key = hashlib.sha256(b"\0".join([text, " ".join(flags).encode(), version.encode(), _processor().encode()]))
    name = f"{source.stem}-{key.hexdigest()[:16]}.so"
    try:
        return _load(source, flags, cache_root() / "kernels" / name)
    except (OSError, UserError):  # a cache that can't be written: for this process alone, then
        with tempfile.TemporaryDirectory() as place:
            return _load(source, flags, Path(place) / name)


def name_of(found: ctypes.CDLL | None) -> str | None:
    """Names a library's text, its compiler, target and processor; None without a library."""
    return None if found is None else Path(found._name).stem


def _load(source: Path, flags: list[str], built: Path) -> ctypes.CDLL | None:
    try:
        if not _is_sound(built):
            _build(source, flags, built)
        return ctypes.CDLL(str(built))
    except subprocess.CalledProcessError as error:
        reason = error.stderr.strip().partition("\n")[0]
    except subprocess.SubprocessError as error:
        reason = str(error)
    _log.warning("kernels of %s can't be compiled (%s): PyTorch's own are used, which are slower", source.name, reason)
    return None


def _build(source: Path, flags: list[str], built: Path) -> None:
    built.parent.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(built.with_suffix(".lock")):  # whoever waited finds what the other one built
        if _is_sound(built):
            return
        with atomic_path(built) as temporary:
            run = [str(compiler()), *flags, str(source), "-o", str(temporary)]
            subprocess.run(run, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_SECONDS, check=True)
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
