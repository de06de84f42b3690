"""The bar on a terminal: it fits, the time left is whole, it moves with few steps, and it goes."""

import io
import re

import pytest
from rich.console import Console

from seedwise.cli import live
from seedwise.cli.live import Live, Pace, left_in_words

CODES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Clock:
    now = 0.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(live.time, "monotonic", lambda: clock.now)
    return clock


def terminal(width: int) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=True, width=width, highlight=False, legacy_windows=False), out


def drawn(bar: Live, out: io.StringIO) -> list[str]:
    """The lines as they stand now."""
    out.seek(0), out.truncate()
    bar._progress.refresh()
    return [line for line in re.split(r"[\r\n]+", CODES.sub("", out.getvalue())) if line.strip()]


@pytest.mark.parametrize("width", [200, 80, 60, 40, 30])
def test_the_time_left_is_whole_at_any_width(width: int, clock: Clock) -> None:
    console, out = terminal(width)
    with Live(console) as bar:
        bar.on_start(100, 360, 0)
        clock.now = 3600.0
        bar.on_step(7, 2400, 2.345, 0.123, 1234.5)
        (line,) = drawn(bar, out)
        assert line.endswith("14:00:00 left") and len(line) < width, line
        assert "training" in line or width < 40
        if width >= 80:
            assert "2400/36000" in line and "epoch 7" in line and "━" in line
        if width == 200:
            assert "top-1 0.123" in line and "loss 2.345" in line and "1234 images/s" in line


def test_it_counts_down_between_steps_and_says_nothing_before_the_first_or_behind_the_last(clock: Clock) -> None:
    pace = Pace(10, 4)  # resumed
    assert pace.seconds_left() is None and left_in_words(None) == ""
    clock.now = 20.0
    pace.reach(6)
    assert pace.seconds_left() == 40.0 and left_in_words(40.0) == "0:00:40 left"
    clock.now = 25.0
    assert pace.seconds_left() == 35.0
    clock.now = 100.0
    assert pace.seconds_left() == 0.0
    pace.reach(10)
    assert pace.seconds_left() is None


def test_a_phase_stands_below_and_goes_and_long_names_are_cut(clock: Clock) -> None:
    console, out = terminal(80)
    with Live(console) as bar:
        bar.on_phase("decoding a folder whose name is longer than anybody would think train", 64, 2062)
        (line,) = drawn(bar, out)
        assert len(line) < 80 and "…" in line and line.endswith("64/2062")
        bar.on_phase("preparing the network", 0, 1)
        assert drawn(bar, out)[0].rstrip().endswith("━")  # one thing has no count
        bar.on_start(2, 3, 0)
        assert [line.split("  ")[0] for line in drawn(bar, out)] == ["training"]


def test_nothing_is_left_when_it_is_done(clock: Clock) -> None:
    console, out = terminal(80)
    with Live(console) as bar:
        bar.on_data(["60 images"])
        bar.on_start(1, 3, 0)
        bar.on_step(1, 3, 1.0, 0.5, 10.0)
    screen = [""]
    for piece in re.findall(r"\x1b\[[0-9;?]*[a-zA-Z]|\r|\n|[^\x1b\r\n]+", out.getvalue()):  # a small terminal
        if piece == "\n":
            screen.append("")
        elif piece == "\x1b[1A":
            screen.pop()
        elif piece == "\x1b[2K":
            screen[-1] = ""
        elif not piece.startswith("\x1b") and piece != "\r":
            screen[-1] += piece
    assert [line for line in screen if line.strip()] == ["60 images"]
