"""Fewer combinations in the fast suite still show each pair of values."""

import itertools

import pytest

from covering import pairs, some


@pytest.mark.parametrize(
    ("sizes", "most"), [((3,), 3), ((2, 5), 10), ((2, 2, 2), 4), ((2, 4, 2, 2), 9), ((7, 3, 4), 34)]
)
def test_every_pair_of_values_occurs_and_few_rows_do(sizes: tuple[int, ...], most: int) -> None:
    rows = some(sizes)
    for first, second in itertools.combinations(range(len(sizes)), 2):
        shown = {(row[first], row[second]) for row in rows}
        assert shown == set(itertools.product(range(sizes[first]), range(sizes[second])))
    assert {row[0] for row in rows} == set(range(sizes[0])) and len(rows) <= most


def test_no_combination_is_dropped() -> None:
    found = pairs("ab", (1, 2), [None, 0.5, {}])
    assert [tuple(each.values) for each in found] == list(itertools.product("ab", (1, 2), [None, 0.5, {}]))
    assert [len(each.marks) for each in found].count(0) == 6 and not found[0].marks
