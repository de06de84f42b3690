"""The loss against a loop that follows the formula, and against torch where both are defined."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from timm.loss import BinaryCrossEntropy
from torch import Tensor

from seedwise.base.errors import UserError
from seedwise.optim.config import LossConfig
from seedwise.optim.loss import build_loss

CPU = torch.device("cpu")
UNBALANCED = np.array([0] * 7 + [1] * 2 + [3] * 1)
"""Class 2 has no image."""


def loop(
    logits: NDArray[np.float64], targets: NDArray[np.float64], smoothing: float, weights: NDArray[np.float64]
) -> float:
    """Mean over images of -sum_c w_c ((1 - s) t_c + s / k) log softmax_c."""
    n, k = logits.shape
    total = 0.0
    for i in range(n):
        log_sum = np.log(sum(np.exp(logits[i, c]) for c in range(k)))
        for c in range(k):
            share = (1 - smoothing) * targets[i, c] + smoothing / k
            total -= weights[c] * share * (logits[i, c] - log_sum)
    return total / n


def sample(n: int, k: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n * k)
    logits = torch.randn(n, k, generator=generator) * 3
    return logits, torch.rand(n, k, generator=generator).pow(4).softmax(dim=1)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
@pytest.mark.parametrize(
    ("class_weights", "expected"),
    [(None, (1, 1, 1, 1)), ((1.0, 0.0, 2.5, 0.3), (1, 0, 2.5, 0.3)), ("balanced", (10 / 28, 10 / 8, 0, 10 / 4))],
)
def test_soft_targets(smoothing: float, class_weights: object, expected: tuple[float, ...]) -> None:
    config = LossConfig.model_validate({"smoothing": smoothing, "class_weights": class_weights})
    loss = build_loss(config, UNBALANCED, 4, CPU)
    logits, targets = sample(9, 4)
    mine = loss(logits, targets)
    assert mine.shape == ()
    assert float(mine) == pytest.approx(
        loop(logits.double().numpy(), targets.double().numpy(), smoothing, np.array(expected, dtype=np.float64)),
        rel=1e-6,
    )


@pytest.mark.parametrize("k", [2, 3, 100])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_hard_labels_equal_torch(k: int, smoothing: float) -> None:
    logits, _ = sample(16, k)
    labels = torch.arange(16) % k
    loss = build_loss(LossConfig(smoothing=smoothing), labels.numpy(), k, CPU)
    expected = F.cross_entropy(logits, labels, label_smoothing=smoothing)
    torch.testing.assert_close(loss(logits, F.one_hot(labels, k).float()), expected, rtol=1e-6, atol=0)


def test_balanced_weights_leave_the_mean_weight_of_an_image_at_one() -> None:
    """So that they move the balance between classes, not the size of the steps."""
    labels = np.array([0] * 90 + [1] * 9 + [2])
    loss = build_loss(LossConfig(class_weights="balanced"), labels, 3, CPU)
    targets = F.one_hot(torch.from_numpy(labels), 3).float()
    assert float(loss(torch.zeros(100, 3), targets)) == pytest.approx(np.log(3), rel=1e-6)
    weights = [float(loss(torch.zeros(1, 3), row[None])) / np.log(3) for row in torch.eye(3)]
    assert weights == pytest.approx([100 / 270, 100 / 27, 100 / 3], rel=1e-6)


def test_an_image_weighs_the_same_in_any_batch() -> None:
    """What makes accumulation over batches exact under class weights too."""
    loss = build_loss(LossConfig(class_weights=(1.0, 5.0)), UNBALANCED, 2, CPU)
    logits, targets = sample(8, 2)
    parts = [loss(logits[i : i + 1], targets[i : i + 1]) for i in range(8)]
    torch.testing.assert_close(torch.stack(parts).mean(), loss(logits, targets))


def test_half_precision_logits_are_widened() -> None:
    logits, targets = sample(8, 5)
    low = logits.bfloat16()
    loss = build_loss(LossConfig(smoothing=0.1), UNBALANCED, 5, CPU)
    assert loss(low, targets).dtype == torch.float32
    assert torch.equal(loss(low, targets), loss(low.float(), targets))


@pytest.mark.parametrize("given", [(1.0,), (1.0, 2.0, 3.0)])
def test_another_number_of_weights_is_the_users_error(given: tuple[float, ...]) -> None:
    with pytest.raises(
        UserError, match=rf"^loss.class_weights: {len(given)} weights for 2 classes; give one for each$"
    ):
        build_loss(LossConfig(class_weights=given), np.array([0, 1]), 2, CPU)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_binary_cross_entropy_is_timms(smoothing: float) -> None:
    """Hard labels go through timm's own smoothing, soft targets as they are."""
    loss = build_loss(LossConfig(kind="bce", smoothing=smoothing), np.arange(4), 4, CPU)
    logits, targets = sample(9, 4)
    labels = targets.argmax(dim=1)
    given = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    mine, theirs = loss(given[0], F.one_hot(labels, 4).float()), BinaryCrossEntropy(smoothing)(given[1], labels)
    torch.testing.assert_close(mine, theirs)
    mine.backward()
    theirs.backward()
    torch.testing.assert_close(given[0].grad, given[1].grad)
    if not smoothing:
        torch.testing.assert_close(loss(logits, targets), BinaryCrossEntropy(0.0)(logits, targets))
