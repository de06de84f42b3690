"""Decodes images ahead in processes of their own, which write to slots of memory that is shared by a file.

Images are told in the order in which they will be asked for. Each process has its share of the slots' worth of images
under way at any time, so it never waits for the next word, and memory stays bounded.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from seedwise.base import machine
from seedwise.base.errors import UserError
from seedwise.data.decoder import FAILED
from seedwise.data.fit import Fit
from seedwise.data.source import Int64Array, UInt8Array

MEMORY = 256 << 20
"""Bytes for all slots."""
FEWEST_SLOTS, MOST_PER_WORKER = 16, 128
"""A process's pipes hold the words about its share without anybody reading: 2 KB there, 4 KB back."""
SHARED_MEMORY = Path("/dev/shm")
SECONDS_TO_END = 5.0


class Undecoded(Exception):
    """An image that a process could not decode, with its reason."""


class _Answer(NamedTuple):
    slot: int
    height: int
    width: int
    text: str


class Prefetch:
    """The processes and what they have under way; not for several threads at a time. `firsts`: each part's first number
    among the images of all parts."""

    def __init__(self, folder: Path, firsts: Mapping[str, int], fit: Fit, workers: int) -> None:
        self._slot_bytes = fit.largest
        most = min(MEMORY // self._slot_bytes, MOST_PER_WORKER * workers)
        count = max(FEWEST_SLOTS, workers, most)
        self._file, self._memory = _shared(count * self._slot_bytes)
        self._free = list(range(count))
        self._expected: Int64Array = np.empty(0, np.int64)
        self._next = 0
        self._under_way: dict[int, deque[tuple[int, int]]] = {}
        self._answers: dict[int, _Answer] = {}
        self._turn = 0
        order = {
            "folder": str(folder),
            "parts": list(firsts),
            "firsts": list(firsts.values()),
            "fit": fit,
            "memory": str(self._file),
            "slot_bytes": self._slot_bytes,
        }
        self._workers = [_start() for _ in range(workers)]
        self.close = weakref.finalize(self, _end, self._workers, self._file)
        """Ends the processes; the interpreter's end calls it too."""
        for worker in self._workers:
            self._send(worker, json.dumps(order).encode() + b"\n")
        for worker in self._workers:
            self._read(worker, 32)  # it has mapped the memory
        with contextlib.suppress(OSError):  # Windows keeps a mapped file until the end
            self._file.unlink()

    def expect(self, images: Int64Array) -> None:
        """Begin to decode images int64[n], by number, in this order, in place of what was expected before."""
        for number in list(self._under_way):
            while self._under_way.get(number):
                with contextlib.suppress(Undecoded):
                    self._take(number)
        self._expected, self._next = images, 0
        self._fill()

    def pixels(self, image: int) -> UInt8Array | None:
        """A copy of the pixels uint8[h, w, 3] of an expected image; None for any other. Raises Undecoded."""
        if image not in self._under_way:
            return None
        taken = self._take(image)
        self._fill()
        return taken

    def _fill(self) -> None:
        while self._free and self._next < len(self._expected):
            number, slot = int(self._expected[self._next]), self._free.pop()
            self._send(self._workers[self._turn], np.array([number, slot], np.int64).tobytes())
            self._under_way.setdefault(number, deque()).append((self._turn, slot))
            self._turn = (self._turn + 1) % len(self._workers)
            self._next += 1

    def _take(self, image: int) -> UInt8Array:
        turns = self._under_way[image]
        at, slot = turns.popleft()
        if not turns:
            del self._under_way[image]
        while slot not in self._answers:
            self._listen(self._workers[at])
        answer = self._answers.pop(slot)
        self._free.append(slot)
        if answer.height == FAILED:
            raise Undecoded(answer.text)
        length = answer.height * answer.width * 3
        start = slot * self._slot_bytes
        return self._memory[start : start + length].reshape(answer.height, answer.width, 3).copy()

    def _listen(self, worker: "subprocess.Popen[bytes]") -> None:
        _number, slot, height, width = np.frombuffer(self._read(worker, 32), np.int64).tolist()
        text = self._read(worker, width).decode() if height == FAILED else ""
        self._answers[slot] = _Answer(slot, height, width, text)

    def _send(self, worker: "subprocess.Popen[bytes]", words: bytes) -> None:
        try:
            _pipe(worker.stdin).write(words)
            _pipe(worker.stdin).flush()
        except OSError as error:
            raise self._lost(worker) from error

    def _read(self, worker: "subprocess.Popen[bytes]", size: int) -> bytes:
        words = _pipe(worker.stdout).read(size)
        if len(words) < size:
            raise self._lost(worker)
        return words

    def _lost(self, worker: "subprocess.Popen[bytes]") -> UserError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.wait(SECONDS_TO_END)
        said, code = _pipe(worker.stderr).read().decode(errors="replace").strip(), worker.poll()
        self.close()
        why = said.splitlines()[-1] if said else f"it was killed by signal {-code}" if code and code < 0 else "no word"
        return UserError(
            f"a process that decodes images ended early ({why}): give the command again, or, where memory ran out, "
            "with fewer of them, as -s data.workers=1"
        )


def workers_of(asked: int | None) -> int:
    """Processes to decode with: as asked, else this process's share of the machine's cores."""
    return asked or max(1, min(machine.cores(), machine.threads()))


def _start() -> "subprocess.Popen[bytes]":
    # a fresh interpreter on every system: forking a process with threads of torch in it may hang
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "seedwise.data.decoder"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )


def _end(workers: Sequence["subprocess.Popen[bytes]"], memory: Path) -> None:
    for worker in workers:
        with contextlib.suppress(OSError):
            _pipe(worker.stdin).close()
    for worker in workers:
        try:
            worker.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
        for pipe in (worker.stdout, worker.stderr):
            _pipe(pipe).close()
    with contextlib.suppress(OSError):
        memory.unlink()


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None  # all three were asked for
    return pipe


def _shared(size: int) -> tuple[Path, UInt8Array]:
    """A file of this many bytes, mapped: in memory where the system has such a folder with room for it."""
    for place in (SHARED_MEMORY if SHARED_MEMORY.is_dir() else None, None):
        handle, name = tempfile.mkstemp(prefix="seedwise-", dir=place)
        try:
            if hasattr(os, "posix_fallocate"):  # a file that only claims its room kills who writes to it
                os.posix_fallocate(handle, 0, size)
            else:
                os.truncate(handle, size)
            return Path(name), np.asarray(np.memmap(name, np.uint8, mode="r+"))
        except OSError as error:
            Path(name).unlink()
            reason = error.strerror
        finally:
            os.close(handle)
    raise UserError(f"{tempfile.gettempdir()}: {size >> 20} MB cannot be kept there ({reason}): free some space")
