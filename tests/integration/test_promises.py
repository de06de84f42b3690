"""What the README promises, measured with its own commands. Minutes each, so they run with `make test-slow`."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command_line import command

ROOT = Path(__file__).parents[2]
CIFAR = next(
    (
        folder
        for folder in (Path(os.environ.get("SEEDWISE_DATA", ROOT.parent / "shared" / "data")),)
        if (folder / "cifar100").is_dir()
    ),
    None,
)

pytestmark = pytest.mark.slow


def run(*arguments: Any) -> dict[str, Any]:
    """The JSON that a command prints."""
    done = subprocess.run(command(*arguments, "--json"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    content: dict[str, Any] = json.loads(done.stdout)
    return content


def test_the_demo_reaches_097_with_five_seeds(tmp_path: Path) -> None:
    study = run("train", "digits", "-r", "demo", "--seeds", 5, "-o", tmp_path / "demo")
    top1 = study["summary"]["base"]["test"]["top1"]
    assert top1["n"] == 5 and top1["mean"] >= 0.97


@pytest.mark.skipif(CIFAR is None, reason="the real CIFAR-100 is not at hand: set SEEDWISE_DATA")
def test_one_epoch_of_lite_at_64_px_reaches_055_on_cifar100(tmp_path: Path) -> None:
    settings = ("-r", "lite", "--data-dir", CIFAR, "--seed", 0, "--epochs", 1, "--img-size", 64)
    record = run("train", "cifar100", *settings, "-o", tmp_path / "run")
    assert record["final"]["test"]["top1"] >= 0.55


@pytest.mark.alone
def test_the_training_step_beats_timms_best_setting(tmp_path: Path) -> None:
    out = tmp_path / "step.json"
    bench = [sys.executable, str(ROOT / "benchmarks" / "step.py"), "--rounds", "5", "-o", str(out)]
    subprocess.run(bench, check=True, capture_output=True)
    result = json.loads(out.read_text())
    assert result["step_ratio"]["median"] >= 1.25
    assert result["augmentation_share"]["median"] < 0.05
