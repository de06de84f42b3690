"""Finds duplicates in a data set: equal pixels, copies and look-alikes, told apart and counted.

A copy is what is left when two images are aligned and their difference is as small as compression makes it (`same`).
Whether that is small enough for these data, their labels tell: false pairs join two labels as often as other pairs that
look alike, true ones hardly ever. Where this makes more than a tenth of the copies false, the limit is lowered.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from seedwise.audits.findings import FalsePairs
from seedwise.audits.near import SIDE, Pairs, candidates
from seedwise.audits.same import Rest, place, rest
from seedwise.audits.scan import Scanned, exact_duplicates, thumbnail
from seedwise.data.source import Progress, UInt8Array

WHOLE: Final = 1.3
"""Largest remaining difference of copies over the whole picture, in units of what JPEG at quality 50 changes."""
WORST: Final = 2.25
"""Largest remaining difference of copies in their worst tile, in the same units."""
DOUBTFUL: Final = 1.6
"""Factor on these limits: pairs whose thumbnails differ by more are surely not one picture, and not looked at again."""
SIZES: Final = (96, 64, 48, SIDE)
"""Sides in pixels at which pairs are compared: the largest that both images have."""
LOOK_ALIKE: Final = 0.72
"""Least correlation of detail of look-alikes."""
TOLERATED: Final = 0.1
"""Share of the copies that may be false, by their labels."""
ENOUGH: Final = 20
"""Number of pairs, surely not one picture, that suffices to estimate the chance of two labels; else from all images."""

Kind = Literal["equal", "copy", "alike"]
Look = Callable[[Mapping[str, set[int]], Callable[[UInt8Array], UInt8Array]], Mapping[tuple[str, int], UInt8Array]]
"""Decodes some images again: see `look_again`."""


@dataclass(frozen=True)
class Likeness:
    """Kind and similarity of a pair: see `findings.Pair`."""

    kind: Kind
    rest: float | None
    detail: float
    mirrored: bool


@dataclass(frozen=True)
class Found:
    """Pairs (i < j) with their likeness; the limit of copies, and estimates of false pairs by kind."""

    pairs: dict[tuple[int, int], Likeness]
    limit: float
    estimates: dict[str, FalsePairs]


def find_pairs(parts: Mapping[str, Scanned], look: Look, progress: Progress) -> Found:
    """Find pairs among the images of all parts, numbered one part after the other."""
    exact, thumbnails, labels, sides = (
        np.concatenate([getattr(part, name) for part in parts.values()])
        for name in ("exact", "thumbnails", "labels", "sides")
    )
    near = candidates(thumbnails, progress)
    equal = (exact[near.first] == exact[near.second]).all(axis=1)
    near = _chosen(near, ~equal)
    found = {pair: Likeness("equal", None, 1.0, mirrored=False) for pair in exact_duplicates(exact)}
    first = _turned(thumbnails[near.first], near.mirrored)
    guess = place(near.scale, near.left / np.float32(SIDE), near.top / np.float32(SIDE))
    small = rest(first, thumbnails[near.second], guess, progress)
    left = _relative(small)
    again = np.flatnonzero((left <= DOUBTFUL) & (np.minimum(sides[near.first], sides[near.second]) > SIDE))
    left[again] = _left_again(_chosen(near, again), small.placed[again], _place_of(parts), sides, look, progress)
    two_labels = labels[near.first] != labels[near.second]
    chance = _chance(two_labels[left > DOUBTFUL], labels)
    limit = _limit(left, two_labels, chance)
    is_copy = left <= limit
    is_alike = ~is_copy & ((near.detail >= LOOK_ALIKE) | (left <= DOUBTFUL))
    kinds: tuple[tuple[Kind, NDArray[np.bool_]], ...] = (("copy", is_copy), ("alike", is_alike))
    for kind, chosen in kinds:
        for at in np.flatnonzero(chosen):
            pair = int(near.first[at]), int(near.second[at])
            found[pair] = Likeness(
                kind, round(float(left[at]), 4), round(float(near.detail[at]), 4), bool(near.mirrored[at])
            )
    estimates = {"copy": _estimate(two_labels[is_copy], chance), "alike": _estimate(two_labels[is_alike], chance)}
    return Found(found, limit, estimates)


def _chosen(near: Pairs, which: NDArray[np.bool_] | NDArray[np.int64]) -> Pairs:
    return Pairs(*(getattr(near, name)[which] for name in Pairs.__dataclass_fields__))


def _place_of(parts: Mapping[str, Scanned]) -> list[tuple[str, int]]:
    return [(name, row) for name, part in parts.items() for row in range(len(part.labels))]


def _left_again(
    near: Pairs,
    placed: NDArray[np.float32],
    places: list[tuple[str, int]],
    sides: NDArray[np.int64],
    look: Look,
    progress: Progress,
) -> NDArray[np.float64]:
    """Remaining difference of pairs at the largest size that both have; infinite where an image is gone."""
    wanted: dict[str, set[int]] = {}
    for number in {*near.first.tolist(), *near.second.tolist()}:
        part, row = places[number]
        wanted.setdefault(part, set()).add(row)
    seen = look(wanted, lambda pixels: thumbnail(pixels, min(SIZES[0], *pixels.shape[:2])))
    side = np.minimum(sides[near.first], sides[near.second])
    left = np.full(len(near), np.inf)
    for larger, size in zip((2**31, *SIZES), SIZES, strict=False):
        there = [places[i] in seen and places[j] in seen for i, j in zip(near.first, near.second, strict=True)]
        at = np.flatnonzero((side >= size) & (side < larger) & np.array(there, bool))
        if len(at):
            some = _chosen(near, at)
            first, second = (
                np.stack([thumbnail(seen[places[number]], size) for number in numbers])
                for numbers in (some.first, some.second)
            )
            left[at] = _relative(rest(_turned(first, some.mirrored), second, placed[at], progress))
    return left


def _turned(images: UInt8Array, mirrored: NDArray[np.bool_]) -> UInt8Array:
    return np.where(mirrored[:, None, None, None], images[:, :, ::-1], images)


def _relative(found: Rest) -> NDArray[np.float64]:
    """The remaining difference in units of the most that copies may have."""
    relative: NDArray[np.float64] = np.maximum(found.whole / WHOLE, found.worst / WORST).astype(np.float64)
    return relative


def _chance(two_labels: NDArray[np.bool_], labels: NDArray[np.int64]) -> float:
    """Share of false pairs with two labels, estimated from those that look alike and are surely not one picture."""
    if len(two_labels) >= ENOUGH and two_labels.any():
        return float(two_labels.mean())
    shares = np.bincount(labels) / max(1, len(labels))
    return float(1 - np.square(shares).sum())


def _limit(left: NDArray[np.float64], two_labels: NDArray[np.bool_], chance: float) -> float:
    """The largest limit up to 1 at which few enough copies are false; a single pair of two labels is no rate."""
    order = np.argsort(left, kind="stable")
    order = order[left[order] <= 1]
    opposed = np.cumsum(two_labels[order])
    tolerable = (opposed <= 1) | (opposed <= TOLERATED * chance * np.arange(1, len(order) + 1))
    if not len(order) or tolerable[-1]:
        return 1.0
    within = np.flatnonzero(tolerable)
    return float(left[order[within[-1]]]) if len(within) else 0.0


def _estimate(two_labels: NDArray[np.bool_], chance: float) -> FalsePairs:
    pairs, opposed = len(two_labels), int(two_labels.sum())
    false = min(float(pairs), opposed / chance) if chance else 0.0
    return FalsePairs(pairs=pairs, two_labels=opposed, chance=round(chance, 4), false=round(false, 1))
