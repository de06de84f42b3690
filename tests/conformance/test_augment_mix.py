"""Mixup, alone and in turn with CutMix; mixing switched off at the end; strengths that a stage sets."""

import json

import numpy as np
import pytest
import torch
from augment_samples import augmenter, draws, one_hot, photos, pixels
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta
from torch import Tensor

from seedwise.augment import cutmix, mixup
from seedwise.augment.config import CutMixConfig, MixUpConfig
from seedwise.augment.mixing import UNIT
from seedwise.base.batch import Batch

BOTH = {"mixup": {"alpha": 1.0}, "cutmix": {"prob": 1.0}}


def paper_mixup(images: Tensor, targets: Tensor, random: np.ndarray, config: MixUpConfig) -> tuple[Tensor, Tensor]:
    """Image by image as in section 2 of the paper; every image's partner is the next one in the ring."""
    n = len(images)
    mixed, labels = images.double(), targets.double()
    ring = sorted(range(n), key=lambda i: random[i, 2])
    for place, i in enumerate(ring):
        partner = ring[(place + 1) % n]
        if random[i, 0] < config.prob and partner != i:
            lam = beta.ppf(random[i, 1], config.alpha, config.alpha)
            mixed[i] = lam * images[i].double() + (1 - lam) * images[partner].double()
            labels[i] = lam * targets[i].double() + (1 - lam) * targets[partner].double()
    return mixed, labels


@pytest.mark.parametrize("shape", [(32, 32), (31, 47)])
@pytest.mark.parametrize("n", [1, 2, 24])
@pytest.mark.parametrize("options", [{}, {"alpha": 1.0}, {"alpha": 4.0, "prob": 0.5}], ids=str)
def test_mixup_is_the_papers(shape: tuple[int, int], n: int, options: dict) -> None:
    images, targets, random, config = photos(n, *shape), torch.eye(n), draws(n, 4), MixUpConfig(**options)
    result, measured = mixup.apply(Batch(images, targets), random, config)
    pixel, label = paper_mixup(images, targets, random.double().numpy(), config)
    assert (result.images.double() - pixel).abs().max() <= 0.5 + 255 * UNIT
    assert (result.targets.double() - label).abs().max() <= UNIT
    assert torch.equal(measured["share"], result.targets.diagonal() < 1)
    assert torch.equal(measured["lambda"].float(), result.targets.diagonal()[measured["share"]])
    assert result.images.is_contiguous(memory_format=torch.channels_last)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 12),
    h=st.integers(1, 40),
    w=st.integers(1, 40),
    alphas=st.tuples(st.floats(0.05, 5), st.floats(0.05, 5)),
    probs=st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)),
    epoch=st.integers(0, 1000),
)
def test_the_label_is_the_share_of_pixels(n: int, h: int, w: int, alphas: tuple, probs: tuple, epoch: int) -> None:
    """Image i is all of one value and of class i, so the mean of a mixed image tells whose pixels it has."""
    value = torch.randperm(256, generator=torch.Generator().manual_seed(epoch))[:n]
    images = value.to(torch.uint8)[:, None, None, None].expand(n, 3, h, w)
    ours = augmenter(
        mixup={"prob": probs[0], "alpha": alphas[0], "switch_prob": probs[2]},
        cutmix={"prob": probs[1], "alpha": alphas[1]},
    )
    side = min(h, w)
    batch = ours.train(images, None, torch.eye(n), np.arange(n), epoch=epoch, size=side)
    assert (batch.targets >= 0).all()
    torch.testing.assert_close(batch.targets.sum(dim=1), torch.ones(n))
    assert (batch.targets > 0).sum(dim=1).max() <= 2
    found = (255 * batch.images.double()).mean(dim=(1, 2, 3))
    assert (found - batch.targets.double() @ value.double()).abs().max() <= 0.51


def test_images_take_turns() -> None:
    """Half get Mixup and half CutMix, and all partners come from the batch before anything was mixed."""
    n = 64
    images, targets = photos(n, 32, 32), torch.eye(n)
    ours, ids = augmenter(**BOTH), np.arange(n)
    batch = ours.train(images, None, targets, ids, epoch=0, size=32)
    alone = {name: augmenter(**{name: BOTH[name]}).train(images, None, targets, ids, epoch=0, size=32) for name in BOTH}
    of = {
        name: (pixels(batch.images) == pixels(one.images)).flatten(1).all(dim=1)
        & (batch.targets == one.targets).all(dim=1)
        for name, one in alone.items()
    }
    assert (of["mixup"] ^ of["cutmix"]).all()
    assert 20 <= of["mixup"].sum() <= 44
    effects = ours.effects()
    assert effects["mixup"]["share"] == (of["mixup"] & (batch.targets.diagonal() < 1)).double().mean().item()
    assert effects["cutmix"]["share"] == (of["cutmix"] & (batch.targets.diagonal() < 1)).double().mean().item()


@pytest.mark.parametrize(("switch_prob", "name"), [(0.0, "mixup"), (1.0, "cutmix")])
def test_the_switch_at_its_ends_leaves_one(switch_prob: float, name: str) -> None:
    images, ids = photos(16, 32, 32), np.arange(16)
    both = augmenter(**{**BOTH, "mixup": {"alpha": 1.0, "switch_prob": switch_prob}})
    one = augmenter(**{name: BOTH[name]})
    results = [it.train(images, None, one_hot(16), ids, epoch=0, size=32) for it in (both, one)]
    assert torch.equal(results[0].images, results[1].images)
    assert torch.equal(results[0].targets, results[1].targets)


@pytest.mark.parametrize(("off", "other"), [("mixup", "cutmix"), ("cutmix", "mixup")])
@pytest.mark.parametrize("how", ["prob", "strength"])
def test_what_is_switched_off_leaves_every_image_to_the_other(off: str, other: str, how: str) -> None:
    images, ids = photos(16, 32, 32), np.arange(16)
    silent = {**BOTH, off: {"prob": 0.0}} if how == "prob" else BOTH
    strengths = {f"{off}.alpha": 0.0} if how == "strength" else None
    both, one = augmenter(**silent), augmenter(**{other: BOTH[other]})
    ours = both.train(images, None, one_hot(16), ids, epoch=0, size=32, strengths=strengths)
    theirs = one.train(images, None, one_hot(16), ids, epoch=0, size=32)
    assert torch.equal(ours.images, theirs.images)
    assert torch.equal(ours.targets, theirs.targets)
    assert both.effects()[other] == one.effects()[other]
    assert both.effects()[off] == {"images": 0 if how == "strength" else 16, "share": 0.0}


def test_timms_turns() -> None:
    """As timm's Mixup does, `switch_prob` is the chance of CutMix; its own probability comes on top."""
    ours, n = augmenter(rows=2000, mixup={"prob": 0.8, "alpha": 1.0, "switch_prob": 0.3}, cutmix={"prob": 0.8}), 2000
    ours.train(torch.zeros(n, 3, 8, 8, dtype=torch.uint8), None, one_hot(n), np.arange(n), epoch=0, size=32)
    assert ours.effects()["mixup"]["share"] == pytest.approx(0.8 * 0.7, abs=0.04)
    assert ours.effects()["cutmix"]["share"] == pytest.approx(0.8 * 0.3, abs=0.04)


# ------------------------------------------------------------------ switched off for the last epochs


def test_mixing_stops_for_the_last_epochs() -> None:
    images, ids = photos(16, 32, 32), np.arange(16)
    ours = augmenter(epochs=5, mix_off_epochs=2, random_crop={}, **BOTH)
    always, never = augmenter(epochs=5, random_crop={}, **BOTH), augmenter(random_crop={})
    for epoch in range(5):
        expected = (always if epoch < 3 else never).train(images, None, one_hot(16), ids, epoch=epoch, size=32)
        batch = ours.train(images, None, one_hot(16), ids, epoch=epoch, size=32)
        assert torch.equal(batch.images, expected.images)
        assert torch.equal(batch.targets, expected.targets)
    assert {name: effect["images"] for name, effect in ours.effects().items()} == {
        "mix_off_epochs": 80,
        "random_crop": 80,
        "mixup": 48,
        "cutmix": 48,
    }


@pytest.mark.parametrize("epochs", [5, None])
def test_mixing_all_the_time(epochs: int | None) -> None:
    """Without a number of epochs (a picture, a prediction) mixing is on."""
    ours = augmenter(epochs=epochs, mix_off_epochs=0 if epochs else 5, **BOTH)
    for epoch in range(5):
        batch = ours.train(photos(16, 8, 8), None, one_hot(16), np.arange(16), epoch=epoch, size=16)
        assert not torch.equal(batch.targets, one_hot(16))


def test_off_in_every_epoch_is_on_record_and_resumes() -> None:
    ours, again = (augmenter(epochs=2, mix_off_epochs=2, cutmix={}) for _ in range(2))
    ours.train(photos(4, 8, 8), None, one_hot(4), np.arange(4), epoch=0, size=8)
    off = {"mix_off_epochs": {"images": 4, "share": 1.0}}
    assert ours.effects() == {**off, "cutmix": {"images": 0, "share": 0.0}}
    again.load_state(json.loads(json.dumps(ours.state())))
    assert again.effects() == ours.effects()


# ------------------------------------------------------------------ strengths


@pytest.mark.parametrize(
    ("name", "option", "value"), [("rand_augment", "magnitude", 4.5), ("mixup", "alpha", 0.7), ("cutmix", "alpha", 3.0)]
)
def test_a_strength_is_the_option_for_one_call(name: str, option: str, value: float) -> None:
    images, ids = photos(16, 32, 32), np.arange(16)

    def batch(given: dict, strengths: dict | None, rest: dict | None = None) -> tuple[Tensor, Tensor]:
        ours = augmenter(**{name: given}, **(rest or {}))
        result = ours.train(images, None, one_hot(16), ids, epoch=0, size=32, strengths=strengths)
        again = ours.train(images, None, one_hot(16), ids, epoch=0, size=32)
        plain = augmenter(**{name: given}, **(rest or {})).train(images, None, one_hot(16), ids, epoch=0, size=32)
        assert torch.equal(again.images, plain.images)
        return result.images, result.targets

    set_for_one, option_for_all = batch({}, {f"{name}.{option}": value}), batch({option: value}, None)
    assert all(torch.equal(a, b) for a, b in zip(set_for_one, option_for_all, strict=True))
    assert not torch.equal(set_for_one[0], batch({}, None)[0])
    ints = batch({}, {f"{name}.{option}": 4}), batch({option: 4.0}, None)
    assert torch.equal(ints[0][0], ints[1][0])


def test_strengths_of_techniques_that_are_off_change_nothing() -> None:
    images, ids = photos(8, 32, 32), np.arange(8)
    strengths = {"rand_augment.magnitude": 10.0, "mixup.alpha": 0.2, "cutmix.alpha": 0.0}
    with_them = augmenter(random_crop={}).train(images, None, one_hot(8), ids, epoch=0, size=32, strengths=strengths)
    assert torch.equal(
        with_them.images, augmenter(random_crop={}).train(images, None, one_hot(8), ids, epoch=0, size=32).images
    )


@pytest.mark.parametrize(
    "strengths",
    [{"cutmix.prob": 0.5}, {"rotation.degrees": 3.0}, {"rand_augment.magnitude": 31.0}, {"mixup.alpha": -1}],
)
def test_impossible_strengths_are_refused(strengths: dict) -> None:
    ours = augmenter(rand_augment={}, mixup={}, cutmix={})
    with pytest.raises(ValueError, match=r"strengths|magnitude|alpha"):
        ours.train(photos(4, 8, 8), None, one_hot(4), np.arange(4), epoch=0, size=8, strengths=strengths)


def test_cutmix_draws_do_not_change_beside_mixup() -> None:
    """Arms that differ in Mixup alone are pairs: the boxes that both paste are the same."""
    images, targets, ids = photos(32, 32, 32), torch.eye(32), np.arange(32)
    alone = augmenter(cutmix={"prob": 0.5}).train(images, None, targets, ids, epoch=0, size=32)
    ours = augmenter(cutmix={"prob": 0.5}, mixup={"prob": 1.0}).train(images, None, targets, ids, epoch=0, size=32)
    left = mixup.cutmix_mask(torch.from_numpy(augmenter_table("mixup"))[:32], MixUpConfig())
    assert torch.equal(ours.images[left], alone.images[left])
    assert torch.equal(ours.targets[left], alone.targets[left])
    assert isinstance(cutmix.parameters(draws(4, 5), CutMixConfig(), (8, 8)), cutmix.Mix)


def augmenter_table(name: str) -> np.ndarray:
    from seedwise.base import rng

    return rng.generator(0, "augment", name, 0).random((64, 4), dtype=np.float32)
