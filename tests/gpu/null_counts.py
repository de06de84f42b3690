"""Reads the counters of null_cuda.c in a process that runs on it, and notes which line of seedwise waits."""

import ctypes
import sys
import threading
from collections import Counter
from types import FrameType

_library = ctypes.CDLL(None)
_names = (ctypes.c_char_p * 64).in_dll(_library, "null_names")
NAMES = [name.decode() for name in iter(iter(_names).__next__, None)]
_counts = (ctypes.c_long * len(NAMES)).in_dll(_library, "null_counts")
COPIES = ("h2d_pageable", "h2d_pinned", "d2h", "d2d")
WAITS = ("stream_syncs", "device_syncs", "event_syncs", "blocking_copies")

_thread = threading.local()
_waits: Counter[str] = Counter()


def counts() -> dict[str, int]:
    """All counters, by name."""
    return dict(zip(NAMES, _counts, strict=True))


def waits() -> dict[str, int]:
    """How often something waited for the device, by what it was and the line of seedwise, most often first."""
    return dict(_waits.most_common())


def reset() -> None:
    """Count from here on."""
    _library.null_reset()
    _waits.clear()


def line() -> str:
    """The innermost line of seedwise that is at work in this thread."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        _, inside, place = frame.f_code.co_filename.rpartition("/seedwise/")
        if inside and place != "base/devices.py":  # the copies of which others ask for
            return f"{place}:{frame.f_lineno}"
        frame = frame.f_back
    return "outside seedwise"


def _heard(number: int) -> None:
    name = NAMES[number]
    if name in COPIES:
        _thread.copy = name
    elif name in WAITS:  # torch waits right behind the copy that it waits for
        _waits[f"{getattr(_thread, 'copy', None) or name} at {line()}"] += 1
        _thread.copy = None


_listener = ctypes.CFUNCTYPE(None, ctypes.c_int)(_heard)
_library.null_listen(_listener)
