"""Scores against scikit-learn, and predictions that hold each image once, in order."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, log_loss, top_k_accuracy_score
from torch import Tensor, nn

from seedwise.base.errors import UserError
from seedwise.engine.evaluate import EVALUATION_BATCH, Predictions, predict, score
from seedwise.engine.placement import Placement


def predictions(logits: NDArray[Any], targets: NDArray[Any]) -> Predictions:
    return Predictions(np.arange(len(targets)), np.asarray(targets, np.int64), np.asarray(logits, np.float32))


@settings(deadline=None)
@given(st.sampled_from([2, 3, 5, 6, 100]), st.integers(1, 60), st.floats(0.01, 2), st.integers(0, 2**32 - 1))
def test_against_sklearn(k: int, n: int, spread: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    logits = (generator.normal(size=(n, k)) * spread).astype(np.float32)
    targets = generator.integers(0, k, n)
    got = score(predictions(logits, targets))
    assert got.top1 == pytest.approx(accuracy_score(targets, logits.argmax(axis=1)))
    if k > 5:
        assert got.top5 == pytest.approx(top_k_accuracy_score(targets, logits, k=5, labels=np.arange(k)))
    else:
        assert got.top5 == 1.0
    wide = torch.from_numpy(logits).double().softmax(dim=1).numpy()
    assert got.loss == pytest.approx(log_loss(targets, wide, labels=np.arange(k)), rel=1e-9, abs=1e-9)


def test_ties_count_against_the_model() -> None:
    flat = score(predictions(np.zeros((4, 10)), np.arange(4)))
    assert (flat.top1, flat.top5) == (0.0, 0.0)
    assert flat.loss == pytest.approx(np.log(10))
    # one class as high as the target's: not top-1, still top-5
    assert score(predictions(np.array([[3, 3, 0, 0, 0, 0]]), np.array([0]))).top1 == 0
    assert score(predictions(np.array([[3, 3, 0, 0, 0, 0]]), np.array([0]))).top5 == 1
    five = np.array([[3, 3, 3, 3, 3, 0], [3, 3, 3, 3, 3, 3]])
    assert score(predictions(five, np.array([0, 0]))).top5 == 0.5


@pytest.mark.parametrize("scale", [1e4, 1e30])
def test_large_logits(scale: float) -> None:
    logits = np.array([[1.0, 0.0, -1.0], [0.0, 1.0, -1.0]]) * scale
    got = score(predictions(logits, np.array([0, 0])))
    assert got.top1 == 0.5
    assert got.loss == pytest.approx(scale / 2)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_model_that_has_blown_up_is_told_to_the_user(bad: float) -> None:
    with pytest.raises(UserError, match=r"not finite; lower optim\.lr"):
        score(predictions(np.array([[bad, 0.0], [0.0, 1.0]]), np.array([0, 0])))


class Numbers:
    """Images whose every pixel is the image's own position (its low and high byte in two channels)."""

    decoded = True

    def __init__(self, count: int, sizes: bool) -> None:
        self.ids = np.arange(count) * 3 + 7
        self.targets = np.arange(count) % 2
        self._sizes = sizes

    def expect(self, positions: NDArray[np.int64]) -> None:
        """Needs no preparation."""

    def gather(self, positions: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64] | None]:
        pixels = np.stack([positions % 256, positions // 256, positions * 0], axis=1).astype(np.uint8)
        sizes = np.full((len(positions), 2), 4) if self._sizes else None
        return np.broadcast_to(pixels[:, :, None, None], (len(positions), 3, 4, 4)).copy(), sizes


class Plain:
    """An Augment that only widens; it notes what it was given."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, ...] | None] = []

    def evaluate(self, images: Tensor, sizes: Tensor | None, *, size: int) -> Tensor:
        self.sizes.append(None if sizes is None else tuple(sizes.shape))
        return images.float()


class Reader(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        assert not self.training
        assert not torch.is_grad_enabled()
        means = images.mean(dim=(2, 3))
        return torch.stack([means[:, 0], means[:, 1]], dim=1)


@pytest.mark.parametrize("count", [1, EVALUATION_BATCH - 1, EVALUATION_BATCH, EVALUATION_BATCH + 1, 600])
@pytest.mark.parametrize("sizes", [False, True])
def test_each_image_once_in_order(count: int, sizes: bool) -> None:
    placement = Placement(torch.device("cpu"), precision="fp32", channels_last=True)
    images, augment, model = Numbers(count, sizes), Plain(), Reader().train()
    calls: list[tuple[int, int]] = []
    got = predict(
        model,
        images,
        augment,  # type: ignore[arg-type]
        size=4,
        placement=placement,
        on_progress=lambda done, total: calls.append((done, total)),
    )
    assert (got.logits[:, 0] + 256 * got.logits[:, 1]).tolist() == list(range(count))
    assert got.logits.dtype == np.float32
    assert got.ids.tolist() == images.ids.tolist()
    assert got.targets.tolist() == images.targets.tolist()
    assert calls[-1] == (count, count)
    assert all((shape is not None) == sizes for shape in augment.sizes)
