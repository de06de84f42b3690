"""Whole trainings on images that stay encoded: the weights of decoded ones, whatever happens on the way."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import Cli

from image_sources import WRITERS, encoded_images, write_folder
from seedwise.base.files import sha256_of
from seedwise.records.run import read_record

TRAIN = (
    *("-m", "small", "--epochs", "2", "-b", "4", "--seed", "3", "--img-size", "16", "--threads", "1"),
    *("-s", "train.insight=false", "-s", "train.checkpoint_every=1", "-s", "data.order=content"),
)
ENCODED = ("-s", "data.storage=encoded", "-s", "data.workers=1")


def weights(run: str | Path) -> str:
    return sha256_of(Path(run) / "model.safetensors")


@pytest.fixture(scope="module")
def whole(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The weights of a training on the decoded images of a folder."""
    from command_line import call

    root = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEEDWISE_CACHE", str(cache))
        assert call("train", write_folder(root, encoded_images()), *TRAIN, "-o", root / "run") == 0
    return weights(root / "run")


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize("storage", ["decoded", "encoded"])
def test_every_form_gives_the_same_weights(form: str, storage: str, whole: str, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    data = WRITERS[form](tmp_path / "data", encoded_images())
    answer = cli("train", data, *TRAIN, "-s", f"data.storage={storage}", "-s", "data.workers=1", "-o", "run")
    assert answer.code == 0, answer.err
    assert read_record(Path("run")).data.storage == storage and weights("run") == whole


def test_stopped_by_ctrl_c_it_goes_on(whole: str, cli: Cli, tmp_path: Path, signal_at: Any) -> None:
    data = write_folder(tmp_path, encoded_images())
    signal_at(7, signal.SIGINT)
    assert cli("train", data, *TRAIN, *ENCODED, "-o", "run").code == 130
    assert cli("train", data, *TRAIN, *ENCODED, "-o", "run").code == 0
    assert weights("run") == whole


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda path: path.write_bytes(b"no image"), r"(ant|bee)/\d\d\.jpg: not a readable image"),
        (lambda path: path.unlink(), r"(ant|bee)/\d\d\.jpg: .*No such file"),
        (lambda path: path.write_bytes(path.read_bytes()[:200]), r"(ant|bee)/\d\d\.jpg: not a readable image"),
    ],
    ids=["overwritten", "deleted", "cut off"],
)
def test_an_image_harmed_midway_is_named_and_once_mended_it_goes_on(
    harm: Callable[[Path], object], said: str, whole: str, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the first of two epochs: it is met in the second; until it is as it was, resuming is refused."""
    from seedwise.cli import progress

    data = write_folder(tmp_path, encoded_images())
    kept = {path: (path.read_bytes(), path.stat()) for path in sorted(data.rglob("*.jpg"))}

    def on_step(self: object, epoch: int, step: int, *rest: float) -> None:
        for path in kept if step == 3 else ():
            harm(path)

    with monkeypatch.context() as patch:
        patch.setattr(progress._Plain, "on_step", on_step)
        answer = cli("train", data, *TRAIN, *ENCODED, "-o", "run")
    assert answer.code == 2 and re.search(said, " ".join(answer.err.split())), answer.err
    refused = cli("resume", "run")
    assert refused.code == 2, refused.err
    for path, (content, stat) in kept.items():
        path.write_bytes(content)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    again = cli("resume", "run")
    assert again.code == 0, again.err
    assert weights("run") == whole


def test_no_room_for_the_decoded_is_said(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_folder(tmp_path, encoded_images())

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    monkeypatch.setattr(os, "truncate", full)
    answer = cli("train", data, *TRAIN, *ENCODED, "-o", "run")
    assert answer.code == 2 and "No space left on device): free some space" in " ".join(answer.err.split())


def start(*words: str | Path, **options: Any) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "seedwise", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kill -9")
def test_killed_it_leaves_no_process_and_goes_on(whole: str, cli: Cli, tmp_path: Path) -> None:
    data = write_folder(tmp_path, encoded_images())
    run = start("train", data, *TRAIN, *ENCODED, "-o", "run", start_new_session=True)
    deadline = time.monotonic() + 120
    while not Path("run/checkpoint.json").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    run.kill()
    run.wait()
    while (left := decoders(run.pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []
    answer = cli("resume", "run")
    assert answer.code == 0, answer.err
    assert weights("run") == whole


def decoders(session: int) -> list[int]:
    """Processes of this session that decode."""
    found = subprocess.run(
        ["ps", "-s", str(session), "-o", "pid=,args="], check=False, capture_output=True, text=True
    ).stdout
    return [int(line.split()[0]) for line in found.splitlines() if "seedwise.data.decoder" in line]


@pytest.mark.slow
def test_trials_side_by_side_decode_each_for_itself(cli: Cli, tmp_path: Path) -> None:
    data = write_folder(tmp_path, encoded_images())
    for storage in ("decoded", "encoded"):
        answer = cli(
            *("ablate", data, "--toggle", "flip", "--seeds", 2, "-j", 2, *TRAIN[:6], *TRAIN[8:], "-o", storage),
            *("-s", f"data.storage={storage}"),
        )
        assert answer.code == 0, answer.err
    runs = sorted(path.parent.relative_to("decoded") for path in Path("decoded").rglob("model.safetensors"))
    assert len(runs) == 4
    assert [weights("decoded" / run) for run in runs] == [weights("encoded" / run) for run in runs]


@pytest.mark.slow
def test_two_processes_of_torchrun_decode_their_own(tmp_path: Path) -> None:
    data = write_folder(tmp_path, encoded_images())
    for storage in ("decoded", "encoded"):
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
        words = ["seedwise", "train", data, *TRAIN, "-s", f"data.storage={storage}", "-o", storage]
        done = subprocess.run([*command, *map(str, words)], check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert weights("decoded") == weights("encoded")
