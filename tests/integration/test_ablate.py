"""`seedwise ablate`: what a user types and reads, what is refused, and studies that are killed at any moment."""

import json
import operator
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from command_line import Cli, command, forked

from seedwise.base.files import sha256_of
from seedwise.stats import compare_arms
from seedwise.study.progress import finished, looked
from seedwise.study.record import read_study

TINY = (
    *("-s", "model.name=small", "-s", "train.image_size=16", "-s", "train.batch_size=32", "-s", "train.epochs=1"),
    *("-s", "data.limit=64", "-s", "compute.threads=1", "-s", "train.checkpoint_every=1", "-s", "train.insight=false"),
)
SMALL = ("ablate", "digits", *TINY, "--toggle", "rotation,crop")


def files(folder: Path | str) -> dict[str, str]:
    return {str(path.relative_to(folder)): sha256_of(path) for path in Path(folder).rglob("model.safetensors")}


@pytest.mark.slow
def test_a_study_is_completed_extended_and_keeps_what_it_fixed(cli: Cli) -> None:
    first = cli(*SMALL, "--seeds", 2, "-o", "study")
    assert first.code == 0 and "rotation  " in first.out and "no-crop" in first.out and "look 1" in first.out
    study = read_study(Path("study"))
    assert list(study.arms) == ["base", "rotation", "no-crop"] and study.margin == 0.005
    assert [(look.seeds, look.alpha) for look in study.looks] == [(2, 0.025)] and looked(study)
    assert len({trial.hash for trial in study.trials}) == 6
    assert [trial.seed for trial in study.trials] == [seed for seed in study.seeds for _ in range(3)]
    tops = {
        arm: dict(zip(finished(study, arm), study.summary[arm]["test"]["top1"]["values"], strict=True))
        for arm in study.arms
    }
    for arm, found in compare_arms(tops, "base", margin=0.005, look=1).items():
        stored = study.comparisons[arm]["test"]
        assert [stored[key] for key in ("mean", "p_t", "p_holm")] == [found.mean, found.p_t, found.p_holm]
        assert stored["verdict"] == found.verdict and stored["ci95_images"] is not None
    weights, before = files("study"), Path("study/study.json").read_bytes()
    again = cli(*SMALL, "--seeds", 2, "-o", "study")
    assert again.code == 0 and "[" not in again.err and again.out == first.out
    assert "nothing trained; to train again, give its command another folder with -o, or more seeds" in again.err
    assert Path("study/study.json").read_bytes() == before
    for changed, said in (
        (("--margin", 1), "study: began with margin 0.5 points, not 1"),
        (("-s", "optim.lr=0.5"), "study: holds another recipe: optim.lr"),
    ):
        refused = cli(*SMALL, "--seeds", 2, "-o", "study", *changed)
        assert refused.code == 2 and refused.line.startswith(said)
    nothing, part = (cli(*SMALL, "--seeds", n, "-o", "study", "--dry-run") for n in (2, 3))
    assert "done:   6 of 6 trials (3 arms, 2 seeds), in study\ntrials: none left; " in nothing.out
    assert "time:" not in nothing.out and "no-crop   augment" in nothing.out
    assert "done:   6 of 9 trials (3 arms, 3 seeds), in study\n" in part.out and "trials: 3 (left), 1" in part.out
    found = json.loads(cli(*SMALL, "--seeds", 3, "-o", "study", "--dry-run", "--json").out)
    assert (found["trials"], found["done"]) == (3, 6)
    assert found["seconds"] == pytest.approx(3 * found["seconds_per_run"])
    refused = cli(*SMALL, "--seeds", 3, "-o", "study", "--margin", 1, "--dry-run")
    assert refused.code == 2 and "began with margin 0.5 points, not 1" in refused.line
    assert Path("study/study.json").read_bytes() == before
    more = cli(*SMALL[:-1], "rotation,crop,dropout", "--seeds", 3, "-o", "study")
    assert more.code == 0 and more.err.count("[") == 6  # a new arm's three, a new seed's three
    grown = read_study(Path("study"))
    assert [look.alpha for look in grown.looks] == [0.025, 0.0125]
    assert study.commands == grown.commands[:1] and "rotation,crop,dropout --seeds 3" in grown.commands[1]
    [added] = grown.additions
    assert (added.after_look, added.arms, len(added.seeds)) == (1, ["no-dropout"], 1)
    assert weights.items() <= files("study").items()
    shown = cli("status", "study")
    assert shown.code == 0 and "12 of 12 trials finished" in shown.out and "no-dropout" in shown.out


@pytest.mark.slow
def test_a_budget_holds_for_resume_too(cli: Cli) -> None:
    words = (*SMALL[:-1], "rotation", "--seeds", 2)
    assert "after 1 of 2 seeds" in cli(*words, "--budget", "0s", "-o", "study").out
    assert "after 1 of 2 seeds" in cli("resume", "study", "--budget", "0m").out and len(files("study")) == 2
    assert cli("resume", "study", "--budget", "1h").code == 0 and len(files("study")) == 4
    refused = cli("resume", "study/runs/base", "--budget", "1h")
    assert refused.code == 2 and refused.line.startswith("--budget 1h: is for studies")


def test_an_arm_of_the_same_name_but_another_content_is_refused(cli: Cli) -> None:
    text = "data: digits\nbase: demo\nseeds: 1\narms:\n  x: {optim.lr: %s}\n"
    Path("s.yaml").write_text(text % 0.01)
    assert cli("ablate", "s.yaml", *TINY, "-o", "study").code == 0
    Path("s.yaml").write_text(text % 0.02)
    refused = cli("ablate", "s.yaml", *TINY, "-o", "study")
    assert refused.code == 2 and refused.line.startswith("study: its arm x is another one: optim.lr: 0.01 -> 0.02")


@pytest.mark.slow
def test_several_at_a_time_give_the_bits_of_one_alone(cli: Cli) -> None:
    answer = forked(*SMALL, "--seeds", 2, "-j", 2, "-o", "study")
    assert answer.code == 0, answer.err
    study = read_study(Path("study"))
    assert cli(*SMALL, "--seeds", 2, "-o", "alone").code == 0
    assert files("study") == files("alone") and len(files("study")) == 6
    seed = study.seeds[1]
    assert cli("train", "digits", *TINY, "-s", "augment.rotation={}", "--seed", seed, "-o", "single").code == 0
    assert files("single")["model.safetensors"] == files("study")[f"runs/rotation/seed-{seed}/model.safetensors"]


def children(pid: int) -> list[int]:
    """The processes below a process, as the system tells."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = [tuple(map(int, line.split())) for line in listed.splitlines()]
    found, below = [], {pid}
    while below:
        below = {child for child, parent in parents if parent in below}
        found += sorted(below)
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def killed(number: random.Random, victim: str, *arguments: Any) -> None:
    """Run a command, and at a random moment kill it or one of its processes; all of them must be gone soon after."""
    running = subprocess.Popen(command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(3000):
        if list(Path("study").glob("runs/*/*/train.log")):
            break
        time.sleep(0.1)
    time.sleep(number.uniform(0, 3))
    below = children(running.pid)
    target = running.pid if victim == "driver" or not below else number.choice(below)
    os.kill(target, number.choice([signal.SIGKILL, signal.SIGTERM]) if victim == "driver" else signal.SIGKILL)
    running.wait(timeout=600)
    deadline = time.monotonic() + 30
    while any(map(alive, below)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(alive, below)), "somebody writes on"


def demand_same_bits_after(kills: int, epochs: int) -> None:
    number = random.Random(kills)
    arguments = (*SMALL, "-s", f"train.epochs={epochs}", "--seeds", 2, "-j", 2)
    assert forked(*arguments, "-o", "whole").code == 0
    for kill in range(kills):
        killed(number, "driver" if kill % 2 == 0 else "worker", *arguments, "-o", "study")
    resumed = forked("resume", "study", "-j", 2)
    assert resumed.code == 0, resumed.err
    assert files("study") == files("whole")
    ours, theirs = (json.loads(Path(name, "study.json").read_text())["comparisons"] for name in ("study", "whole"))
    for found in (*ours.values(), *theirs.values()):
        for each in found.values():
            each.pop("advice")  # has the folder's name and the time of another run
    assert ours == theirs


@pytest.mark.slow
def test_a_killed_driver_leaves_nobody_writing_and_resume_ends_with_the_same_bits() -> None:
    demand_same_bits_after(1, epochs=3)


@pytest.mark.slow
def test_ten_random_kills_of_driver_and_workers() -> None:
    demand_same_bits_after(10, epochs=20)


@pytest.mark.slow
@pytest.mark.alone
def test_a_trial_costs_little_beside_itself(tmp_path: Path) -> None:
    from seedwise.engine.control import RunControl
    from seedwise.recipe import library
    from seedwise.study.local_runner import Processes
    from seedwise.study.schedule import Budget, run_all
    from seedwise.study.trial import Task

    recipe = library.read("demo")
    tasks = {seed: [Task("base", seed, tmp_path / str(seed), recipe, "digits", None)] for seed in range(200)}
    runner = Processes(RunControl(), 2, 1, 200, run=operator.is_)
    run_all({0: tasks.pop(0)}, runner, Budget(None), on_start=id, on_end=id)  # the first import of torch apart
    began = time.perf_counter()
    report = run_all(tasks, runner, Budget(None), on_start=id, on_end=id)  # type: ignore[arg-type]
    assert not report.failures and (time.perf_counter() - began) / len(tasks) < 0.05
