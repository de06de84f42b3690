"""`seedwise sweep`: ranked on validation, and of all settings only the winner's test images are read."""

import json
from pathlib import Path

import pytest
from command_line import Cli

SWEEP = (
    *("sweep", "digits", "-r", "demo", "-s", "model.name=small", "-s", "train.epochs=1", "-s", "train.image_size=16"),
    *("-s", "compute.threads=1", "-s", "data.limit=60", "-s", "data.val=40", "-s", "data.test=20"),
    *("-s", "optim.lr=1e-4,1e-2", "--seeds", "1,2", "-o", "swept"),
)


def test_only_the_winners_test_images_are_read_and_again_nothing_is_trained(cli: Cli) -> None:
    answer = cli(*SWEEP, "--json")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    records = {path.parts[-3:-1]: json.loads(path.read_text()) for path in Path("swept/runs").glob("*/*/record.json")}
    val = {
        arm: sum(records[arm, f"seed-{seed}"]["final"]["val"]["top1"] for seed in (1, 2)) / 2
        for arm in ("base", "lr=0.01")
    }
    assert [place["val"]["mean"] for place in found["ranking"]] == sorted(val.values(), reverse=True)
    winner = found["winner"]["arm"]
    assert winner == found["ranking"][0]["arm"] and val[winner] == max(val.values())
    for (arm, _), record in records.items():
        assert record["test_evaluations"] == (arm == winner) and (record["final"]["test"] is None) == (arm != winner)
    tops = [records[winner, f"seed-{seed}"]["final"]["test"]["top1"] for seed in (1, 2)]
    assert found["winner"]["test"]["mean"] == sum(tops) / 2
    before = {path: path.stat().st_mtime_ns for path in Path("swept/runs").glob("*/*/record.json")}
    again = cli(*SWEEP, "--budget", "1h")
    assert "swept is finished (20" in again.err and "all 4 runs): nothing trained" in again.err
    assert again.code == 0 and "best on validation: -s optim.lr=" in again.out and "its test top-1" in again.out
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.slow
def test_a_budget_stops_between_seeds_and_the_same_command_goes_on(cli: Cli) -> None:
    answer = cli(*SWEEP, "--budget", "0s")
    assert answer.code == 0 and "stopped by the budget after 1 of 2 seeds; go on with: the same command" in answer.out
    assert len(list(Path("swept/runs").glob("*/*/record.json"))) == 2 and "best on validation" not in answer.out
    assert "best on validation" in cli(*SWEEP).out
