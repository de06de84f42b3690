"""Stops of every kind: what was trained is kept, `resume` ends with the same bits, and damage is named."""

import json
import os
import platform
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import TINY, Cli, command, forked, killed_at

from seedwise.base.files import sha256_of, sole_writer
from seedwise.records.run import read_record, write_record

STEPS = (*TINY, "--epochs", 2, "-s", "train.checkpoint_every=1", "--seed", 3)
"""Eight steps, each with a checkpoint."""
SignalAt = Callable[[int, signal.Signals], None]


def weights(folder: Path | str) -> str:
    assert not [path.name for path in Path(folder).iterdir() if "checkpoint" in path.name or ".tmp" in path.name]
    return sha256_of(Path(folder) / "model.safetensors")


@pytest.fixture(scope="session")
def uninterrupted(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    from command_line import call

    folder = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEEDWISE_CACHE", str(cache))
        assert call("train", "digits", *STEPS, "-o", folder) == 0
    return weights(folder)


@pytest.mark.parametrize(
    ("number", "step"),  # step 4 is the last of its epoch
    [
        (signal.SIGINT, 3),
        (signal.SIGTERM, 4),
        *(pytest.param(*rest, marks=pytest.mark.slow) for rest in ((signal.SIGINT, 4), (signal.SIGTERM, 3))),
    ],
)
def test_a_stop_leaves_a_checkpoint_and_resume_ends_with_the_same_bits(
    cli: Cli, signal_at: SignalAt, uninterrupted: str, number: signal.Signals, step: int
) -> None:
    signal_at(step, number)
    stopped = cli("train", "digits", *STEPS, "-o", "a run")
    assert stopped.code == 130 and stopped.out == ""
    words = "at step 4 of 8" if step == 3 else "in the validation after step 4 of 8"
    assert stopped.err.splitlines()[-1] == f"stopped {words}; go on with: seedwise resume 'a run'"
    record = read_record(Path("a run"))
    assert record.status == "interrupted" and record.epochs == []
    assert not Path("a run/model.safetensors").exists()
    resumed = cli("resume", "a run")
    assert resumed.code == 0 and "resuming at step 4 of 8" in resumed.err
    assert weights("a run") == uninterrupted
    assert [row.epoch for row in read_record(Path("a run")).epochs] == [1, 2]


@pytest.mark.slow
def test_kill_9_loses_one_step_and_the_same_command_completes(uninterrupted: str, cli: Cli) -> None:
    killed_at(6, "train", "digits", *STEPS, "-o", "run")
    assert read_record(Path("run")).status == "running"
    Path("run/.model.safetensors.abcd.tmp").write_bytes(b"what a killed writer leaves")
    Path("run/.tmpozzIV6").write_bytes(b"what safetensors leaves when it is killed")
    assert cli("train", "digits", *STEPS, "-o", "run").code == 0
    assert weights("run") == uninterrupted


@pytest.mark.slow
def test_a_kill_between_the_last_record_and_its_checkpoint_leaves_no_checkpoint(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seedwise.engine import checkpoint

    steps = [part for part in STEPS if part not in ("--seed", 3)]
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "clear", lambda folder: None)
        assert cli("train", "digits", *steps, "--seeds", "3,", "-o", "study").code == 0
    run = Path("study/runs/base/seed-3")
    shutil.copytree(run, "run")
    assert list(run.glob("checkpoint*"))
    for folder, kept in (("study", run), ("run", Path("run"))):
        assert cli("resume", folder).code == 0
        assert not list(kept.glob("checkpoint*"))


@pytest.mark.slow
def test_a_signal_from_outside_to_a_process_of_its_own() -> None:
    arguments = ("train", "digits", *STEPS, "--epochs", 5000, "-o", "run")
    running = subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(Path("run/metrics.jsonl"))
    second = forked("resume", "run")
    who = f"process {running.pid} on {platform.node()}"
    said = f"run: another process is writing this folder ({who}); wait for it, or stop it"
    assert (second.code, second.line) == (2, said)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130 and out == "" and "Traceback" not in err
    assert err.splitlines()[-1].endswith("go on with: seedwise resume run")
    assert read_record(Path("run")).status == "interrupted"


def wait_for(path: Path) -> None:
    for _ in range(1200):
        if path.exists():
            return
        time.sleep(0.1)
    raise AssertionError(f"{path} never came")


def test_a_folder_has_one_writer(cli: Cli, finished: Path) -> None:
    with sole_writer(finished), sole_writer(Path("study")):
        for verb in (
            ["resume", finished],
            ["train", "digits", *TINY, "--seed", 3, "-o", finished],
            ["train", "digits", *TINY, "--seeds", 2, "-o", "study"],
        ):
            answer = cli(*verb)
            assert answer.code == 2 and "another process is writing this folder" in answer.line
    assert cli("resume", finished).code == 0  # the lock is gone with its holder


@pytest.mark.slow
def test_a_stop_in_a_study_and_kill_9_in_the_next_run(cli: Cli, signal_at: SignalAt) -> None:
    steps = [part for part in STEPS if part not in ("--seed", 3)]
    assert cli("train", "digits", *steps, "--seeds", "3,4", "-o", "whole").code == 0
    signal_at(2, signal.SIGTERM)
    stopped = cli("train", "digits", *steps, "--seeds", "3,4", "-o", "study")
    assert stopped.code == 130 and stopped.err.endswith("go on with: seedwise resume study\n")
    statuses = [trial["status"] for trial in json.loads(Path("study/study.json").read_text())["trials"]]
    assert statuses == ["interrupted", "planned"]
    assert cli("resume", "study/runs/base/seed-3").code == 0  # a run of a study is a run
    killed_at(5, "resume", "study")
    assert cli("resume", "study").code == 0
    for seed in (3, 4):
        assert weights(f"study/runs/base/seed-{seed}") == weights(f"whole/runs/base/seed-{seed}")


@pytest.mark.parametrize(
    "phase",
    ["decoding", "scoring test", *(pytest.param(it, marks=pytest.mark.slow) for it in ("scoring train", "validation"))],
)
def test_a_stop_outside_the_steps(
    cli: Cli, uninterrupted: str, phase: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from seedwise.cli import progress

    def on_phase(self: object, name: str, done: int, total: int) -> None:
        if phase in name or (phase == "decoding" and "digits" in name):
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(progress._Plain, "on_phase", on_phase)
        if phase == "decoding":
            patch.setenv("SEEDWISE_CACHE", str(tmp_path / "an empty cache"))
        stopped = cli("train", "digits", *STEPS, "-o", "run")
    assert stopped.code == 130 and "go on with: " in stopped.err
    if phase == "decoding":
        assert stopped.line.endswith("go on with: the same command; nothing is lost")
        assert not Path("run").exists() and not list(Path("an empty cache").rglob("building"))
    else:
        assert not Path("run/model.safetensors").exists()
    assert cli("train", "digits", *STEPS, "-o", "run").code == 0
    assert weights("run") == uninterrupted
    assert read_record(Path("run")).test_evaluations == 1


@pytest.mark.slow
def test_a_second_ctrl_c_stops_at_once(cli: Cli, uninterrupted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from seedwise.cli import progress

    def on_step(self: object, epoch: int, step: int, *rest: float) -> None:
        if step == 5:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(progress._Plain, "on_step", on_step)
        stopped = cli("train", "digits", *STEPS, "-o", "run")
    assert stopped.code == 130 and "stopped at once, back to the last checkpoint; go on with" in stopped.err
    assert cli("resume", "run").code == 0
    assert weights("run") == uninterrupted


@pytest.fixture(scope="session")
def stopped_once(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEEDWISE_CACHE", str(cache))
        killed_at(6, "train", "digits", *STEPS, "-o", folder)
    return folder


@pytest.mark.parametrize("kind", ["cut", "flipped", "empty", "binary"])
@pytest.mark.parametrize("name", ["record.json", "recipe.yaml", "checkpoint.json", "checkpoint-*.safetensors"])
def test_a_damaged_file_of_a_stopped_run_is_named(
    cli: Cli, stopped_once: Path, tmp_path: Path, name: str, kind: str
) -> None:
    run = Path(shutil.copytree(stopped_once, tmp_path / "run"))
    path = next(run.glob(name))
    damage(path, kind)
    answer = cli("resume", run)
    assert answer.code == 2 and path.name in answer.line


@pytest.mark.parametrize("kind", ["cut", "flipped", "empty", "binary"])
@pytest.mark.parametrize("name", ["record.json", "recipe.yaml", "predictions.npz", "model.safetensors", "config.json"])
def test_a_damaged_file_of_a_finished_run_is_named(finished: Path, name: str, kind: str) -> None:
    import seedwise
    from seedwise.base.errors import UserError

    damage(finished / name, kind)
    with pytest.raises(UserError, match=name) as caught:
        run = seedwise.load(finished)
        run.logits("val")
        run.predict([])
    assert "\n" not in str(caught.value)


def damage(path: Path, kind: str) -> None:
    content = bytearray(path.read_bytes())
    if kind == "cut":
        content = content[: len(content) // 2]
    elif kind == "flipped":
        place = content.find(b'"status"') + 1 if path.name == "record.json" else len(content) // 2
        content[place] ^= 2
    else:
        content = bytearray() if kind == "empty" else bytearray(os.urandom(300))
    path.write_bytes(content)


@pytest.mark.slow
def test_a_deleted_record_or_checkpoint_is_made_anew_by_the_same_command(
    cli: Cli, stopped_once: Path, tmp_path: Path, uninterrupted: str
) -> None:
    for lost in ("record.json", "checkpoint.json", "recipe.yaml"):
        run = Path(shutil.copytree(stopped_once, tmp_path / f"without {lost}"))
        (run / lost).unlink()
        assert cli("train", "digits", *STEPS, "-o", run).code == 0
        assert weights(run) == uninterrupted


def test_another_machine_is_refused_unless_told_to_go_on(
    cli: Cli, stopped_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(shutil.copytree(stopped_once, tmp_path / "run"))
    record = read_record(run)
    record.machine["cpu_capability"] = "Z80"
    write_record(run, record)
    answer = cli("resume", run)
    assert answer.code == 2 and "the same bits can't be kept; resume there, or go on with --elsewhere" in answer.line
    assert cli("resume", run, "--elsewhere").code == 0


@pytest.mark.slow
def test_a_full_disk_is_said_and_what_was_trained_is_kept(cli: Cli, uninterrupted: str, tmp_path: Path) -> None:
    disk = tmp_path / "small disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a tmpfs can be mounted by root only")
    try:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(64 * 2**20 - 200_000))  # what is left holds a recipe and a record, no checkpoint
        answer = cli("train", "digits", *STEPS, "-o", disk / "run")
        assert answer.code == 2 and "checkpoint" in answer.last_line
        assert "free some space and resume" in answer.last_line
        ballast.unlink()
        assert cli("resume", disk / "run").code == 0
        assert weights(disk / "run") == uninterrupted
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.slow
def test_three_random_kills_of_a_real_net_change_nothing() -> None:
    arguments = ("train", "digits", "-r", "demo", "--epochs", 2, "-s", "train.checkpoint_every=3", "--seed", 1)
    began = time.monotonic()
    assert forked(*arguments, "-o", "whole").code == 0
    lasted = time.monotonic() - began
    moments = random.Random(time.time_ns())
    for verb in (("train", *arguments[1:], "-o", "run"), ("resume", "run"), ("resume", "run")):
        running = subprocess.Popen(command(*verb), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(Path("run/record.json"))
        time.sleep(moments.uniform(0, lasted / 3))
        running.kill()
        running.wait()
    assert forked("resume", "run").code == 0
    assert weights("run") == weights("whole")
    assert sha256_of(Path("run/predictions.npz")) == sha256_of(Path("whole/predictions.npz"))
