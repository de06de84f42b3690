"""The kernels as a run uses them: chosen once, recorded, the same bits again, and near the stock layers' results."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import TINY, Cli, call

from seedwise.data.config import DataConfig
from seedwise.data.open import open_data
from seedwise.files import sha256_of
from seedwise.models import acceleration
from seedwise.models.build import build_model
from seedwise.models.config import ModelConfig
from seedwise.record import read_record

LITE = ("-m", "efficientnet_lite0", *TINY[2:], "--seed", 0)
needs_kernels = pytest.mark.skipif(not acceleration.available(), reason="no C++ compiler here")


@needs_kernels
def test_a_run_records_its_kernels_and_gives_the_same_bits_again(tmp_path: Path) -> None:
    for name in "ab":
        assert call("train", "digits", *LITE, "-o", tmp_path / name) == 0
    record = read_record(tmp_path / "a")
    assert record.kernels == read_record(tmp_path / "b").kernels
    assert {key.split()[0] for key in record.kernels} >= {"forward", "both", "pointwise"}
    assert "kernels" in record.versions
    assert sha256_of(tmp_path / "a/model.safetensors") == sha256_of(tmp_path / "b/model.safetensors")


@needs_kernels
@pytest.mark.parametrize("kind", ["composed", "native"])
def test_a_step_of_the_pretrained_network_is_as_exact_as_stock(kind: str) -> None:
    """Its gradients amplify rounding ten thousandfold, so the measure is stock's own distance from float64."""
    dataset = open_data("digits", DataConfig(), short_side=32).train
    positions = np.arange(0, 1200, 24)
    pixels, _ = dataset.gather(positions)
    images = ((torch.from_numpy(pixels).float() - 127) / 128).contiguous(memory_format=torch.channels_last)
    targets = torch.from_numpy(dataset.targets[positions])
    config = ModelConfig(name="efficientnet_lite0", weights="pip", dropout=0.0)
    network = build_model(config, num_classes=10, seed=0).module.to(memory_format=torch.channels_last)

    def gradients(kernels: acceleration.Kernels, dtype: torch.dtype) -> torch.Tensor:
        model = copy.deepcopy(network).to(dtype)
        acceleration.accelerate(model, kernels, {})
        torch.nn.functional.cross_entropy(model(images.to(dtype)), targets).backward()
        return torch.cat([p.grad.double().flatten() for p in model.parameters()])

    exact = gradients("stock", torch.float64)
    stock, ours = ((gradients(it, torch.float32) - exact).norm() / exact.norm() for it in ("stock", kind))
    assert ours <= 2 * stock + 1e-3


def test_without_a_compiler_auto_is_composed_and_native_is_an_error(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceleration, "available", lambda: False)
    assert cli("train", "digits", *TINY, "-s", "compute.kernels=native").line == (
        "compute.kernels: native needs a C++ compiler that works (g++ or clang++); use composed"
    )
    assert "kernels: composed" in cli("train", "digits", *TINY, "--dry-run").out
