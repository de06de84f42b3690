"""A technique that was on and did nothing: the run is saved, the last line names it, and the exit code is 3."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import LEAN, Cli

from seedwise.base.files import sha256_of
from seedwise.records.run import read_record

GRAY = ("-s", "augment.grayscale.prob=0.9")
"""The digits are gray."""
LINE = "inert: grayscale: on, and did nothing; switch it off, or find out why"
NOISE = ("-s", "model.drop_path=0.4", "-s", "loss.smoothing=0.1", "-s", "augment.alternating_flip={}")


def test_a_run_is_saved_and_the_last_line_says_it(cli: Cli) -> None:
    answer = cli("train", *LEAN, *GRAY, "-o", "run")
    assert answer.code == 3
    assert answer.out.splitlines()[-1] == "files: run"
    assert answer.err.splitlines()[-1] == LINE
    record = read_record(Path("run"))
    assert record.status == "finished" and record.inert == ["grayscale"]
    again = cli("resume", "run", "--json")
    assert (again.code, again.err.splitlines()[-1]) == (3, LINE)
    assert json.loads(again.out)["inert"] == ["grayscale"]
    assert cli("train", *LEAN, *GRAY, "-o", "run").code == 3


def test_a_study_counts_its_runs(cli: Cli) -> None:
    lean = [word for word in LEAN if word not in ("--seed", "3")]
    answer = cli("train", *lean, *GRAY, "--seeds", "1,2", "--json", "-o", "study")
    assert answer.code == 3
    assert answer.err.splitlines()[-1] == LINE.replace("grayscale", "grayscale (2 of 2 runs)")
    assert [trial["inert"] for trial in json.loads(answer.out)["trials"]] == [["grayscale"]] * 2
    assert cli("resume", "study").code == 3


@pytest.mark.slow
def test_noise_is_counted_across_a_stop(cli: Cli, signal_at: Callable[[int, signal.Signals], None]) -> None:
    assert cli("train", *LEAN, *NOISE, "-o", "whole").code == 0
    signal_at(4, signal.SIGINT)
    assert cli("train", *LEAN, *NOISE, "-o", "stopped").code == 130
    assert cli("resume", "stopped").code == 0
    whole, stopped = read_record(Path("whole")), read_record(Path("stopped"))
    assert whole.techniques == stopped.techniques and whole.inert == []
    assert sha256_of(Path("whole/model.safetensors")) == sha256_of(Path("stopped/model.safetensors"))
    assert whole.techniques["drop_path"]["images"] == 120
    assert whole.techniques["alternating_flip"] == {"images": 120, "share": 0.5}  # once each way in two epochs
    assert 0 < whole.techniques["drop_path"]["share"] < 0.5
    assert whole.techniques["dropout"]["share"] == pytest.approx(0.2, abs=0.05)
    assert whole.techniques["smoothing"]["loss_added"] != 0
