"""The kernels as a run uses them: by a rule, recorded, the same bits again, and near the stock layers' results."""

import copy
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import TINY, Cli, call

from seedwise.base.files import sha256_of
from seedwise.data.config import DataConfig
from seedwise.data.open import open_data
from seedwise.kernels import swap
from seedwise.kernels.dispatch import Autotuner, Candidates, Case, Dispatcher
from seedwise.models.build import build_model
from seedwise.models.config import ModelConfig
from seedwise.recipe import library
from seedwise.records.run import read_record

LITE = ("-m", "efficientnet_lite0", *TINY[2:], "--seed", 0)
needs_kernels = pytest.mark.skipif(not swap.available(), reason="no C++ compiler here")


def fresh(cache: Path, folder: Path) -> Path:
    """A cache that holds compiled libraries alone: compiling them takes longer than most tests."""
    (folder / "kernels").mkdir(parents=True)
    for file in (cache / "kernels").glob("*-*.s*"):  # .so and .sha256
        (folder / "kernels" / file.name).symlink_to(file)
    return folder


@needs_kernels
def test_a_run_records_its_kernels_and_gives_the_same_bits_again_with_an_empty_cache(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        monkeypatch.setenv("SEEDWISE_CACHE", str(fresh(cache, tmp_path / f"cache {name}")))
        assert call("train", "digits", *LITE, "-o", tmp_path / name) == 0
    record = read_record(tmp_path / "a")
    assert record.kernels == read_record(tmp_path / "b").kernels
    assert {key.split()[0] for key in record.kernels} >= {"forward", "pointwise"}
    assert "kernels" in record.versions
    assert sha256_of(tmp_path / "a/model.safetensors") == sha256_of(tmp_path / "b/model.safetensors")


@needs_kernels
@pytest.mark.slow
@pytest.mark.alone
def test_two_processes_at_once_beside_busy_neighbors_give_the_same_bits(cache: Path, tmp_path: Path) -> None:
    burner = "import os, sys\nwhile os.getppid() == int(sys.argv[1]): pass"
    burning = [subprocess.Popen([sys.executable, "-c", burner, str(os.getpid())]) for _ in range(2)]
    started = []
    try:
        for name in "ab":
            command = [sys.executable, "-m", "seedwise", "train", "digits", *map(str, LITE), "-o", tmp_path / name]
            environment = {**os.environ, "SEEDWISE_CACHE": str(fresh(cache, tmp_path / f"cache {name}"))}
            started.append(subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL))
        assert [process.wait() for process in started] == [0, 0]
    finally:
        for process in (*burning, *started):
            process.kill()
            process.wait()
    records = [read_record(tmp_path / name) for name in "ab"]
    assert records[0].kernels == records[1].kernels and len(records[0].kernels) > 50
    assert sha256_of(tmp_path / "a/model.safetensors") == sha256_of(tmp_path / "b/model.safetensors")


@pytest.mark.slow
@needs_kernels
def test_tuned_choices_are_recorded_and_a_resumed_run_keeps_them(
    tmp_path: Path, cli: Cli, signal_at: Callable[[int, signal.Signals], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    tuned = (*LITE, "-s", "compute.kernels=tuned", "-s", "train.checkpoint_every=1", "-o", tmp_path / "run")
    signal_at(2, signal.SIGINT)
    assert cli("train", "digits", *tuned).code == 130
    before = read_record(tmp_path / "run").kernels
    assert "tuned" in (tmp_path / "run/recipe.yaml").read_text() and len(before) > 40

    asked: list[str] = []

    def measured(_: Dispatcher, case: Case, candidates: Candidates, images: int) -> dict[str, float]:
        asked.append(case.key)
        return dict.fromkeys(candidates, 1.0)

    monkeypatch.setattr(Autotuner, "measured", measured)
    assert cli("resume", tmp_path / "run").code == 0
    after = read_record(tmp_path / "run").kernels
    assert before.items() <= after.items() and not before.keys() & {*asked}


@needs_kernels
@pytest.mark.parametrize("kind", ["fallback", "native"])
def test_a_step_of_the_pretrained_network_is_as_exact_as_stock(kind: str) -> None:
    """Its gradients amplify rounding ten thousandfold, so the measure is stock's own distance from float64."""
    dataset = open_data("digits", DataConfig(), short_side=32).train
    positions = np.arange(0, 1200, 24)
    pixels, _ = dataset.gather(positions)
    images = ((torch.from_numpy(pixels).float() - 127) / 128).contiguous(memory_format=torch.channels_last)
    targets = torch.from_numpy(dataset.targets[positions])
    config = ModelConfig(name="efficientnet_lite0", weights="pip", dropout=0.0)
    network = build_model(config, num_classes=10, seed=0).module.to(memory_format=torch.channels_last)

    def gradients(kernels: swap.Kernels, dtype: torch.dtype) -> torch.Tensor:
        model = copy.deepcopy(network).to(dtype)
        swap.accelerate(model, kernels, {})
        torch.nn.functional.cross_entropy(model(images.to(dtype)), targets).backward()
        return torch.cat([p.grad.double().flatten() for p in model.parameters()])

    exact = gradients("stock", torch.float64)
    stock, ours = ((gradients(it, torch.float32) - exact).norm() / exact.norm() for it in ("stock", kind))
    assert ours <= 2 * stock + 1e-3


def test_without_a_compiler_auto_is_fallback_and_native_an_error(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swap, "available", lambda: False)
    assert cli("train", "digits", *TINY, "-s", "compute.kernels=native").line == (
        "compute.kernels: native needs a C++ compiler that works (g++ or clang++); use fallback"
    )
    assert "kernels: fallback" in cli("train", "digits", *TINY, "--dry-run").out


def test_the_old_word_for_the_fallback_is_read_as_the_new_one(cli: Cli) -> None:
    """Runs of earlier versions have it in their recipes, chosen by auto where there was no compiler."""
    assert "kernels: fallback" in cli("train", "digits", *TINY, "-s", "compute.kernels=composed", "--dry-run").out
    assert library.read("demo", ["compute.kernels=composed"]) == library.read("demo", ["compute.kernels=fallback"])
