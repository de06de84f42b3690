"""Off is off: with probability 0, or never named, training gives the same bits; and inert switches are found."""

import numpy as np
import pytest
import torch
from augment_samples import NEUTRAL, ON, TOGETHER, augmenter, one_hot, photos
from torch import Tensor

from seedwise.augment.config import AugmentConfig
from seedwise.augment.inert import inert

EVERYTHING = {**TOGETHER, "random_resized_crop": None}


def weights(techniques: dict, steps: int) -> Tensor:
    """Of a small network after some steps of training on 8 images at a time."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, stride=4), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8 * 36, 10)
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    ours, images, targets = augmenter(rows=16, **techniques), photos(16, 24, 24), one_hot(16)
    for step in range(steps):
        ids = np.arange(8) + 8 * (step % 2)
        batch = ours.train(images[ids], None, targets[ids], ids, epoch=step // 2, size=24)
        loss = -(batch.targets * model(batch.images).log_softmax(dim=1)).sum(dim=1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert torch.isfinite(loss)
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("steps", [8, pytest.param(50, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", NEUTRAL)
@pytest.mark.parametrize("rest", [{}, EVERYTHING], ids=["alone", "beside all others"])
def test_neutral_is_as_if_never_named(name: str, rest: dict, steps: int) -> None:
    """Bit-identical weights after some steps, whatever else is on."""
    others = {key: value for key, value in rest.items() if key != name}
    assert torch.equal(weights({**others, name: NEUTRAL[name]}, steps), weights(others, steps))


@pytest.mark.parametrize("name", ON)
def test_two_steps_of_training(name: str) -> None:
    assert not torch.equal(weights({name: ON[name]}, 2), weights({}, 2))


# ------------------------------------------------------------------ inert


def effects(techniques: dict, images: int, share: float = 0.0) -> dict[str, dict[str, float]]:
    return {name: {"images": images, "share": share} for name in techniques}


def found(techniques: dict, images: int, share: float = 0.0) -> list[str]:
    return inert(AugmentConfig.model_validate(techniques), effects(techniques, images, share))


def test_nothing_is_inert_in_a_real_run() -> None:
    ours = augmenter(**ON)  # type: ignore[arg-type]
    images, ids = photos(64, 16, 16), np.arange(64)
    for epoch in range(8):
        ours.train(images, None, one_hot(64), ids, epoch=epoch, size=16)
    assert inert(AugmentConfig.model_validate(ON), ours.effects()) == []


@pytest.mark.parametrize("name", ON)
def test_a_technique_without_effect_is_found(name: str) -> None:
    assert found({name: ON[name]}, 10_000) == [name]
    assert found({name: ON[name]}, 10_000, share=0.0001) == []
    assert found({name: ON[name]}, 0) == []


@pytest.mark.parametrize("name", [name for name in NEUTRAL if name != "custom"])
def test_what_was_asked_to_do_nothing_is_not_inert(name: str) -> None:
    assert found({name: NEUTRAL[name]}, 10**9) == []


def test_the_chance_of_nothing_is_below_one_in_a_million() -> None:
    """0.9 ** 131 = 1.01e-6."""
    assert found({"horizontal_flip": {"prob": 0.1}}, 131) == []
    assert found({"horizontal_flip": {"prob": 0.1}}, 132) == ["horizontal_flip"]
    assert found({"horizontal_flip": {"prob": 1.0}}, 1) == ["horizontal_flip"]
    assert found({"mixup": {"switch_prob": 1.0}, "cutmix": {}}, 10_000) == ["cutmix"]
    assert found({"mixup": {"switch_prob": 0.0}, "cutmix": {}}, 10_000) == ["mixup"]


def test_batches_of_one_make_mixing_inert() -> None:
    """Of images that have no partner half get Mixup's turn, where it should always act, and half CutMix's."""
    techniques = {"mixup": {}, "cutmix": {}}
    ours = augmenter(**techniques)  # type: ignore[arg-type]
    for epoch, expected in enumerate((["mixup"], ["mixup", "cutmix"])):
        for i in range(64):
            ours.train(photos(1, 8, 8), None, one_hot(1), np.array([i]), epoch=epoch, size=8)
        assert inert(AugmentConfig.model_validate(techniques), ours.effects()) == expected


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("rotation", {"degrees": 1.0}),
        ("blur", {"sigma": (0.1, 0.15), "prob": 1.0}),
        ("color_jitter", {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0}),
    ],
)
def test_what_moves_no_pixel_is_inert(name: str, options: dict) -> None:
    """Angles and filters too small for the images, and another hue of gray."""
    ours = augmenter(rows=256, **{name: options})  # type: ignore[arg-type]
    gray = photos(256, 16, 16)[:, :1].repeat(1, 3, 1, 1)
    for epoch in range(6):
        ours.train(gray, None, one_hot(256), np.arange(256), epoch=epoch, size=16)
    assert ours.effects()[name]["images"] == 6 * 256
    assert inert(AugmentConfig.model_validate({name: options}), ours.effects()) == [name]


def test_grayscale_of_gray_images_is_inert() -> None:
    ours = augmenter(grayscale={"prob": 0.5})
    gray = photos(64, 8, 8)[:, :1].expand(64, 3, 8, 8)
    ours.train(gray, None, one_hot(64), np.arange(64), epoch=0, size=8)
    assert inert(AugmentConfig.model_validate({"grayscale": {"prob": 0.5}}), ours.effects()) == ["grayscale"]
