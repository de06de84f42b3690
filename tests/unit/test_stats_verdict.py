"""The rule, case by case, and the sentences."""

import math

import pytest

from seedwise.stats import Scale, judge, sentence

TINY = math.nextafter(0, 1)


@pytest.mark.parametrize(
    ("mean", "significant", "interval", "equivalent", "verdict"),
    [
        (0.02, True, (0.01, 0.03), False, "helps"),
        (-0.02, True, (-0.03, -0.01), False, "hurts"),
        (0.003, True, (0.001, 0.006), True, "helps"),  # it may matter
        (0.002, True, (0.001, 0.0049), True, "real but too small to matter"),
        (-0.002, True, (-0.0049, -0.001), True, "real but too small to matter"),
        (0.002, True, (0.001, 0.005), True, "helps"),  # the margin itself matters
        (0.001, False, (-0.001, 0.003), True, "no difference that matters"),
        (0.001, False, (-0.004, 0.006), False, "undecided"),
        (0.02, False, None, False, "undecided"),
    ],
)
def test_the_rule(
    mean: float, significant: bool, interval: tuple[float, float] | None, equivalent: bool, verdict: str
) -> None:
    assert judge(mean, significant, interval, equivalent, 0.005) == verdict
    mirrored = None if interval is None else (-interval[1], -interval[0])
    swapped = {"helps": "hurts", "hurts": "helps"}.get(verdict, verdict)
    assert judge(-mean, significant, mirrored, equivalent, 0.005) == swapped
    assert judge(mean, significant, interval, equivalent, 0.005, better=-1) == swapped


def test_the_issues_own_sentence() -> None:
    words = sentence("undecided", 0.005, (-0.003, 0.013), 6, 14, 0.005, Scale())
    assert words == "undecided: +0.5 points, interval [−0.3, +1.3]; about 14 seeds would decide it"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("helps", 0.021, (0.012, 0.03), 6, None), "helps: +2.1 points, interval [+1.2, +3.0]"),
        (("hurts", -0.011, (-0.022, -TINY), 6, None), "hurts: −1.1 points, interval [−2.2, <0]"),
        (("helps", 0.011, (TINY, 0.022), 6, None), "helps: +1.1 points, interval [>0, +2.2]"),
        (("helps", 0.011, (0.0004, 0.022), 6, None), "helps: +1.1 points, interval [>0, +2.2]"),
        (
            ("real but too small to matter", 0.002, (0.0011, 0.0029), 6, None),
            "real but too small to matter: +0.20 points, interval [+0.11, +0.29], all of it within ±0.5 points",
        ),
        (
            ("no difference that matters", -0.0008, (-0.006, 0.001), 6, None),
            "no difference that matters: −0.08 points; 0.5 points or more, either way, is ruled out",
        ),
        (
            ("undecided", 0.01, None, 1, None),
            "undecided: +1.0 points from a single seed, which shows no spread to judge it by; give 5 seeds or more",
        ),
        (
            ("undecided", 0.01, (0.0, 0.01), 3, None),
            "undecided: +1.0 points, interval [0.0, +1.0]; all 3 seeds show the same difference, "
            "so that their noise can't be judged",
        ),
        (
            ("undecided", 0.0001, (-0.03, 0.0302), 5, None),
            "undecided: 0.0 points, interval [−3.0, +3.0]; not worth it: not even 1000 seeds would decide it",
        ),
        (
            ("undecided", 0.004, (-0.03, 0.038), 5, 50),
            "undecided: +0.4 points, interval [−3.0, +3.8]; about 50 seeds would decide it",
        ),
        (
            ("undecided", 0.004, (-0.03, 0.038), 5, 51),
            "undecided: +0.4 points, interval [−3.0, +3.8]; not worth it: about 51 seeds would decide it",
        ),
    ],
)
def test_sentences(arguments: tuple[object, ...], words: str) -> None:
    assert sentence(*arguments, 0.005, Scale()) == words  # type: ignore[arg-type, call-arg]


def test_other_units_are_printed_as_they_are() -> None:
    words = sentence("hurts", 0.31, (0.12, 0.5), 6, None, 0.05, Scale(1.0, "nats"))
    assert words == "hurts: +0.31 nats, interval [+0.12, +0.50]"
