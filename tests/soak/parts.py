"""What the parts of the soak share: lanes that work side by side, folders of cases, and what came of them."""

import queue
import shutil
import tempfile
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TypeVar

from forks import Forks

from seedwise.base.files import cache_root

_SETTINGS = (
    *("model.name=small", "train.epochs=2", "train.image_size=16", "train.batch_size=20", "compute.threads=1"),
    *("data.limit=60", "data.val=20", "data.test=20", "train.checkpoint_every=1"),
)
TINY = ("digits", *(part for setting in _SETTINGS for part in ("-s", setting)))
"""A run of two epochs of three steps, with a checkpoint after each step; every verb that trains takes it."""
PLAIN = (*TINY, "-s", "train.insight=false")

Item = TypeVar("Item")


class Failed(Exception):
    """A promise that wasn't kept: what the soak is there to find."""


def demand(holds: object, words: str) -> None:
    """Raise Failed with these words unless it holds."""
    if not holds:
        raise Failed(words)


@dataclass
class Outcome:
    """What came of a part: counts by row and column, and what went wrong."""

    title: str
    rows: dict[str, Counter[str]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    seconds: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, row: str, *columns: str, number: int = 1) -> None:
        """Add to a row's counts."""
        with self._lock:
            self.rows.setdefault(row, Counter()).update(dict.fromkeys(columns, number))

    def fail(self, words: str) -> None:
        """Note a failure, and show it at once."""
        with self._lock:
            self.failures.append(words)
        print(f"FAILED {words}", flush=True)


@dataclass(frozen=True)
class Soak:
    """The arguments of a soak, and the processes to fork from, as many as work side by side."""

    seed: int
    lanes: Sequence[Forks]
    shim: Path
    given: str = ""
    """Of the command line, what the cases follow from."""
    only: int | None = None
    """Of a part's cases this one alone; the others are passed over."""

    def random(self, *words: object) -> Random:
        """A case's own random numbers."""
        return Random(" ".join(map(str, (self.seed, *words))))

    def repeat(self, part: str) -> str:
        """The command that meets the same cases."""
        return " ".join(filter(None, ("repeat: python tests/soak", part, self.given or f"--seed {self.seed}")))

    def each(self, part: str, cases: Sequence[Item], check: Callable[[Forks, int, Item], None], into: Outcome) -> None:
        """Check all cases, as many at once as there are lanes; what one of them raises is its failure."""
        lanes: queue.SimpleQueue[Forks] = queue.SimpleQueue()
        for lane in self.lanes:
            lanes.put(lane)

        def one(numbered: tuple[int, Item]) -> None:
            number, case = numbered
            lane = lanes.get()
            try:
                check(lane, number, case)
            except Failed as error:
                into.fail(f"{error}\n    {self.repeat(part)} --only {number}")
            except Exception:
                into.fail(f"{part} {number} {case}: {traceback.format_exc()}")
            finally:
                lanes.put(lane)

        wanted = [(number, case) for number, case in enumerate(cases) if self.only in (None, number)]
        with ThreadPoolExecutor(len(self.lanes)) as pool:
            list(pool.map(one, wanted))


@contextmanager
def place() -> Iterator[Path]:
    """A case's folder, with a cache that holds kernels and nothing else: compiling them takes a minute."""
    folder = Path(tempfile.mkdtemp(prefix="soak-")).resolve()
    compiled = cache_root() / "kernels"
    compiled.mkdir(parents=True, exist_ok=True)
    (folder / "cache").mkdir()
    (folder / "cache" / "kernels").symlink_to(compiled.resolve())
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
