"""What commands that fail leave behind, and small promises about what is printed of it."""

import errno
import json
import os
import shutil
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from bad_input import Place
from bad_input import photos as photos_in
from command_line import LEAN, TINY, Cli, command

from seedwise.base.errors import UserError
from seedwise.records.run import read_record, write_record

MISTAKE = ("train", "digits", "-s", "data.limit=3")


@pytest.mark.parametrize("more", [[], ["--seeds", "3,"]])
@pytest.mark.parametrize("out", [[], ["-o", "run"], ["-o", "a/b/../b/c"], ["-o", "mine/run"], ["-o", "mine"]])
def test_a_typo_takes_the_folders_it_made_along_and_no_others(cli: Cli, more: list[str], out: list[str]) -> None:
    Path("mine").mkdir()
    assert cli(*MISTAKE, *more, *out).code == 2
    assert [str(path) for path in Path().rglob("*")] == ["mine"]


@pytest.mark.parametrize("file", ["recipe.yaml", "record.json"])
def test_the_same_command_goes_on_after_a_disk_that_was_full_when_the_run_began(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    from seedwise.base import files

    def full(path: Path) -> None:
        if f".{file}." in path.name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(files, "_sync", full)
        answer = cli("train", *LEAN, "-o", "run")
    assert answer.code == 2
    assert answer.line.endswith(f"{file}: can't be written: the disk is full; free some space, then resume or give the "
                                "command again")  # fmt: skip
    assert cli("train", *LEAN, "-o", "run").code == 0


def test_the_folder_runs_stays_where_it_was_there_before_or_is_needed(cli: Cli) -> None:
    Path("runs").mkdir()
    assert cli(*MISTAKE).code == 2
    assert list(Path().rglob("*")) == [Path("runs")]
    Path("runs").rmdir()
    assert cli("train", *LEAN).code == 0
    assert cli(*MISTAKE).code == 2
    assert len(list(Path("runs").iterdir())) == 1


@pytest.mark.slow
def test_a_name_that_is_no_utf8_is_printed_as_it_is() -> None:
    name = os.fsdecode(b"caf\xe9 run")
    environment = os.environ | {"LC_ALL": "C.UTF-8", "PYTHONUTF8": "1", "PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run(command("train", *LEAN, "-o", name), env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(b"files: caf\xe9 run\n")


def test_a_weight_word_or_a_name_beside_an_own_network(cli: Cli) -> None:
    Path("r.yaml").write_text("model: {factory: 'nets:build'}\n")
    for more, said in (
        (["-m", "small"], "-m small: the model is model.factory=nets:build; drop one of them (-s model.factory=null)"),
        (["--weights", "hub"], "--weights hub: is for named models, and the model is model.factory=nets:build; give "),
        (["--weights", "none"], "there is no module 'nets'"),
        (["-m", "factory:nets:build"], "there is no module 'nets'"),
    ):
        answer = cli("train", "digits", "-r", "r.yaml", *more)
        assert answer.code == 2 and said in answer.line
    assert cli("train", *LEAN, "-r", "r.yaml", "-s", "model.factory=null", "--dry-run").code == 0


def test_every_mistake_is_a_line_whatever_the_files_are_called(cli: Cli) -> None:
    Path("a\nb.yaml").write_text("seed: x\ntrain: {epohcs: 3}\n")
    for verb in (["recipes", "validate", "a\nb.yaml"], ["train", "digits", "-r", "a\nb.yaml"]):
        answer = cli(*verb)
        assert answer.code == 2 and answer.out == ""
        assert [line.split(": ")[0] for line in answer.err.splitlines()] == [r"a\nb.yaml:1:7", r"a\nb.yaml:2:9"]


def test_a_run_that_failed_after_it_was_scored_is_not_summed_up(cli: Cli) -> None:
    """The disk was full when the record should have said `finished`; the summary's values stay in their rows."""
    lean = [part for part in LEAN if part not in ("--seed", "3")]
    assert cli("train", *lean, "--seeds", "3,4", "-o", "study").code == 0
    run = Path("study/runs/base/seed-3")
    record = read_record(run)
    expected = read_record(Path("study/runs/base/seed-4")).final
    assert expected is not None and expected.test is not None
    record.status = "failed"
    write_record(run, record)
    from seedwise.study.record import read_study
    from seedwise.study.results import Results

    study = Results(Path("study")).refresh(read_study(Path("study")))
    assert [trial.status for trial in study.trials] == ["failed", "finished"]
    assert study.summary["base"]["test"]["top1"]["values"] == [expected.test.top1]
    write_record(run, record.model_copy(update={"status": "finished", "final": None}))
    with pytest.raises(UserError, match=r"seed-3/record\.json: damaged, of a finished run but without its scores"):
        Results(Path("study")).refresh(study)


def test_the_comparison_with_the_data_of_before_can_be_stopped(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seedwise.cli import progress

    data = photos_in(Place(tmp_path, monkeypatch, ExitStack(), tmp_path, tmp_path))
    options = (*TINY, "-s", "data.limit=null", "-r", "demo", "--seed", 0, "-o", "run")
    assert cli("train", data, *options).code == 0
    before = json.loads(Path("run/record.json").read_text())
    moved = data.rename(tmp_path / "elsewhere")

    def on_phase(self: object, name: str, done: int, total: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(progress._Plain, "on_phase", on_phase)
        patch.setenv("SEEDWISE_CACHE", str(tmp_path / "an empty cache"))
        stopped = cli("train", moved, *options)
    assert stopped.code == 130 and "stopped during decoding elsewhere" in stopped.err
    assert json.loads(Path("run/record.json").read_text()) == before


@pytest.mark.parametrize(
    "kind",
    [(), ("--seeds", "1"), pytest.param(("--bagging", "2"), marks=pytest.mark.slow)],
    ids=["run", "study", "bagging"],
)
def test_what_is_finished_does_not_answer_for_data_that_changed_since(cli: Cli, photos: Path, kind: Any) -> None:
    asked = ("train", photos, "-m", "small", "--img-size", 16, "--epochs", 1, "-b", 20, "--threads", 1, *kind)
    assert cli(*asked, "-o", "out").code == 0
    assert cli(*asked, "-o", "out").code == 0
    one, other = (sorted((photos / name).glob("*.png"))[0] for name in ("birne", "강아지 #3"))
    one.write_bytes(other.read_bytes())
    refused = cli(*asked, "-o", "out")
    assert refused.code == 2 and refused.out == "", refused
    assert refused.line.endswith(f"began with other data than {photos} holds now; choose another folder with -o")
    if not kind:
        assert cli("resume", "out").code == 0
        shutil.move(photos, "gone")
        assert "no such data" in cli(*asked, "-o", "out").line
