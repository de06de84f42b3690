"""What `--time` leaves, and refusals that come early."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from seedwise.base.errors import UserError
from seedwise.data.parallel import in_order
from seedwise.data.source import RawImage
from seedwise.run.deadline import Deadline, Least
from seedwise.run.sizing import MARGIN, SPENT

LEAST = Least("4 epochs at 96 px (128 steps)", 30.0)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def silent(label: str, done: int, count: int) -> None:
    pass


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_what_is_left_is_a_trials_share_with_a_margin(clock: Clock) -> None:
    deadline = Deadline(120, 2, clock)
    clock.now += 20
    assert deadline.elapsed() == 10 and deadline.left() == pytest.approx(MARGIN * 50 - SPENT)


def test_the_start_of_the_program_counts(clock: Clock) -> None:
    assert Deadline(120, clock=clock, since=70.0).elapsed() == 30


def test_a_pace_that_fits_is_shown_and_not_refused(clock: Clock) -> None:
    seen = []
    report = Deadline(120, clock=clock).watched(lambda *given: seen.append(given), 1000, LEAST)
    for done in range(100, 1001, 100):
        clock.now += 5
        report("decoding photos train", done, 1000)
    assert len(seen) == 10


def test_a_pace_that_does_not_fit_is_refused_at_once(clock: Clock) -> None:
    report = Deadline(120, clock=clock).watched(silent, 1000, LEAST)
    clock.now += 5
    report("decoding photos train", 4, 1000)  # they waited for others
    clock.now += 0.9
    report("decoding photos train", 5, 1000)  # too early to tell
    clock.now += 0.6
    words = r"^--time: decoding 1,000 images takes about 2 min here, and the least training, 4 epochs at 96 px "
    with pytest.raises(UserError, match=words + r"\(128 steps\), about 30 s; give --time 2\.5m$"):
        report("decoding photos train", 19, 1000)  # 100 s, of which 120 - (30 + SPENT) / MARGIN = 75 are left


def test_decoding_that_alone_takes_longer_is_said_to(clock: Clock) -> None:
    report = Deadline(120, clock=clock).watched(silent, 1000, LEAST)
    report("decoding photos train", 0, 1000)
    clock.now += 2
    with pytest.raises(UserError, match=r"decoding 1,000 images alone takes about 3 min here, .*give --time 4\.5m$"):
        report("decoding photos train", 10, 1000)


def test_the_time_that_is_named_would_do(clock: Clock) -> None:
    for pace in (0.1, 0.15, 0.3):
        for limit, trials in ((60, 1), (120, 1), (300, 3)):
            report = Deadline(limit, trials, clock).watched(silent, 1000, LEAST)
            report("decoding photos", 0, 1000)
            clock.now += 100 * pace
            try:
                report("decoding photos", 100, 1000)
            except UserError as error:
                given = str(error).split("give --time ")[1].split("m")[0]
                again = Deadline(60 * float(given), trials, clock).watched(silent, 1000, LEAST)
                before = 0
                for done in (100, 500, 1000):
                    clock.now += pace * (done - before)
                    before = done
                    again("decoding photos", done, 1000)


def test_parts_that_are_still_to_come_count(clock: Clock) -> None:
    def decode(images: int) -> None:
        report = Deadline(120, clock=clock).watched(silent, images, LEAST)
        report("decoding photos train", 0, 500)
        clock.now += 5
        report("decoding photos train", 100, 500)

    decode(500)  # 25 s
    with pytest.raises(UserError, match="decoding 2,000 images takes about 2 min here"):
        decode(2000)
    report = Deadline(120, clock=clock).watched(silent, 600, LEAST)
    report("decoding photos train", 0, 500)
    clock.now += 25
    report("decoding photos train", 500, 500)
    report("decoding photos val", 0, 100)
    clock.now += 5
    report("decoding photos val", 50, 100)  # 35 s in all
    clock.now += 60
    with pytest.raises(UserError, match="decoding 100 images"):
        report("decoding photos val", 51, 100)


@pytest.mark.parametrize("label", ["downloading cifar100", "waiting for another process that decodes photos"])
def test_whatever_else_comes_first_is_bounded_too(clock: Clock, label: str) -> None:
    report = Deadline(60, clock=clock).watched(silent)
    clock.now += 10
    report(label, 0, 1)
    clock.now += 43
    with pytest.raises(UserError, match=f"^--time: {label} takes about .* here; give --time 1.5m$"):
        report(label, 0, 1)


def test_kernels_that_are_not_compiled_yet_are_said_before_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seedwise.kernels import launch
    from seedwise.recipe import library
    from seedwise.run import resolve
    from seedwise.run.rehearsal import rehearse

    monkeypatch.setenv("SEEDWISE_CACHE", str(tmp_path))
    monkeypatch.setattr(launch, "seconds_to_prepare", lambda: 300.0)
    monkeypatch.setattr(resolve, "resolve", lambda recipe: 1 / 0)  # which compiles them
    recipe = library.read("photos", ["model.name=small"])
    with pytest.raises(UserError, match=r"^--time: compiling the kernels, once, alone takes about 5 min"):
        rehearse(recipe, "digits", data_dir=None, seconds=120)


def test_when_progress_raises_no_further_image_is_begun() -> None:
    begun, reports = [], []

    def images() -> Iterator[RawImage]:
        for number in range(1000):
            yield RawImage(str(number), b"")

    def make(raw: RawImage) -> str:
        begun.append(raw.where)
        return raw.where

    def report(done: int) -> None:
        reports.append(done)
        raise UserError("no more")

    with pytest.raises(UserError, match="no more"):
        list(in_order(images(), make, 2, report))
    assert reports == [4] and len(begun) <= 2 * (4 + 4 + 8 + 16)
    assert list(in_order(images(), lambda raw: raw.where, 3, lambda done: None)) == [str(n) for n in range(1000)]


def test_noise_stands_in_for_photos_as_many_and_as_large() -> None:
    from seedwise.data.glance import Glance
    from seedwise.data.stand_in import stand_in

    noise = stand_in(Glance(train=100, classes=7, short_side=90, val=9, test=0, images=109), 96)
    assert noise.splits == {"train": 100, "val": 9, "test": 0} and noise.test is None and len(noise.classes) == 7
    pixels, sizes = noise.train.gather(np.array([0, 99]))
    assert sizes is not None and sizes.min() == 90 and pixels.shape == (2, 3, 120, 120) and pixels.std() > 50
    assert stand_in(Glance(100, 7, 500), 96).train.short_side == 96


def test_slow_steps_are_not_measured_over_and_over() -> None:
    from seedwise.run import cost

    calls = []
    cost._time(lambda: calls.append(time.sleep(0.02)), 0.01)
    assert len(calls) == 1
    cost._time(lambda: calls.append(None), 0.01)
    assert len(calls) == 1 + 1 + cost.STEPS
