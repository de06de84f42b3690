"""The Augmenter: the same draws whatever the batch, the right frame, and effects that tell the truth."""

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as tv
from augment_samples import FILTERS, ON, TOGETHER, assert_agree, augmenter, one_hot, photos, pixels
from torch import Tensor
from torchvision.transforms import InterpolationMode

from seedwise.augment import (
    blur,
    cutmix,
    flip,
    mixup,
    rand_augment,
    random_crop,
    random_erasing,
    random_resized_crop,
    rotation,
    trivial_augment_wide,
)
from seedwise.augment.config import (
    AugmentConfig,
    BlurConfig,
    MixUpConfig,
    RandAugmentConfig,
    RandomErasingConfig,
    RandomResizedCropConfig,
    TrivialAugmentWideConfig,
)
from seedwise.augment.measure import Effects
from seedwise.augment.pipeline import Augmenter
from seedwise.augment.table import TECHNIQUES
from seedwise.base import rng
from seedwise.base.batch import Batch

names = pytest.mark.parametrize("name", ON)
PER_IMAGE = [name for name in ON if name not in ("mixup", "cutmix")]
EVERYTHING = {**TOGETHER, "resize": {"interpolation": "bicubic"}}


def train(techniques: dict, images: Tensor, ids: object, *, epoch: int = 0, size: int = 40, seed: int = 0) -> Any:
    return augmenter(seed=seed, **techniques).train(images, None, one_hot(len(images)), ids, epoch=epoch, size=size)


@names
def test_same_seed_same_batch(name: str) -> None:
    images, ids = photos(16, 32, 32), np.arange(16)
    first, again = (train({name: ON[name]}, images, ids) for _ in range(2))
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.targets, again.targets)
    for other in ({"seed": 1}, {"epoch": 1}):
        assert not torch.equal(first.images, train({name: ON[name]}, images, ids, **other).images)


@names
def test_ids_may_be_a_tensor_and_the_input_stays_as_it_was(name: str) -> None:
    images = photos(8, 32, 32)
    before = images.clone()
    ids = np.array([5, 3, 9, 11, 0, 63, 2, 7])
    techniques = {name: ON[name]}
    by_array, by_tensor = train(techniques, images, ids), train(techniques, images, torch.from_numpy(ids))
    assert torch.equal(by_array.images, by_tensor.images)
    assert torch.equal(images, before)


@pytest.mark.parametrize(
    "techniques", [*({name: ON[name]} for name in PER_IMAGE), {n: on for n, on in TOGETHER.items() if n in PER_IMAGE}]
)
def test_an_image_does_not_depend_on_its_batch(techniques: dict) -> None:
    images, order = photos(24, 33, 33), np.random.default_rng(1).permutation(24)
    whole = train(techniques, images, np.arange(24))
    parts = [train(techniques, images[order[i : i + 5]], order[i : i + 5]) for i in range(0, 24, 5)]
    assert torch.equal(torch.cat([part.images for part in parts]), whole.images[order])
    one = train(techniques, images[7:8], np.array([7]))
    assert torch.equal(one.images[0], whole.images[7])


@pytest.mark.parametrize("techniques", [{"mixup": {}}, {"cutmix": {}}, {"mixup": {}, "cutmix": {"prob": 1}}], ids=str)
def test_mixing_does_not_depend_on_the_order_in_its_batch(techniques: dict) -> None:
    images, order = photos(24, 32, 32), np.random.default_rng(1).permutation(24)
    targets = torch.eye(24)
    whole = augmenter(**techniques).train(images, None, targets, np.arange(24), epoch=0, size=40)
    mixed = augmenter(**techniques).train(images[order], None, targets[order], order, epoch=0, size=40)
    assert torch.equal(mixed.images, whole.images[order])
    assert torch.equal(mixed.targets, whole.targets[order])


def test_draws_do_not_depend_on_other_techniques() -> None:
    """Everything on gives what the techniques give one after the other with the draws that each has alone.

    Mixup and CutMix together are in test_augment_mix.py.
    """
    images, ids = photos(12, 32, 32), np.arange(12)
    once = train({**EVERYTHING, "random_resized_crop": None, "mixup": None}, images, ids, size=32)
    step = pixels(images / 255)
    for name in TOGETHER:
        if name not in ("random_resized_crop", "mixup", "cutmix"):
            step = pixels(train({name: ON[name]}, step, ids, size=32).images)
    last = train({"cutmix": ON["cutmix"]}, step, ids, size=32)
    assert torch.equal(pixels(once.images), pixels(last.images))
    assert torch.equal(once.targets, last.targets)


@names
def test_parameters_come_from_the_named_stream(name: str) -> None:
    """Which is what makes runs comparable across versions: seed, "augment", technique, epoch (or 0 in all epochs)."""
    technique = next(t for t in TECHNIQUES if t.name == name)
    ids, drawn = np.array([40, 2, 17]), 5 if technique.config.draws == "epoch" else 0

    def draws(columns: int) -> Tensor:
        return torch.from_numpy(rng.generator(3, "augment", name, drawn).random((64, columns), dtype=np.float32)[ids])

    images = photos(3, 32, 32)
    ours = augmenter(seed=3, **{name: ON[name] if name == "custom" else {}})
    result = ours.train(images, None, one_hot(3), ids, epoch=5, size=32)
    measured = ours.effects()[name]
    context = {"size": 32, "interpolation": "bilinear", "mean": (0.0,) * 3, "epoch": 5}
    given = {key: context[key] for key in technique.keywords if key in context}
    section = getattr(ours._config, name)
    expected, effects = (
        technique.apply(Batch(images, one_hot(3)), draws(technique.columns), section, **given),
        Effects(),
    )
    effects.add(name, expected[1])
    assert torch.equal(pixels(result.images), expected[0].images)
    assert torch.equal(result.targets, expected[0].targets)
    assert measured == effects.summary()[name]
    match name:
        case "random_crop":
            corners = random_crop.parameters(draws(2), 4).double()
            assert measured["mean_shift"] == pytest.approx((corners - 4).norm(dim=1).mean().item())
        case "rotation":
            assert measured["mean_degrees"] == pytest.approx(rotation.parameters(draws(1), 15).mean().item())
        case "horizontal_flip" | "vertical_flip":
            assert measured["share"] == flip.parameters(draws(1), 0.5).double().mean().item()
        case "random_resized_crop":
            areas = torch.tensor([32, 32]).expand(3, 2)
            boxes = random_resized_crop.parameters(draws(random_resized_crop.COLUMNS), areas, RandomResizedCropConfig())
            assert measured["mean_area"] == pytest.approx((boxes[:, 2:].prod(dim=1) / 1024).mean().item())
        case "color_jitter":
            assert measured["mean_brightness"] == pytest.approx((0.8 + 0.4 * draws(8)[:, 0]).mean().item())
        case "custom":
            assert measured["share"] == (draws(8)[:, 0] < 0.5).double().mean().item()
        case "rand_augment":
            codes, _ = rand_augment.parameters(draws(16), RandAugmentConfig(), (32, 32))
            assert measured["share_equalize"] == pytest.approx((codes == 13).double().mean().item())
        case "trivial_augment_wide":
            codes, _ = trivial_augment_wide.parameters(draws(3), TrivialAugmentWideConfig(), (32, 32))
            assert measured["share_rotate"] == pytest.approx((codes == 5).double().mean().item())
        case "grayscale":
            assert measured["share"] == (draws(1)[:, 0] < 0.1).double().mean().item()
        case "blur":
            blurred, sigma = blur.parameters(draws(2), BlurConfig())
            assert measured["share"] == (blurred & (sigma > 0.26)).double().mean().item()
        case "random_erasing":
            boxes = random_erasing.parameters(draws(24), RandomErasingConfig(), (32, 32))
            assert measured["share"] == (boxes.sum(dim=1) > 0).double().mean().item()
        case "mixup":
            kept, partners = mixup.parameters(draws(4), MixUpConfig())
            assert torch.equal(result.targets, mixup.mix_targets(one_hot(3), kept, partners))
        case "cutmix":
            mix = cutmix.parameters(draws(5), ours._config.cutmix, (32, 32))
            assert torch.equal(result.targets, cutmix.mix_targets(one_hot(3), mix, 1024))


@pytest.mark.parametrize("techniques", [{name: ON[name]} for name in ON] + [EVERYTHING], ids=str)
def test_one_and_two_threads_give_the_same_bits(techniques: dict) -> None:
    threads = torch.get_num_threads()
    images, ids = photos(64, 40, 56), np.arange(64)
    try:
        torch.set_num_threads(1)
        one = train(techniques, images, ids, size=64)
        torch.set_num_threads(2)
        two = train(techniques, images, ids, size=64)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(one.images, two.images)
    assert torch.equal(one.targets, two.targets)


@pytest.mark.parametrize("n", [1, 5])
@pytest.mark.parametrize("shape", [(32, 32), (31, 45), (50, 20)])
@pytest.mark.parametrize("techniques", [{name: ON[name]} for name in ON] + [EVERYTHING], ids=str)
def test_output(n: int, shape: tuple[int, int], techniques: dict) -> None:
    ours = augmenter(**techniques)
    images, ids = photos(n, *shape), np.arange(n)
    for size in (24, 48):
        batch = ours.train(images, None, one_hot(n), ids, epoch=0, size=size)
        evaluated = ours.evaluate(images, None, size=size)
        for out in (batch.images, evaluated):
            assert out.shape == (n, 3, size, size)
            assert out.dtype == torch.float32
            assert out.is_contiguous(memory_format=torch.channels_last)
        assert batch.sizes is None
        torch.testing.assert_close(batch.targets.sum(dim=1), torch.ones(n))


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("shape", [(32, 32), (31, 45), (50, 21)])
def test_evaluation_is_torchvisions(interpolation: str, shape: tuple[int, int]) -> None:
    """Center crop, resize; and without a technique training is the same."""
    images = photos(6, *shape)
    ours = augmenter(resize={"interpolation": interpolation})
    evaluated = ours.evaluate(images, None, size=40)
    side = min(shape)
    square = tv.center_crop(images, [side, side])
    assert_agree(pixels(evaluated), tv.resize(square, [40, 40], FILTERS[interpolation], antialias=True))
    assert torch.equal(ours.train(images, None, one_hot(6), np.arange(6), epoch=0, size=40).images, evaluated)


@pytest.mark.parametrize(
    ("mean", "std"), [([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]), ([127 / 255] * 3, [128 / 255] * 3)]
)
def test_normalization_is_torchvisions(mean: list[float], std: list[float]) -> None:
    images = photos(4, 32, 32)
    ours = Augmenter(AugmentConfig(), seed=0, rows=4, mean=mean, std=std, device=torch.device("cpu"))
    theirs = tv.normalize(tv.to_dtype(images, torch.float32, scale=True), mean, std)
    torch.testing.assert_close(ours.evaluate(images, None, size=32), theirs, rtol=1e-5, atol=1e-6)


# ------------------------------------------------------------------ photos of several shapes on a shared canvas

SIZES = torch.tensor([[32, 48], [40, 32], [32, 32], [56, 32], [32, 33]])


def canvas(junk: int) -> Tensor:
    """Photos at the top left; what lies outside of them is `junk`."""
    shared = torch.full((5, 3, 56, 48), junk, dtype=torch.uint8)
    for i, (h, w) in enumerate(SIZES.tolist()):
        shared[i, :, :h, :w] = photos(5, 56, 56, seed=7)[i, :, :h, :w]
    return shared


def test_photos_of_several_shapes_are_cut_to_their_center() -> None:
    images, ours = canvas(0), augmenter(resize={"interpolation": "bicubic"})
    theirs = []
    for image, (h, w) in zip(images, SIZES.tolist(), strict=True):
        square = tv.center_crop(image[:, :h, :w], [32, 32])
        theirs.append(tv.resize(square, [40, 40], InterpolationMode.BICUBIC, antialias=True))
    assert_agree(pixels(ours.evaluate(images, SIZES, size=40)), torch.stack(theirs))
    trained = ours.train(images, SIZES, one_hot(5), np.arange(5), epoch=0, size=40)
    assert_agree(pixels(trained.images), torch.stack(theirs))


def test_boxes_lie_in_each_photo() -> None:
    images, ids = canvas(0), np.arange(5)
    ours = augmenter(random_resized_crop={}, resize={"interpolation": "bicubic"})
    random = rng.generator(0, "augment", "random_resized_crop", 2).random((64, 22), dtype=np.float32)[:5]
    boxes = random_resized_crop.parameters(torch.from_numpy(random), SIZES, RandomResizedCropConfig())
    assert ((boxes[:, :2] + boxes[:, 2:]) <= SIZES).all()
    theirs = [
        tv.resized_crop(image, *box, [40, 40], InterpolationMode.BICUBIC, antialias=True)
        for image, box in zip(images, boxes.tolist(), strict=True)
    ]
    trained = ours.train(images, SIZES, one_hot(5), ids, epoch=2, size=40)
    assert_agree(pixels(trained.images), torch.stack(theirs))


@pytest.mark.parametrize("techniques", [EVERYTHING, {**EVERYTHING, "random_resized_crop": None}], ids=["box", "center"])
def test_what_is_outside_of_a_photo_never_shows(techniques: dict) -> None:
    def augmented(junk: int) -> Tensor:
        ours = augmenter(**techniques)
        return ours.train(canvas(junk), SIZES, one_hot(5), np.arange(5), epoch=0, size=40).images

    assert torch.equal(augmented(0), augmented(255))


# ------------------------------------------------------------------ effects


def run(ours: Augmenter, epochs: range) -> None:
    images, ids = photos(64, 16, 16), np.arange(64)
    for epoch in epochs:
        for part in ids.reshape(4, 16):
            ours.train(images[part], None, one_hot(16), part, epoch=epoch, size=16)


def test_effects_of_augmix_are_what_was_asked() -> None:
    ours = augmenter(augmix=ON["augmix"])
    run(ours, range(60))
    effects = ours.effects()["augmix"]
    drawn = {key: share for key, share in effects.items() if key.startswith("share_")}
    assert len(drawn) == 13
    assert sum(drawn.values()) == pytest.approx(1)
    assert max(abs(share - 1 / 13) for share in drawn.values()) < 0.02
    assert effects["share"] > 0.9
    assert effects["mean_chains"] == pytest.approx(0.5, abs=0.02)


def test_effects_are_what_was_asked() -> None:
    """Without AugMix, which leaves images so smooth that a narrow blur changes none of their pixels."""
    rest = {name: on for name, on in TOGETHER.items() if name != "augmix"}
    ours = augmenter(**{**rest, "rotation": {"degrees": 20}, "cutmix": {"prob": 0.5}, "mixup": {"switch_prob": 0.25}})
    assert ours.effects() == {}
    run(ours, range(60))
    effects = ours.effects()
    assert list(effects) == list(rest)
    assert effects["horizontal_flip"]["share"] == pytest.approx(0.5, abs=0.03)
    assert effects["vertical_flip"]["share"] == pytest.approx(0.5, abs=0.03)
    assert effects["random_crop"]["share"] == pytest.approx(80 / 81, abs=0.01)
    shifts = np.hypot(*np.mgrid[-4:5, -4:5])
    assert effects["random_crop"]["mean_shift"] == pytest.approx(shifts.mean(), abs=0.1)
    assert effects["rotation"]["min_degrees"] == pytest.approx(-20, abs=0.1)
    assert effects["rotation"]["max_degrees"] == pytest.approx(20, abs=0.1)
    assert effects["rotation"]["mean_degrees"] == pytest.approx(0, abs=0.7)
    moves = math.degrees(math.asin(0.5 / 7.5))  # the least angle that takes a corner's nearest pixel from its neighbor
    assert effects["rotation"]["share"] == pytest.approx(1 - moves / 20, abs=0.03)
    assert 0.08 < effects["random_resized_crop"]["mean_area"] < 1
    assert effects["color_jitter"]["share"] == 1
    assert effects["color_jitter"]["mean_contrast"] == pytest.approx(1, abs=0.02)
    assert effects["custom"]["share"] == pytest.approx(0.5, abs=0.03)
    assert all(effect["images"] == 60 * 64 for effect in effects.values())
    for name in ("rand_augment", "trivial_augment_wide"):
        drawn = {key: share for key, share in effects[name].items() if key.startswith("share_")}
        assert len(drawn) == 14
        assert sum(drawn.values()) == pytest.approx(1)
        assert max(abs(share - 1 / 14) for share in drawn.values()) < 0.02
        assert effects[name]["share"] > 0.7
    assert effects["rand_augment"]["mean_magnitude"] == 12.5
    assert effects["grayscale"]["share"] == pytest.approx(0.3, abs=0.05)
    assert effects["blur"]["share"] == pytest.approx(0.5 * 1.75 / 1.9, abs=0.03)  # below 0.25 px nothing changes
    assert effects["blur"]["mean_sigma"] == pytest.approx(1.05, abs=0.05)
    assert effects["random_erasing"]["share"] == pytest.approx(0.5, abs=0.03)
    assert effects["random_erasing"]["mean_area"] == pytest.approx(0.175, abs=0.02)
    assert effects["mixup"]["share"] == pytest.approx(0.75 * 0.9, abs=0.1)  # some lambdas come to 1
    assert effects["mixup"]["mean_lambda"] == pytest.approx(0.45, abs=0.08)
    assert effects["cutmix"]["share"] == pytest.approx(0.25 * 0.47, abs=0.03)
    assert 0.5 < effects["cutmix"]["mean_lambda"] < 1


def test_share_of_cutmix_counts_mixed_labels() -> None:
    ours, mixed = augmenter(cutmix={"prob": 0.7}), 0
    images, ids, targets = photos(32, 16, 16), np.arange(32), torch.eye(32)
    for epoch in range(20):
        batch = ours.train(images, None, targets, ids, epoch=epoch, size=16)
        mixed += int((batch.targets.diagonal() < 1).sum())
    assert ours.effects()["cutmix"]["share"] == mixed / 640


def test_a_switch_without_effect_says_so() -> None:
    inert = {
        "random_crop": {"padding": 0},
        "horizontal_flip": {"prob": 0},
        "rotation": {"degrees": 0},
        "color_jitter": {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0},
        "grayscale": {"prob": 0},
        "blur": {"prob": 0},
        "random_erasing": {"prob": 0},
        "mixup": {"prob": 0},
        "cutmix": {"prob": 0},
    }
    ours = augmenter(**inert)
    run(ours, range(1))
    assert {name: effect["share"] for name, effect in ours.effects().items()} == dict.fromkeys(inert, 0.0)
    alone = augmenter(cutmix={"prob": 1})
    alone.train(photos(1, 16, 16), None, one_hot(1), np.arange(1), epoch=0, size=16)
    assert alone.effects() == {"cutmix": {"images": 1, "share": 0.0}}


def test_effects_resume_exactly() -> None:
    straight, first, second = (augmenter(**EVERYTHING) for _ in range(3))
    run(straight, range(6))
    run(first, range(3))
    second.load_state(json.loads(json.dumps(first.state())))
    run(second, range(3, 6))
    assert second.effects() == straight.effects()
    assert second.state() == straight.state()
    fresh = augmenter(**EVERYTHING)
    fresh.load_state(json.loads(json.dumps(fresh.state())))
    assert fresh.effects() == {}


def test_the_loaded_state_is_not_shared() -> None:
    first, second = augmenter(rotation={}), augmenter(rotation={})
    run(first, range(1))
    second.load_state(first.state())
    before = first.effects()
    run(second, range(1, 2))
    assert first.effects() == before
