"""Combinations of settings: in the fast suite as many as show each pair of values, in the slow one all others."""

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import pytest


def pairs(*factors: Sequence[Any]) -> list[Any]:
    """Every combination of one value of each factor, for `parametrize`; what `some` doesn't name is marked `slow`.

    A fault that one value or two together bring out fails in the fast suite; one that takes three may fail in the slow.
    """
    chosen = some(tuple(len(values) for values in factors))
    places = itertools.product(*(range(len(values)) for values in factors))
    return [
        pytest.param(*(values[place] for values, place in zip(factors, row)), marks=[] if row in chosen else SLOW)
        for row in places
    ]


SLOW = [pytest.mark.slow]


@functools.cache
def some(sizes: tuple[int, ...]) -> frozenset[tuple[int, ...]]:
    """Rows of places below these sizes in which every pair of places occurs: always the row that adds the most."""
    rows = list(itertools.product(*map(range, sizes)))
    left = {pair for row in rows for pair in _pairs(row)}
    chosen = set()
    while left:
        best = max(rows, key=lambda row: len(left & _pairs(row)))
        chosen.add(best)
        left -= _pairs(best)
    return frozenset(chosen)


@functools.cache
def _pairs(row: tuple[int, ...]) -> frozenset[tuple[tuple[int, int], ...]]:
    return frozenset(itertools.combinations(enumerate(row), min(2, len(row))))
