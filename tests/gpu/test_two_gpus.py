"""Trials that run at once have a GPU each, where there are several alike."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from null_driver import Machine, NullDriver, Question
from null_fixtures import seedwise

ABLATION = (
    *("ablate", "digits", "--toggle", "vertical_flip", "--seeds", "2", "-m", "small", "--epochs", "1", "-j", "auto"),
    *("--img-size", "16", "-b", "20", "-s", "data.limit=60", "-s", "data.val=20", "-s", "data.test=20"),
    *("-s", "train.insight=false", "-o", "study"),
)


def ablated(folder: str) -> int:
    os.chdir(folder)
    return seedwise(*ABLATION)


@pytest.mark.slow
def test_an_ablation_of_two_gpus_uses_both_one_trial_each(null_driver: NullDriver, tmp_path: Path) -> None:
    (answer,) = null_driver.ask([Question(ablated, (str(tmp_path),), Machine((80, 80)))])
    assert answer.demand() in (0, 3), answer.err  # 3: what does nothing is inert
    study = json.loads((tmp_path / "study/study.json").read_text())
    assert study["jobs"] == 2
    assert all(arm["compute"]["device"] == "cuda" for arm in study["arms"].values())
    machines = [
        json.loads((tmp_path / "study" / trial["folder"] / "record.json").read_text())["machine"]
        for trial in study["trials"]
    ]
    assert all(machine["gpus"] == ["Null GPU sm_80"] for machine in machines), "a trial sees its own"
    assert len({machine["gpu_uuid"] for machine in machines}) == 2


def shared_out(device: str) -> list[Any]:
    """Trials at a time by `-j auto`, and the GPUs that they get."""
    from seedwise.study.jobs import gpus_of, jobs_of

    return [jobs_of("auto", device), list(gpus_of(device))]


def touched() -> bool:
    """Whether what trials are forked from has asked CUDA anything."""
    import null_counts
    import torch

    return torch.cuda.is_initialized() or null_counts.counts()["device_counts"] > 0


def handed_out() -> list[str]:
    """GPUs of three trials at once, and of the next when the second has ended."""
    from types import SimpleNamespace

    from seedwise.engine.control import RunControl
    from seedwise.study.local_runner import Processes

    runner = Processes(RunControl(), 3, 1, 4, gpus=("0", "1"))
    got = []
    for _ in range(3):
        got.append(runner._gpu())
        runner._running.append(SimpleNamespace(gpu=got[-1]))  # type: ignore[arg-type]
    del runner._running[1]
    return [*got, runner._gpu()]


@pytest.mark.slow
def test_only_like_gpus_are_shared_out_and_by_the_names_that_their_users_see(null_driver: NullDriver) -> None:
    cases: list[tuple[str, Machine, dict[str, str], Any]] = [
        ("auto", Machine((80, 80)), {}, [2, ["0", "1"]]),
        ("cuda", Machine((80, 80, 80)), {"CUDA_VISIBLE_DEVICES": "2,1"}, [2, ["2", "1"]]),
        ("auto", Machine((60, 80, 80)), {}, [1, []]),  # it takes cuda:1, which is one GPU
        ("auto", Machine((60, 80, 80)), {"CUDA_VISIBLE_DEVICES": "1,2"}, [2, ["1", "2"]]),
        ("auto", Machine((80, 75)), {}, [1, ["0"]]),
        ("cuda:1", Machine((80, 80)), {}, [1, []]),
        ("cpu", Machine((80, 80)), {}, [1, []]),
        ("auto", Machine(()), {}, [1, []]),
        ("auto", Machine((80,), old_driver=True), {}, [1, []]),
    ]
    asked = [Question(shared_out, (device,), machine, variables) for device, machine, variables, _ in cases]
    *answers, before, turns = null_driver.ask([*asked, Question(touched), Question(handed_out)])
    for (*case, expected), answer in zip(cases, answers, strict=True):
        assert answer.demand() == expected, case
        assert answer.err.count("is left out") == (case[1] == Machine((80, 75))), case
    assert before.demand() is False
    assert turns.demand() == ["0", "1", "0", "1"]
