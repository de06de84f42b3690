"""Named random streams: every random number comes from a seed and a path of names, never from ambient state.

`stream_seed(7, "augment", "rotation", epoch)` is the same number on every machine and in every process, and adding a
technique or a worker can't shift anyone else's draws. NumPy's Philox generators are made from it; torch code seeds its
own generators with the same integer, so this module needs no torch.
"""

import hashlib
import operator
import os
import threading

import numpy as np


class _Ambient:
    """A reentrant lock that a forked process, which has one thread, makes anew."""

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()


ambient = _Ambient()
"""Held from seeding torch's global generator until all is drawn from it: all threads of a process share that one."""
if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=ambient.__init__)  # type: ignore[misc]


def stream_seed(seed: int, *path: str | int) -> int:
    """A 63-bit seed that depends on the master seed and on every element of the path, its order and types included."""
    # NumPy's integers must count as the plain ones that they equal, and their repr depends on NumPy's version.
    plain = (part if isinstance(part, str) else operator.index(part) for part in path)
    key = repr((operator.index(seed), *plain)).encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little") >> 1


def generator(seed: int, *path: str | int) -> np.random.Generator:
    """An independent NumPy generator (Philox, counter-based) for one named stream."""
    return np.random.Generator(np.random.Philox(key=stream_seed(seed, *path)))


def draw_seeds(master_seed: int, count: int) -> tuple[int, ...]:
    """Draw `count` distinct run seeds in [0, 2**31) from the master seed.

    The draws for a smaller count are a prefix of those for a larger one, so a study can be extended by more seeds
    without replacing the ones it has.
    """
    stream = generator(master_seed, "seeds")
    seeds: dict[int, None] = {}
    while len(seeds) < count:
        seeds[int(stream.integers(0, 2**31))] = None
    return tuple(seeds)
