"""Axes and numbers of the report's charts."""

import pytest

from seedwise.reports.svg import MOST_POINTS, Axis, Plot, number, shortened, thinned


@pytest.mark.parametrize("values", [[0.0, 1.0], [-3e-7, 4e-7], [0.5], [0.0], [12, 13], [1e-9, 1e9], []])
@pytest.mark.parametrize("whole", [False, True])
def test_ticks_are_round_few_and_within(values: list[float], whole: bool) -> None:
    axis = Axis.over(values, whole=whole)
    assert axis.low < axis.high and 1 <= len(axis.ticks) <= 11
    assert all(axis.low <= tick <= axis.high for tick in axis.ticks)
    assert len(set(axis.texts())) == len(axis.ticks)
    if whole:
        assert all(tick == int(tick) for tick in axis.ticks)
    assert axis.place(axis.low, 10, 20) == 10 and axis.place(axis.high, 10, 20) == 20


@pytest.mark.parametrize("values", [[1e300, -1e300], [10**400], [-(10**400), 0.0]])
def test_numbers_that_no_chart_can_hold_do_no_harm(values: list[float]) -> None:
    axis = Axis.over(values)
    assert all(10 <= axis.place(value, 10, 20) <= 20 for value in values) and axis.texts()


def test_numbers_have_a_true_minus_and_zero_has_no_sign() -> None:
    assert [number(value, 1, signed=True) for value in (-1.25, -0.01, 0.0, 2.0)] == ["−1.2", "0.0", "0.0", "+2.0"]
    assert Axis.over([0.98, 0.99]).texts(percent=True) == ["98.0", "98.2", "98.4", "98.6", "98.8", "99.0"]


def test_long_lines_keep_their_ends() -> None:
    points = [(float(x), 0.0) for x in range(5000)]
    assert len(thinned(points)) == MOST_POINTS
    assert (thinned(points)[0], thinned(points)[-1]) == (points[0], points[-1])


def test_words_in_a_drawing_are_never_markup() -> None:
    plot = Plot(Axis.over([0, 1]), Axis.over([0, 1]))
    plot.text(0, 0, "<b>", "name")
    plot.dot((0, 0), "</title><script>")
    assert "<b>" not in plot.svg('"><script>') and "<script>" not in plot.svg('"><script>')


@pytest.mark.parametrize("name", ["a" * 90, "가" * 40, "ab가나" * 9, "x"])
@pytest.mark.parametrize("room", [-3.0, 0, 1, 7, 24.5])
def test_a_long_name_keeps_both_ends_and_fits(name: str, room: float) -> None:
    short = shortened(name, room)
    width = sum(2 if letter >= "가" else 1 for letter in short)
    assert width <= max(room, 1)
    if short != name:
        head, tail = short.split("…")
        assert name.startswith(head) and name.endswith(tail) and 0 <= len(head) - len(tail) <= 1
        assert width >= room - 2


def test_a_shortened_name_is_told_in_full_when_pointed_at() -> None:
    plot = Plot(Axis.over([0, 1]), Axis.over([0, 1]))
    plot.text(0, 0, "<b>" * 20, "name", 60)
    assert f"<title>{'&lt;b&gt;' * 20}</title>&lt;b&gt;" in plot.svg("a chart") and "…" in plot.svg("a chart")


def test_an_axis_of_shares_ends_at_a_hundred_percent() -> None:
    for values in ([0.5, 1.0], [1.0, 1.0], [0.0, 1.0], [0.95, 0.999]):
        axis = Axis.over(values, limits=(0, 1))
        assert 0 <= axis.low <= min(values) and max(values) <= axis.high <= 1
        assert min(axis.ticks) >= 0 and max(axis.ticks) <= 1 and axis.low < axis.high
