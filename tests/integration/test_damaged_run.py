"""Every file of a finished and of a stopped run, cut and with flipped bits: named in one line, or the same results."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import LEAN, Cli
from numpy.typing import NDArray

import seedwise
from seedwise.base.errors import UserError
from seedwise.base.files import sha256_of
from seedwise.engine import checkpoint

FINISHED = ("record.json", "recipe.yaml", "metrics.jsonl", "predictions.npz", "model.safetensors", "config.json")
STOPPED = ("record.json", "recipe.yaml", "checkpoint.json", "checkpoint-*.safetensors")
SPARE = ("train.log", ".lock")
"""Nothing is read from these."""
REPORT = "report.html"
"""Of a finished run, made anew where it differs."""
SEALED = ("record.json", "checkpoint.json")
"""What counts in these is what they say, not every blank."""
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
FLIPS = 6
thoroughly = pytest.mark.parametrize(
    "thorough", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["some", "all"]
)


def damages(content: bytes, thorough: bool) -> Iterator[bytes]:
    """The content cut to nothing, to a half and by one byte; and with one bit flipped, from its start to its end.

    Without `thorough` cut by one byte, and with a bit flipped in its middle.
    """
    if not thorough:
        at = len(content) // 2
        yield content[:-1]
        yield content[:at] + bytes([content[at] ^ 16]) + content[at + 1 :] if content else b"junk"
        return
    yield from (content[:end] for end in {0, len(content) // 2, max(0, len(content) - 1)})
    for number in range(FLIPS if content else 0):
        at = number * (len(content) - 1) // (FLIPS - 1)
        yield content[:at] + bytes([content[at] ^ 1 << number]) + content[at + 1 :]
    if not content:
        yield b"junk"


def each_damage(whole: Path, copy: Path, name: str, thorough: bool) -> Iterator[tuple[Path, bool]]:
    """A fresh copy of a run with one file damaged, time and again; and whether the file still says the same."""
    (source,) = whole.glob(name)
    content = source.read_bytes()
    for damaged in damages(content, thorough):
        if damaged == content:
            continue
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(whole, copy)
        (copy / source.name).write_bytes(damaged)
        yield copy / source.name, name in (*SPARE, REPORT) or (name in SEALED and same_json(content, damaged))


def same_json(one: bytes, other: bytes) -> bool:
    try:
        return bool(json.loads(one) == json.loads(other))
    except ValueError:
        return False


def results(run: Path) -> list[NDArray[Any]]:
    loaded = seedwise.load(run)
    return [loaded.predict(IMAGES), *loaded.logits("val"), *loaded.logits("test")]


def test_these_are_all_files(whole_once: Path, halfway_once: Path) -> None:
    assert {path.name for path in whole_once.iterdir()} == {*FINISHED, *SPARE, REPORT}
    (tensors,) = halfway_once.glob(STOPPED[-1])
    assert {path.name for path in halfway_once.iterdir()} == {*STOPPED[:-1], tensors.name, "metrics.jsonl", *SPARE}


@thoroughly
@pytest.mark.parametrize("name", [*FINISHED, *SPARE, REPORT])
def test_a_damaged_file_of_a_finished_run(
    cli: Cli, whole_once: Path, tmp_path: Path, name: str, thorough: bool
) -> None:
    printed, expected = cli("resume", whole_once).out, results(whole_once)
    for file, harmless in each_damage(whole_once, tmp_path / "run", name, thorough):
        answer = cli("resume", file.parent)
        if harmless:
            assert answer.code == 0 and answer.out == printed.replace(str(whole_once), str(file.parent))
        else:
            assert answer.code == 2 and str(file) in answer.line
        if harmless or name == "metrics.jsonl":
            assert all(map(np.array_equal, results(file.parent), expected))
        else:
            with pytest.raises(UserError) as caught:
                results(file.parent)
            assert str(file) in str(caught.value) and "\n" not in str(caught.value)


@thoroughly
@pytest.mark.parametrize("name", [*STOPPED, "metrics.jsonl", *SPARE])
def test_a_damaged_file_of_a_stopped_run(
    cli: Cli, whole_once: Path, halfway_once: Path, tmp_path: Path, name: str, thorough: bool
) -> None:
    for file, harmless in each_damage(halfway_once, tmp_path / "run", name, thorough):
        answer = cli("resume", file.parent)
        if harmless or name == "metrics.jsonl":  # which is written anew from the checkpoint
            assert answer.code == 0, answer.err
            for made in ("model.safetensors", "predictions.npz", "config.json"):
                assert sha256_of(file.parent / made) == sha256_of(whole_once / made)
            rows = (file.parent / "metrics.jsonl").read_text().splitlines()
            assert [json.loads(row)["train_loss"] for row in rows] == losses(whole_once)
        else:
            assert answer.code == 2 and file.name in answer.line
            assert not (file.parent / "model.safetensors").exists()


MEANINGLESS = ({"step": 99}, {"step": -1}, {"rows": [{}]}, {"x": 1}, {"images": 0}, {"epoch_seconds": 0.0})
"""What no loop stands at in the middle of an epoch."""


def test_a_checkpoint_of_another_run_is_named_even_if_its_checksum_fits(
    cli: Cli, whole_once: Path, halfway_once: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(halfway_once, tmp_path / "run"))
    found = checkpoint.load(run)
    assert found is not None
    tensors, state = found
    fewer = dict(list(tensors.items())[:-1])
    for wrong in (
        {name: value for name, value in state.items() if name != "augment"},
        state | {"augment": {"effects": []}},
        *(state | {"loop": state["loop"] | each} for each in MEANINGLESS),
        None,
    ):
        checkpoint.save(run, 5, fewer if wrong is None else tensors, state if wrong is None else wrong)
        assert re.match(r".*run/checkpoint\.json: of another run or version \(.*\); delete ch", cli("resume", run).line)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            checkpoint, "load", lambda folder: (tensors, state | {"loop": state["loop"] | {"loss_sum": 1e999}})
        )
        assert "of another run or version (Out of range float" in cli("resume", run).line
    checkpoint.save(run, 5, tensors, state)
    assert cli("resume", run).code == 0
    assert sha256_of(run / "model.safetensors") == sha256_of(whole_once / "model.safetensors")


def losses(run: Path) -> list[float]:
    return [row["train_loss"] for row in json.loads((run / "record.json").read_text())["epochs"]]


@pytest.mark.parametrize("name", STOPPED)
def test_what_a_refusal_of_a_stopped_run_advises_helps(
    cli: Cli, whole_once: Path, halfway_once: Path, tmp_path: Path, name: str
) -> None:
    run = Path(shutil.copytree(halfway_once, tmp_path / "run"))
    (file,) = run.glob(name)
    file.write_bytes(file.read_bytes()[:-9])
    advice = cli("resume", run).line.rpartition("; ")[2]
    if "checkpoint" in name:
        assert advice == "delete checkpoint.json to train this run anew"
        (run / "checkpoint.json").unlink()
        assert cli("resume", run).code == 0
    else:
        also = "" if name == "record.json" else " and record.json"
        assert advice == f"restore it, or delete it{also} and give the train command again"
        for each in {name, "record.json"} if also else {name}:
            (run / each).unlink()
        assert cli("train", *LEAN, "-o", run).code == 0
    assert sha256_of(run / "model.safetensors") == sha256_of(whole_once / "model.safetensors")


@pytest.mark.parametrize("name", FINISHED)
def test_what_a_refusal_of_a_finished_run_advises_helps(cli: Cli, whole_once: Path, tmp_path: Path, name: str) -> None:
    run = Path(shutil.copytree(whole_once, tmp_path / "run"))
    (run / name).write_bytes((run / name).read_bytes()[:-9])
    for verb in (["resume", run], ["train", *LEAN, "-o", run]):
        answer = cli(*verb)
        assert answer.code == 2 and f"{run / name}" in answer.line
    for each in {name, "record.json"}:
        (run / each).unlink()
    assert cli("train", *LEAN, "-o", run).code == 0
    assert all(map(np.array_equal, results(run), results(whole_once)))


def test_what_a_finished_run_can_spare_may_be_deleted(cli: Cli, whole_once: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(whole_once, tmp_path / "run"))
    for name in ("model.safetensors", "predictions.npz", "config.json", "metrics.jsonl"):
        (run / name).unlink()
    assert cli("resume", run).code == 0
    with pytest.raises(UserError, match=r"model\.safetensors: missing; restore it, or delete record\.json"):
        seedwise.load(run).predict(IMAGES)
