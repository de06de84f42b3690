"""Runs of a machine with a GPU on one without, and the other way round: they compute on what there is, and say so."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from null_driver import Machine, NullDriver, Question
from null_fixtures import seedwise
from PIL import Image

TINY = (
    *("digits", "-m", "small", "--epochs", "2", "--img-size", "16", "-b", "20", "--threads", "1", "--seed", "3"),
    *("-s", "data.limit=60", "-s", "data.val=20", "-s", "data.test=20", "-s", "train.checkpoint_every=1"),
    *("-s", "train.insight=false"),
)
STEPS = 3
NOT_HERE = "trained on cuda in bf16, which is not here: computes on cpu in "


def trained(folder: str, *settings: str) -> list[int]:
    """Train a run in the folder's `run`, and another one of it in `stopped`, which stops after its first epoch."""
    from seedwise.cli import progress

    os.chdir(folder)
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save("photo.png")
    codes = [seedwise("train", *TINY, *settings, "-o", "run")]

    def on_step(self: object, epoch: int, step: int, *rest: float) -> None:
        if step == STEPS + 1:  # the next step asks
            os.kill(os.getpid(), signal.SIGINT)

    progress._Plain.on_step = on_step  # type: ignore
    return [*codes, seedwise("train", *TINY, *settings, "-o", "stopped")]


def commands(folder: str, *several: list[str]) -> list[list[Any]]:
    """Exit code and stderr of each command."""
    import contextlib
    import io

    os.chdir(folder)
    answers: list[list[Any]] = []
    for words in several:
        with contextlib.redirect_stderr(io.StringIO()) as err:
            answers.append([seedwise(*words), err.getvalue()])
    return answers


def test_a_run_of_a_gpu_computes_without_one_and_says_so(null_driver: NullDriver, tmp_path: Path) -> None:
    place, one, none, two = str(tmp_path), Machine((80,)), Machine(()), Machine((80, 80))
    began, moved, back = null_driver.ask(
        [
            Question(trained, (place,), one),
            Question(
                commands,
                (
                    place,
                    ["evaluate", "run", "--split", "val"],
                    ["evaluate", "run", "--device", "cuda"],
                    ["predict", "run", "photo.png", "--explain"],
                    ["resume", "stopped"],
                    ["resume", "stopped", "--elsewhere"],
                    ["evaluate", "stopped"],
                ),
                none,
            ),
            Question(
                commands,
                (
                    place,
                    ["evaluate", "run", "--device", "cuda:1"],
                    ["predict", "run", "photo.png", "--device", "cuda:1", "--explain"],
                    ["predict", "run", "photo.png", "--device", "cpu"],
                    ["evaluate", "stopped", "--device", "tpu"],
                ),
                two,
            ),
        ]
    )
    assert began.demand() == [0, 130], began.err
    machine = json.loads((tmp_path / "run/record.json").read_text())["machine"]
    assert (machine["device"], machine["gpu"]) == ("cuda", "Null GPU sm_80 (sm_80)")
    evaluated, asked, predicted, refused, resumed, again = moved.demand()
    assert evaluated[0] == 0 and evaluated[1].count(NOT_HERE) == 1, evaluated
    assert asked[0] == 2 and asked[1].startswith("compute.device: cuda is not here (0 CUDA"), asked
    assert predicted == [0, NOT_HERE + "fp32\n"], predicted
    assert refused[0] == 2 and refused[1].startswith("stopped: began with device cuda, here it is cpu, so the same")
    assert resumed[0] == 0, resumed
    finished = json.loads((tmp_path / "stopped/record.json").read_text())
    assert (
        finished["machine"]["device"] == "cpu" and "after epoch 1: device cuda -> cpu" in finished["machine"]["moved"]
    )
    assert again[0] == 0 and again[1].count(NOT_HERE) == 1
    assert "agrees with the stored scores, bit for bit" in moved.out, moved.out
    on_second, second, on_cpu, unknown = back.demand()
    assert [on_second[0], second[0], on_cpu[0], unknown[0]] == [0, 0, 0, 2], back
    assert unknown[1].startswith("-s compute.device=tpu: ") and "\n" not in unknown[1].strip()
    assert back.counts["convolutions"] + back.counts["kernels"] > 0 and on_cpu[1] == ""


@pytest.mark.slow
def test_a_study_of_a_gpu_without_one_asks_before_it_goes_on(null_driver: NullDriver, tmp_path: Path) -> None:
    words = ["train", *(it for it in TINY if it not in ("--seed", "3")), "--seeds", "2", "-o", "study"]
    began, moved = null_driver.ask(
        [
            Question(stopped_study, (str(tmp_path), words), Machine((80,))),
            Question(commands, (str(tmp_path), ["resume", "study"], ["resume", "study", "--elsewhere"]), Machine(())),
        ]
    )
    assert began.demand() == 130, began.err
    refused, done = moved.demand()
    said = refused[1].splitlines()[-1]
    assert refused[0] == 2 and "began with device cuda, here it is cpu" in said and "--elsewhere" in said, refused
    assert done[0] == 0, done


def stopped_study(folder: str, words: list[str]) -> int:
    from seedwise.cli import progress

    def on_start(self: object, *rest: int) -> None:
        raise KeyboardInterrupt

    os.chdir(folder)
    progress._Plain.on_start = on_start  # type: ignore
    return seedwise(*words)


def every_verb(folder: str) -> list[int]:
    """Exit codes of the verbs, from a training on."""
    os.chdir(folder)
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save("photo.png")
    return [
        seedwise("train", *TINY, "-o", "run"),
        seedwise("evaluate", "run"),
        seedwise("predict", "run", "photo.png", "--explain"),
        seedwise("resume", "run"),
        seedwise("doctor"),
    ]


@pytest.mark.slow
def test_every_verb_works_where_the_driver_is_too_old(null_driver: NullDriver, tmp_path: Path) -> None:
    (answer,) = null_driver.ask([Question(every_verb, (str(tmp_path),), Machine((80,), old_driver=True))])
    assert answer.demand() == [0] * 5, answer.err
    line = "there is an NVIDIA GPU, but torch can't use it: its driver is too old for CUDA 13.0, or broken"
    assert answer.err.count(f"computes without a GPU: {line}") == 1 and "Warning" not in answer.err, answer.err
    assert answer.out.count(f"! {line}") == 1
    assert json.loads((tmp_path / "run/record.json").read_text())["machine"]["device"] == "cpu"
