"""In the process that is disturbed: what becomes of each call that writes below its folder. See shim.c."""

import ctypes
import errno
import json
import os
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import seedwise

SOURCE = str(Path(seedwise.__file__).parent) + "/"
DEATHS = {"before": -1, "half": -2, "after": -3}
FAULTS = {"full": errno.ENOSPC, "read-only": errno.EROFS, "denied": errno.EACCES}
AFTERWARDS = {
    "full": {"create", "write", "fsync", "mkdir", "truncate"},
    "read-only": {"create", "open", "write", "fsync", "mkdir", "truncate", "rename", "unlink", "rmdir", "chmod"},
    "denied": {"create", "open", "mkdir", "rename", "unlink", "rmdir"},
}
"""A disk that is full stays full: what fails from the chosen call on, until the process ends."""

Place = tuple[str, int]
"""A file of seedwise, and the line in it."""


@dataclass
class Watcher:
    """Notes every call, and disturbs one.

    plan: {} notes only; {"death": ..., "number": k}: dies at the k-th call; {"fault": ..., "key": ..., "number": k}:
    the k-th call that was made from the same lines fails.
    """

    plan: Mapping[str, Any]
    calls: list[str] = field(default_factory=list)
    """Their keys."""
    hit: set[Place] = field(default_factory=set)
    """The lines of seedwise from which calls that failed were made."""
    failed: int = 0
    _seen: Counter[str] = field(default_factory=Counter)
    _folder: str = ""

    def __call__(self, operation: bytes, path: bytes) -> int:
        name = operation.decode()
        places = _places(sys._getframe(1))
        key = " ".join([name, *(f"{file}:{line}" for file, line in places)])
        self.calls.append(key)
        self._seen[key] += 1
        if "death" in self.plan:
            return DEATHS[self.plan["death"]] if len(self.calls) == self.plan["number"] else 0
        if "fault" not in self.plan:
            return 0
        kind = self.plan["fault"]
        if not self.hit:
            if key != self.plan["key"] or self._seen[key] != self.plan["number"]:
                return 0
            self._folder = os.path.dirname(os.fsdecode(path))  # noqa: PTH120
        elif name not in AFTERWARDS[kind] or (kind == "denied" and not os.fsdecode(path).startswith(self._folder)):
            return 0
        self.failed += 1
        self.hit.update(places or [("?", 0)])
        return FAULTS[kind]


def _places(frame: FrameType | None) -> list[Place]:
    found = []
    while frame is not None:
        if frame.f_code.co_filename.startswith(SOURCE):
            found.append((frame.f_code.co_filename.removeprefix(SOURCE), frame.f_lineno))
        frame = frame.f_back
    return found


def control(root: Path, plan: Mapping[str, Any]) -> Watcher:
    """Let a watcher see the calls of this process below a folder; the shim must have been loaded before libc."""
    watcher = Watcher(plan)
    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p)
    _kept.append(kind(watcher))
    ctypes.CDLL(None).soak_watch(_kept[-1], os.fsencode(root))
    return watcher


def leave() -> None:
    """Let nobody watch this process any more."""
    ctypes.CDLL(None).soak_watch(None, b"/")


_kept: list[Any] = []


def torchrun_child() -> None:
    """What torchrun starts in place of seedwise: the process of rank SOAK_RANK is watched as SOAK_PLAN says."""
    if os.environ.get("RANK") == os.environ.get("SOAK_RANK"):
        watcher = control(Path(os.environ["SOAK_ROOT"]), json.loads(os.environ["SOAK_PLAN"]))
        if "SOAK_COUNT" in os.environ:
            import atexit

            atexit.register(lambda: (leave(), Path(os.environ["SOAK_COUNT"]).write_text(str(len(watcher.calls)))))
    from seedwise.cli import main

    main()


if __name__ == "__main__":
    torchrun_child()
