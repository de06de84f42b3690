"""`seedwise train --time`: what it chooses and says, that it holds, and that what can't hold is refused early."""

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from command_line import Cli, process
from test_cli_train import record_of

import seedwise
from seedwise.run.cost import Cost
from seedwise.run.deadline import Deadline
from seedwise.run.sizing import SPENT, WRITES


@pytest.mark.slow
def test_a_time_is_planned_for_and_numbers_that_contradict_it_are_refused(
    cli: Cli, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = ("-m", "small", "--threads", "1", "-s", "train.insight=false", "--img-size", 16)
    # 40 epochs, and a second for the rest
    found = Cost(steps=4, seconds=40.5, epoch_seconds=1.0, besides_seconds=0.5, memory_gb=0.1)
    monkeypatch.setattr("seedwise.run.rehearsal._cost", lambda *given: found)
    began: list[float] = []
    monkeypatch.setattr(
        "seedwise.run.rehearsal.Deadline", lambda *a, since: began.append(since) or Deadline(*a, since=since)
    )
    asked = time.monotonic()
    answer = cli("train", photos, *small, "--time", "60s", "-o", "out")
    assert asked <= began[0] < asked + 1  # the program's own start counts
    epochs = seedwise.load("out").recipe.train.epochs
    assert answer.code == 0 and f"26 photos: {epochs} epochs of batch 8" in answer.err
    assert epochs >= 25 and 1 + epochs * (1 + WRITES) <= 0.8 * 60 - SPENT
    cut = f"--time 1m: {epochs} of the 40 epochs that the rule would take"
    assert cut in answer.err.splitlines() and cut in answer.out.splitlines()
    timed = record_of("out")["timed"]
    assert timed == {"seconds": 60, "epochs": epochs, "rule_epochs": 40, "image_size": 16, "rule_image_size": 16}
    again = cli("train", photos, *small, "--time", "60s", "-o", "out")
    assert again.code == 0 and cut in again.out and "photos:" not in again.err  # finished: nothing is planned again
    refused = cli("train", photos, *small, "--time", "60s", "--epochs", 5)
    assert refused.code == 2 and "--time: chooses the epochs, and train.epochs is 5" in refused.line
    assert "train.epochs is 3" in cli("train", photos, "-r", "lite", "--time", "25s").line
    least = cli("train", photos, *small, "--time", "1s")
    assert least.code == 2 and "--time: too little for any sensible training: 25 epochs at 16 px" in least.line
    assert "--time soon: give a time such as 15min" in cli("train", photos, "--time", "soon").line
    assert not Path("runs").exists() or not list(Path("runs").iterdir())


@pytest.mark.parametrize(
    ("option", "first"),
    [("--seeds", "base/seed-*"), ("--bagging", "member-1")],
)
@pytest.mark.slow
def test_several_runs_say_what_the_time_cut_and_that_nothing_is_left(
    cli: Cli, photos: Path, monkeypatch: pytest.MonkeyPatch, option: str, first: str
) -> None:
    found = Cost(steps=4, seconds=40.5, epoch_seconds=1.0, besides_seconds=0.5, memory_gb=0.1)
    monkeypatch.setattr("seedwise.run.rehearsal._cost", lambda *given: found)
    words = ("train", photos, "-m", "small", "--threads", "1", "-s", "train.insight=false", "--img-size", 16)
    words += ("--time", "140s", "-o", "out", option)  # type: ignore[assignment]
    dry = cli(*words, 2, "--dry-run")
    [cut] = re.findall(r"^# (--time 140s: \d+ of the 40 epochs that the rule would take)$", dry.out, re.M)
    answer = cli(*words, 2)
    assert answer.code == 0 and cut in answer.err.splitlines() and cut in answer.out.splitlines(), answer
    timed = record_of(next(Path("out/runs").glob(first)))["timed"]
    assert f" {timed['epochs']} of" in cut and "nothing trained" not in answer.err

    again = cli(*words, 2)
    assert re.search(r"^out is finished \(.*, all 2 runs\): nothing trained; ", again.err, re.M), again.err
    assert again.out == answer.out
    none = cli(*words, 2, "--dry-run")
    assert none.code == 0 and re.search(r"# seeds:  none left, done in out: \d+, \d+\n", none.out), none
    some = json.loads(cli(*words, 3, "--dry-run", "--json").out)
    assert (len(some["done"]), len(some["seeds"])) == (2, 1)
    assert some["recipe"]["train"]["epochs"] == timed["epochs"]


@pytest.mark.slow
def test_what_takes_too_long_to_decode_is_refused_with_its_first_images(
    cli: Cli, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seedwise.data import build

    read, decoded = build.read, []

    def slow(*given: Any) -> Any:
        time.sleep(1.0)
        decoded.append(given)
        return read(*given)

    monkeypatch.setattr(build, "read", slow)
    monkeypatch.setattr("seedwise.data.cache.machine.cores", lambda: 1)
    found = Cost(steps=4, seconds=4, epoch_seconds=0.1, besides_seconds=0.5, memory_gb=0.1)
    monkeypatch.setattr("seedwise.run.rehearsal._cost", lambda *given: found)
    small = ("-m", "small", "--threads", "1", "-s", "train.insight=false", "--img-size", 16)
    for limit, alone in (("30s", " alone"), ("45s", "")):
        decoded.clear()
        answer = cli("train", photos, *small, "--time", limit, "-o", "out")
        said = rf"^--time: decoding 36 images{alone} takes about (35|40) s here, and the least training, 25 epochs at "
        assert answer.code == 2 and re.search(said + r"16 px \(100 steps\), about \d+ s; give --time", answer.line)
        assert 4 <= len(decoded) <= 9 and not Path("out").exists()


@pytest.mark.slow
@pytest.mark.alone
def test_a_run_really_ends_within_its_time(photos: Path) -> None:
    began = time.monotonic()
    settings = ("-m", "small", "--threads", "1", "--img-size", "64")
    done = process("train", photos, *settings, "--time", "90s", "-o", "out")
    took = time.monotonic() - began
    assert done.code == 0 and took < 90, (took, done.err)
