"""Test images left unread by a run, and read later: the same answers, bit for bit, and counted."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import LEAN, Cli

import seedwise
from seedwise.run.deferred_scoring import score_test

UNREAD = (*LEAN, "-s", "optim.ema={}", "-s", "train.score_test=false")


def test_unread_test_images_are_read_once_later_with_the_bits_of_the_training(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli("train", *LEAN, "-s", "optim.ema={}", "-o", "read").code == 0
    answer = cli("train", *UNREAD, "-o", "unread")
    assert answer.code == 0 and "\ntest" not in answer.out and "val top-1" in answer.out
    record = json.loads(Path("unread/record.json").read_text())
    assert record["final"]["test"] is None and record["ema"]["test"] is None and record["test_evaluations"] == 0
    assert record["data"]["splits"]["test"] == 20
    with np.load("unread/predictions.npz") as stored:
        assert not [name for name in stored.files if name.startswith("test")]
    read = seedwise.load("read")
    for _ in range(2):
        found = score_test(Path("unread"))
        assert found.test_evaluations == 2 and found.final is not None and read.record.final is not None
        assert found.final.test == read.record.final.test
    for split in ("val", "test", "val_ema", "test_ema"):
        for ours, theirs in zip(seedwise.load("unread").logits(split), read.logits(split), strict=True):
            assert np.array_equal(ours, theirs), split


@pytest.mark.slow
def test_a_kill_before_the_record_is_written_loses_nothing(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from seedwise.run import deferred_scoring

    assert cli("train", *UNREAD, "-o", "unread").code == 0
    shutil.copytree("unread", "whole")
    score_test(Path("whole"))
    for dies_at in ("write_predictions", "sha256_of"):
        shutil.rmtree("unread", ignore_errors=True)
        assert cli("train", *UNREAD, "-o", "unread").code == 0
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):

            def die(*given: object) -> None:
                raise KeyboardInterrupt

            patch.setattr(deferred_scoring, dies_at, die)
            score_test(Path("unread"))
        seedwise.load("unread").logits("val")
        assert score_test(Path("unread")).final == score_test(Path("whole")).final
        assert Path("unread/predictions.npz").read_bytes() == Path("whole/predictions.npz").read_bytes()
        with np.load("unread/predictions.npz") as stored:
            splits = [name.removesuffix("_ids") for name in stored.files if name.endswith("_ids")]
        assert splits == ["val", "val_ema", "test", "test_ema"]
