"""Test-time augmentation against slow loops with torchvision's own flips and crops."""

from typing import Any

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as tv
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.transforms import FiveCrop, InterpolationMode, TenCrop

from seedwise.augment.config import AugmentConfig
from seedwise.augment.pipeline import Augmenter
from seedwise.engine import evaluate
from seedwise.engine.evaluate import predict
from seedwise.engine.placement import Placement
from seedwise.engine.tta import predict_tta, tta_effects
from seedwise.models.small import SmallNet
from seedwise.recipe.tta_config import TtaConfig

CPU = Placement(torch.device("cpu"), precision="fp32", channels_last=True)
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)


class Pictures:
    decoded = True

    def __init__(self, count: int, height: int, width: int) -> None:
        generator = np.random.default_rng(0)
        self.ids, self.targets = np.arange(count), generator.integers(0, 4, count)
        coarse = torch.from_numpy(generator.integers(0, 256, (count, 3, 6, 6), dtype=np.uint8))
        self.pixels = tv.resize(coarse, [height, width], InterpolationMode.NEAREST)

    def expect(self, positions: NDArray[np.int64]) -> None:
        """Needs no preparation."""

    def gather(self, positions: NDArray[np.int64]) -> tuple[NDArray[np.uint8], None]:
        return self.pixels[torch.from_numpy(positions)].numpy(), None


def augmenter() -> Augmenter:
    return Augmenter(AugmentConfig(), seed=0, rows=0, mean=MEAN, std=STD, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    made = SmallNet(4)
    with torch.no_grad():
        for module in made.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.fill_(0.7)
        made.classifier.weight.mul_(20)
    return made.eval()


def slow(model: nn.Module, views: list[Tensor]) -> Tensor:
    """log(mean of softmax) of uint8 views of one image, one by one."""
    probabilities = [model(tv.normalize(view.float() / 255, MEAN, STD)[None]).softmax(1) for view in views]
    return torch.stack(probabilities).mean(0).log()[0]


def resized(image: Tensor, side: int) -> Tensor:
    square = tv.center_crop(image, [min(image.shape[1:])] * 2)
    return tv.resize(square, [side, side], InterpolationMode.BILINEAR, antialias=True)


def views_of(image: Tensor, tta: TtaConfig, size: int) -> list[Tensor]:
    if tta.crops == 1:
        whole = resized(image, size)
        return [whole, tv.hflip(whole)] if tta.flip else [whole]
    larger = resized(image, round(size * 256 / 224))
    return list((TenCrop if tta.crops == 10 or tta.flip else FiveCrop)(size)(larger))


@pytest.mark.parametrize("shape", [(24, 24), (33, 41)], ids=str)
@pytest.mark.parametrize(
    "options",
    [{}, {"flip": False}, {"flip": False, "crops": 5}, {"crops": 5}, {"flip": False, "crops": 10}, {"image_size": 40}],
    ids=str,
)
@torch.no_grad()
def test_it_is_torchvisions_views_averaged(model: nn.Module, options: dict[str, Any], shape: tuple[int, int]) -> None:
    tta, pictures = TtaConfig(**options), Pictures(5, *shape)
    found = predict_tta(model, pictures, augmenter(), tta, size=24, placement=CPU)
    size = tta.image_size or 24
    expected = torch.stack([slow(model, views_of(image, tta, size)) for image in pictures.pixels])
    torch.testing.assert_close(torch.from_numpy(found.logits), expected, rtol=1e-3, atol=1e-3)
    assert np.array_equal(found.targets, pictures.targets) and np.array_equal(found.ids, pictures.ids)
    torch.testing.assert_close(torch.from_numpy(found.logits).exp().sum(1), torch.ones(5))
    plain = predict(model, pictures, augmenter(), size=24, placement=CPU)
    moved = np.abs(found.logits - torch.from_numpy(plain.logits).log_softmax(1).numpy()).max()
    assert (moved < 1e-5) == (options == {"flip": False})


def test_progress_counts_every_view(model: nn.Module) -> None:
    calls: list[tuple[int, int]] = []
    pictures = Pictures(3, 16, 16)
    predict_tta(
        model,
        pictures,
        augmenter(),
        TtaConfig(crops=10),
        size=16,
        placement=CPU,
        on_progress=lambda *c: calls.append(c),
    )
    assert calls == [(3 * view, 30) for view in range(1, 11)]


def test_each_image_is_read_once_and_the_network_folded_once(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    """Encoded images would be decoded for every view, and on a large network folding takes seconds."""
    read, folded = [], []
    copy = evaluate.evaluation_copy
    monkeypatch.setattr(evaluate, "evaluation_copy", lambda *it: folded.append(it) or copy(*it))  # type: ignore[func-returns-value]
    pictures = Pictures(300, 16, 16)  # two batches
    gather = pictures.gather
    monkeypatch.setattr(pictures, "gather", lambda positions: read.extend(positions) or gather(positions))
    predict_tta(model, pictures, augmenter(), TtaConfig(crops=10), size=16, placement=CPU)
    assert sorted(read) == list(range(300)) and len(folded) == 1


def test_a_certain_network_has_finite_logits(model: nn.Module) -> None:
    sure = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 4))
    with torch.no_grad():
        sure[1].bias.copy_(torch.tensor([0.0, 1e4, -1e4, 0.0]))  # type: ignore[operator]
    found = predict_tta(sure, Pictures(2, 16, 16), augmenter(), TtaConfig(), size=16, placement=CPU)
    assert np.isfinite(found.logits).all() and (found.logits.argmax(1) == 1).all()


def test_nothing_scored_is_not_nothing_changed() -> None:
    assert tta_effects(TtaConfig(), 16, {}, {}) == {"views": 2, "image_size": 16, "resized_to": 16}
