"""Two gloo processes under torchrun train as one process does."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import Cli
from torch import nn

import seedwise
from seedwise.base.batch import Batch
from seedwise.data.open import open_data
from seedwise.engine.distributed import World, joined
from seedwise.engine.loop import fit
from seedwise.engine.placement import Placement
from seedwise.engine.protocols import Observer
from seedwise.engine.step import training_step
from seedwise.models.build import build_model
from seedwise.recipe import library
from seedwise.run import resolve
from seedwise.run.assemble import prepare

TINY = [
    "digits",
    "-m",
    "small",
    "-s",
    "data.limit=200",
    "--img-size",
    "16",
    "-b",
    "64",
    "--threads",
    "1",
    "-s",
    "train.insight=false",
]


def torchrun(*command: str) -> list[str]:
    """The command under torchrun with two processes on this machine."""
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *command]


def run(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(torchrun(*command), capture_output=True, text=True, timeout=300, check=False)


# ---------------------------------------------------------------------------------------------------------- gradients


def gradients(world: World, parts: int) -> list[torch.Tensor]:
    """Gradients in fp64 of one step on 13 fixed images, with BatchNorm in eval mode."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5)).double()
    model.eval()
    images = torch.randn(13, 3, 8, 8, dtype=torch.float64)
    targets = torch.rand(13, 5, dtype=torch.float64).softmax(1)
    mine = world.shard(np.arange(13))
    batches = [Batch(images[part], targets[part]) for part in np.array_split(mine, parts)]
    training_step(
        world.ddp(model),
        lambda logits, targets, teacher=None: nn.functional.cross_entropy(logits, targets),
        torch.optim.SGD(model.parameters(), lr=0.1),
        batches,
        placement=Placement(torch.device("cpu"), precision="fp32", channels_last=False),
        clip_norm=None,
        world=world,
        total=13,
    )
    return [p.grad for p in model.parameters() if p.grad is not None]


def save_gradients(folder: str) -> None:
    """What each process of the tests below does."""
    with joined() as world:
        for parts in (1, 3):
            torch.save(gradients(world, parts), Path(folder) / f"{world.rank}-{parts}.pt")
        save_weights(Path(folder), world)


@pytest.fixture(scope="module")
def of_both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes saved."""
    folder = tmp_path_factory.mktemp("both")
    done = run(__file__, str(folder))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_gradients_of_two_processes_are_those_of_one(of_both: Path) -> None:
    alone = gradients(World(), 1)
    for rank in (0, 1):
        for parts in (1, 3):
            both = torch.load(of_both / f"{rank}-{parts}.pt", weights_only=True)
            for one, two in zip(alone, both, strict=True):
                torch.testing.assert_close(two, one, rtol=0, atol=1e-10)


FREEZING = ("model.name=small", "train.image_size=16", "train.batch_size=20", "train.epochs=2", "data.limit=80",
            "compute.threads=1", "model.freeze=1",
            "model.freeze_schedule=[{after: 0.25, freeze: 3}, {after: 0.75, freeze: 0}]")  # fmt: skip


def save_weights(folder: Path, world: World) -> None:
    """The weights after a freeze schedule, and the steps that it counted."""
    recipe = resolve.resolve(library.read("demo", FREEZING))
    data = open_data("digits", recipe.data, **resolve.storage_resolution(recipe))
    built = build_model(recipe.model, num_classes=10, seed=0)
    setup = replace(prepare(folder, recipe, 0, data, built), world=world)
    fit(setup, observer=Observer())
    assert setup.freezing is not None
    weights = dict(setup.model.named_parameters())
    torch.save((weights, setup.freezing.effects()), folder / f"{world.rank}-freezing.pt")


@pytest.mark.slow
def test_two_processes_freeze_and_unfreeze_together(of_both: Path) -> None:
    """Whatever is frozen, both step by the mean of both gradients."""
    (one, counts), (two, _) = (torch.load(of_both / f"{rank}-freezing.pt", weights_only=True) for rank in (0, 1))
    assert counts["freeze_schedule"] == {
        "changes": 2, "steps_frozen_1": 2, "steps_frozen_3": 4, "steps_frozen_0": 2
    }  # fmt: skip
    assert [name for name in one if not torch.equal(one[name], two[name])] == []


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_every_image_of_a_step_is_in_exactly_one_share(size: int) -> None:
    positions = np.random.default_rng(0).permutation(50)
    shares = [World(rank, size).shard(positions) for rank in range(size)]
    assert sorted(np.concatenate(shares)) == list(range(50))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


# ---------------------------------------------------------------------------------------------------------- whole runs


@pytest.mark.slow
def test_a_run_of_two_processes_scores_every_image_once_and_agrees_with_one(tmp_path: Path) -> None:
    settings = [*TINY, "--epochs", "2", "-s", "optim.swa={every: 1}", "-s", "optim.algorithm=muon"]
    done = run("-m", "seedwise", "train", *settings, "-o", str(tmp_path / "two"))
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "two" / "record.json").read_text())
    assert record["status"] == "finished" and record["machine"]["processes"] == 2
    with np.load(tmp_path / "two" / "predictions.npz") as stored:
        for split in ("val", "test"):
            assert len(stored[f"{split}_ema_logits"]) == len(stored[f"{split}_logits"])
            assert len(set(stored[f"{split}_ids"])) == record["data"]["splits"][split] == len(stored[f"{split}_logits"])
        top1 = (stored["test_logits"].argmax(1) == stored["test_targets"]).mean()
    assert top1 == pytest.approx(record["final"]["test"]["top1"], abs=0.01)
    assert done.stdout.count("test top-1") == 1, "only the first process talks"
    # What the processes scored together is what the saved weights answer, bit for bit.
    assert all(seedwise.evaluate(tmp_path / "two", split=split).agrees for split in ("val", "test"))


@pytest.mark.slow
def test_sigterm_to_torchrun_leaves_a_run_that_resumes_to_the_same_bits(tmp_path: Path) -> None:
    settings = [*TINY, "--epochs", "6", "-s", "train.checkpoint_every=2"]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert run("-m", "seedwise", "train", *settings, "-o", str(whole)).returncode == 0
    command = torchrun("-m", "seedwise", "train", *settings, "-o", str(stopped))
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    deadline = time.monotonic() + 120
    while not (stopped / "metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=120)
    status = json.loads((stopped / "record.json").read_text())["status"]
    assert status == "interrupted"
    again = run("-m", "seedwise", "resume", str(stopped))
    assert again.returncode == 0, again.stderr
    first, second = (
        json.loads((f / "record.json").read_text())["files"]["model.safetensors"] for f in (whole, stopped)
    )
    assert first == second


def test_a_study_under_torchrun_is_refused(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    answer = cli("train", *TINY, "--seeds", 2, "-o", "study")
    assert answer.code == 2 and "torchrun" in answer.err and not Path("study").exists()


if __name__ == "__main__":
    save_gradients(sys.argv[1])
