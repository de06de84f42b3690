"""The rule that says which implementation computes what, from a table that a benchmark made.

`rule.csv` has a row a class of shapes: a class of processors (`build.TARGETS`), an operation, its type, one thread
or more, kernel and stride, channels in and out, pixels of a map and images, each a power of two, and the
implementations, the fastest first. A shape gets the row of its processor and operation that is nearest to it:

1. with its type, and one thread or more as it has, if there is one with them;
2. with its stride if there is one, and the nearest kernel size;
3. then the one with the fewest doublings and halvings of the four sizes between them;
4. of several, the first in the file.

Of that row it gets the first implementation that is there. Nothing else enters, neither clocks nor files of the
machine. `benchmarks/dispatch.py` measures, and writes the table anew.
"""

import csv
import functools
import math
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

TABLE = Path(__file__).with_name("rule.csv")
UNMEASURED = "generic"
"""The class whose rows hold for one that has none: `neon`, until somebody measures it."""
NATIVE_KERNELS = ("native", "tuned")
"""Words for a recipe's `compute.kernels` that need the C++ kernels."""

_SPLIT = ("split", "onednn", "product")
_DEPTHWISE = ("native", "onednn")
_DENSE = ("winograd", "onednn")
OPERATIONS: dict[str, tuple[str, ...]] = {
    "depthwise forward": _DEPTHWISE,
    "fused depthwise block": ("fused", "layers"),
    "block": ("native", "layers"),
    "pointwise forward": _SPLIT,
    "pointwise forward with bias": ("onednn", "product"),
    "pointwise images": _SPLIT,
    "pointwise weight": _SPLIT,
    "dense forward": _DENSE,
    "dense images": _DENSE,
    "dense weight": _DENSE,
    "folded depthwise": _DEPTHWISE,
    "folded depthwise SiLU": _DEPTHWISE,
    "folded pointwise": _SPLIT,
    "folded pointwise SiLU": _SPLIT,
    "folded dense": _DENSE,
    "folded dense SiLU": _DENSE,
}
"""What there is to choose, and the implementations of each. `images` and `weight` are gradients of these; `folded` is a
convolution in evaluation, with a bias and the activation after it."""


class ShapeKey(NamedTuple):
    """Where a shape stands in the table."""

    operation: str
    dtype: str
    """`fp32` or `bf16`."""
    threads: int
    """1, or 2 for any more."""
    kernel: int
    stride: int
    inputs: int
    outputs: int
    pixels: int
    images: int

    @property
    def of_class(self) -> "ShapeKey":
        """With its sizes as the nearest powers of two."""
        rounded = [2 ** round(math.log2(size)) for size in self[-4:]]
        return self._replace(**dict(zip(self._fields[-4:], rounded, strict=True)))


class RuleRow(NamedTuple):
    """A class of shapes, and what computes it."""

    target: str
    place: ShapeKey
    names: tuple[str, ...]

    def first(self, names: Collection[str]) -> str:
        """The first implementation that is there."""
        return next((name for name in self.names if name in names), next(iter(names)))


def choose(target: str, place: ShapeKey, names: Collection[str]) -> str:
    """Which of these implementations computes a shape on a class of processors."""
    rows = _rows()
    return nearest(rows.get((target, place.operation)) or rows[UNMEASURED, place.operation], place).first(names)


def nearest(rows: Iterable[RuleRow], place: ShapeKey) -> RuleRow:
    """Of the rows of one target and operation, the one whose choice a shape gets."""
    return min(rows, key=lambda row: distance(row.place, place))


def distance(row: ShapeKey, place: ShapeKey) -> tuple[bool, bool, bool, int, float]:
    """How far a row is from a shape: what comes first decides first."""
    steps = sum(abs(math.log2(a / b)) for a, b in zip(row[-4:], place[-4:], strict=True))
    other = row.dtype != place.dtype, row.threads != place.threads, row.stride != place.stride
    return *other, abs(row.kernel - place.kernel), round(steps, 9)


def read(path: Path = TABLE) -> list[RuleRow]:
    """The rows of a table, in its order."""
    with path.open(newline="", encoding="utf-8") as file:
        return [_row(line) for line in csv.DictReader(file)]


def _row(line: dict[str, str]) -> RuleRow:
    numbers = [int(line[field]) for field in ShapeKey._fields[2:]]
    return RuleRow(line["target"], ShapeKey(line["operation"], line["dtype"], *numbers), tuple(line["names"].split()))


@functools.cache
def _rows() -> dict[tuple[str, str], list[RuleRow]]:
    found: dict[tuple[str, str], list[RuleRow]] = {}
    for row in read():
        found.setdefault((row.target, row.place.operation), []).append(row)
    return found
