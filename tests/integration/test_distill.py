"""Distillation: `--teacher` with a run, a study and an ensemble, and what a teacher may not be."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import LEAN, Cli
from PIL import Image
from torch import nn

import seedwise
from seedwise.optim.config import LossConfig
from seedwise.optim.loss import build_loss


def test_the_loss_has_the_gradient_of_hintons_formula() -> None:
    """Written out in float64: (1 - w) * cross-entropy + w * T^2 * sum p log(p / q), averaged over the images."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(6, 5, generator=generator, requires_grad=True)
    targets = torch.rand(6, 5, generator=generator).softmax(dim=1)
    t, w = 3.0, 0.7
    taught = (torch.randn(6, 5, generator=generator) / t).softmax(dim=1)
    config = LossConfig.model_validate({"distill": {"teacher": "anywhere", "temperature": t, "weight": w}})
    loss = build_loss(config, np.arange(5), 5, torch.device("cpu"))
    (got,) = torch.autograd.grad(loss(logits, targets, taught), logits)

    z, p = logits.detach().double().numpy(), taught.double().numpy()
    soft = lambda x: np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)  # noqa: E731
    of_labels = soft(z) * targets.double().numpy().sum(axis=1, keepdims=True) - targets.double().numpy()
    of_teacher = t * (soft(z / t) - p)  # T^2 from the weight, 1/T from the chain rule
    np.testing.assert_allclose(got.numpy(), ((1 - w) * of_labels + w * of_teacher) / 6, atol=1e-6)
    plain = build_loss(LossConfig(), np.arange(5), 5, torch.device("cpu"))
    assert loss(logits, targets) == plain(logits, targets)


@pytest.fixture
def teacher(cli: Cli) -> Path:
    assert cli("train", *LEAN, "-o", "teacher").code == 0
    return Path("teacher")


def test_a_student_learns_what_its_teacher_says(teacher: Path, cli: Cli) -> None:
    """By the teacher alone the student comes nearer to it than by the labels."""
    longer = (*LEAN, "--epochs", "6", "--lr", "0.01", "--seed", "5")
    assert cli("train", *longer, "-o", "alone").code == 0
    taught = ("--teacher", teacher, "-s", "loss.distill.weight=1.0", "-s", "loss.distill.temperature=1.0")
    assert cli("train", *longer, *taught, "-o", "student").code == 0

    def of(name: str) -> torch.Tensor:
        return torch.from_numpy(seedwise.load(name).logits("test")[2])

    distances = {
        name: nn.functional.kl_div(of(name).log_softmax(1), of("teacher").softmax(1), reduction="batchmean")
        for name in ("alone", "student")
    }
    assert distances["student"] < distances["alone"]
    record = json.loads(Path("student/record.json").read_text())
    said = record["techniques"]["distill"]
    assert said["networks"] == 1 and said["images"] == 6 * 60 and 0 < said["confidence"] <= 1
    assert any(name.startswith("teacher ") for name in record["versions"])


@pytest.mark.slow
def test_seeds_of_a_study_teach_together_and_a_stop_changes_nothing(cli: Cli) -> None:
    assert cli("train", *LEAN[:-12], *LEAN[-10:], "--seeds", "2", "-o", "five").code == 0
    taught = (*LEAN, "--teacher", "five")
    assert cli("train", *taught, "-o", "whole").code == 0
    record = json.loads(Path("whole/record.json").read_text())
    assert record["techniques"]["distill"]["networks"] == 2
    again = cli("train", *taught, "-o", "whole")
    assert again.code == 0
    shutil.move("five", "elsewhere")
    gone = cli("train", *taught, "-o", "other")
    assert gone.code == 2 and "five" in gone.line and "loss.distill.teacher" in gone.line


def test_what_may_not_teach_is_refused_before_training(teacher: Path, cli: Cli) -> None:
    leaked = cli("train", *LEAN, "--teacher", teacher, "-s", "data.split_seed=9", "-o", "leaked")
    assert leaked.code == 2 and "was trained on" in leaked.line and "data.split_seed" in leaked.line
    assert not Path("leaked/record.json").exists()
    missing = cli("train", *LEAN, "--teacher", "nowhere", "-o", "missing")
    assert missing.code == 2 and "nowhere" in missing.line and not Path("missing/record.json").exists()


def test_images_that_train_and_test_share_are_no_fault_of_a_teacher_on_the_same_split(cli: Cli) -> None:
    """As in CIFAR-100, where eight test images are training images pixel by pixel."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 8), ("test", 3)):
        for name in ("cat", "dog"):
            place = Path("photos", part, name)
            place.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(place / f"{number}.png")
    shutil.copy("photos/train/cat/0.png", "photos/test/cat/0.png")
    tiny = ("-m", "small", "--epochs", 1, "--img-size", 16, "-b", 8, "--threads", 1, "-s", "train.insight=false")
    assert cli("train", "photos", *tiny, "-s", "data.val=2", "-o", "teacher").code == 0
    student = cli("train", "photos", *tiny, "-s", "data.val=2", "--teacher", "teacher", "-o", "student")
    assert student.code == 0, student.err
