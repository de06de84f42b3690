"""Every technique against torchvision's, or for CutMix a loop written from the paper, with the same parameters."""

import math
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as tv
from augment_samples import FILTERS, SHAPES, assert_agree, draws, one_hot, photos
from scipy.stats import beta, kstest
from torch import Tensor
from torchvision.transforms import InterpolationMode

from seedwise.augment import color_jitter, cutmix, flip, random_crop, random_resized_crop, rotation
from seedwise.augment.config import (
    ColorJitterConfig,
    CutMixConfig,
    HorizontalFlipConfig,
    RandomCropConfig,
    RandomResizedCropConfig,
    RotationConfig,
    VerticalFlipConfig,
)
from seedwise.augment.mixing import beta_quantile
from seedwise.augment.resize import as_matrices, resize, resize_boxes
from seedwise.base.batch import Batch
from seedwise.base.errors import UserError

MODES = {"reflect": "reflect", "zero": "constant", "edge": "edge"}
sizes = pytest.mark.parametrize("shape", SHAPES)
counts = pytest.mark.parametrize("n", [1, 24])


def batch_of(images: Tensor) -> Batch:
    return Batch(images, one_hot(len(images)))


# ------------------------------------------------------------------ random crop


@sizes
@counts
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("padding", [1, 4])
def test_random_crop_is_pad_and_crop(shape: tuple[int, int], n: int, mode: str, padding: int) -> None:
    images, random = photos(n, *shape), draws(n, 2)
    config = RandomCropConfig(padding=padding, padding_mode=mode)  # type: ignore[arg-type]
    ours = random_crop.apply(batch_of(images), random, config)[0].images
    for i, (top, left) in enumerate(random_crop.parameters(random, padding).tolist()):
        padded = tv.pad(images[i], [padding] * 4, padding_mode=MODES[mode])
        assert torch.equal(ours[i], tv.crop(padded, top, left, *shape))


def test_random_crop_reaches_every_shift_evenly() -> None:
    corners = random_crop.parameters(draws(90_000, 2), 4)
    assert corners.unique().tolist() == list(range(9))
    counts = torch.bincount(corners[:, 0] * 9 + corners[:, 1], minlength=81)
    assert (counts / 90_000 - 1 / 81).abs().max() < 0.0015
    largest = torch.full((1, 2), 1 - 2**-24)
    assert random_crop.parameters(largest, 4).tolist() == [[8, 8]]


def test_random_crop_refuses_more_reflection_than_image() -> None:
    with pytest.raises(UserError, match=r"augment\.random_crop\.padding.*at most 7"):
        random_crop.apply(batch_of(photos(2, 8, 12)), draws(2, 2), RandomCropConfig(padding=8))
    random_crop.apply(batch_of(photos(2, 8, 12)), draws(2, 2), RandomCropConfig(padding=7))


# ------------------------------------------------------------------ flips


@sizes
@counts
def test_flips_are_torchvisions(shape: tuple[int, int], n: int) -> None:
    images, random = photos(n, *shape), draws(n, 1)
    flipped = flip.parameters(random, 0.4).tolist()
    across = flip.apply_horizontal(batch_of(images), random, HorizontalFlipConfig(prob=0.4))[0].images
    down = flip.apply_vertical(batch_of(images), random, VerticalFlipConfig(prob=0.4))[0].images
    for i, image in enumerate(images):
        assert torch.equal(across[i], tv.horizontal_flip(image) if flipped[i] else image)
        assert torch.equal(down[i], tv.vertical_flip(image) if flipped[i] else image)


@pytest.mark.parametrize("prob", [0.0, 0.1, 0.5, 1.0])
def test_flip_share(prob: float) -> None:
    share = flip.parameters(draws(100_000, 1), prob).double().mean().item()
    assert abs(share - prob) <= 4 * math.sqrt(prob * (1 - prob) / 100_000)


# ------------------------------------------------------------------ rotation


@sizes
@counts
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("degrees", [15.0, 180.0])
def test_rotation_is_torchvisions(shape: tuple[int, int], n: int, interpolation: str, degrees: float) -> None:
    images, random = photos(n, *shape), draws(n, 1)
    config = RotationConfig(degrees=degrees, interpolation=interpolation)  # type: ignore[arg-type]
    ours = rotation.apply(batch_of(images), random, config)[0].images
    angles = rotation.parameters(random, degrees).tolist()
    theirs = [
        tv.rotate(image, angle, InterpolationMode(interpolation)) for image, angle in zip(images, angles, strict=True)
    ]
    assert_agree(ours, torch.stack(theirs))


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("angle", [-90.0, 0.0, 90.0])
def test_rotation_by_right_angles_keeps_every_pixel(interpolation: str, angle: float) -> None:
    images = photos(3, 31, 31)
    ours = rotation.rotate(images, torch.full((3,), angle, dtype=torch.float64), interpolation)
    assert torch.equal(ours, torch.rot90(images, round(angle / 90), (-2, -1)))


def test_angles_are_uniform() -> None:
    angles = rotation.parameters(draws(50_000, 1), 30.0).numpy()
    assert kstest(angles, "uniform", args=(-30, 60)).pvalue > 0.01


@pytest.mark.parametrize(("degrees", "moves"), [(1.8, False), (1.9, True)])
def test_only_an_angle_that_moves_a_pixel_counts(degrees: float, moves: bool) -> None:
    """At 32 px a corner lies 15.5 px from the middle in both directions: it takes 1.82 degrees to move half a pixel."""
    images = photos(4, 32, 32)
    result, measured = rotation.apply(batch_of(images), torch.zeros(4, 1), RotationConfig(degrees=degrees))
    assert torch.equal(measured["share"], torch.full((4,), moves))
    assert torch.equal(result.images, images) != moves


# ------------------------------------------------------------------ color jitter


def theirs_jittered(image: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    adjust = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue)
    for operation in order.tolist():
        image = adjust[operation](image, factors[operation].item())
    return image


@sizes
@counts
@pytest.mark.parametrize(
    "strength", [{}, {"brightness": 0.8, "contrast": 1.5, "saturation": 2.0, "hue": 0.5}], ids=["default", "strong"]
)
def test_color_jitter_is_torchvisions_in_the_drawn_order(shape: tuple[int, int], n: int, strength: dict) -> None:
    images, random, config = photos(n, *shape), draws(n, 8), ColorJitterConfig(**strength)
    ours = color_jitter.apply(batch_of(images), random, config)[0].images
    factors, order = color_jitter.parameters(random, config)
    theirs = [theirs_jittered(*of_one) for of_one in zip(images, factors, order, strict=True)]
    assert_agree(ours, torch.stack(theirs))


@pytest.mark.parametrize("index", range(4))
def test_each_color_operation_is_torchvisions(index: int) -> None:
    """Also on gray, black and white pixels, whose hue is undefined."""
    images = photos(24, 33, 47)
    images[:6, :, ::2] = images[:6, :1, ::2]
    images[6], images[7] = 0, 255
    config = ColorJitterConfig(brightness=0, contrast=0, saturation=0, hue=0)
    config = config.model_copy(update={color_jitter.OPERATIONS[index]: 0.5})
    random = draws(24, 8)
    ours = color_jitter.apply(batch_of(images), random, config)[0].images
    factors, _ = color_jitter.parameters(random, config)
    theirs = [theirs_jittered(image, f, torch.tensor([index])) for image, f in zip(images, factors, strict=True)]
    assert_agree(ours, torch.stack(theirs))


def test_color_jitter_leaves_its_input_alone() -> None:
    images = photos(4, 16, 16)
    before = images.clone()
    color_jitter.apply(batch_of(images), draws(4, 8), ColorJitterConfig())
    assert torch.equal(images, before)


def test_color_factors_and_orders_are_even() -> None:
    config = ColorJitterConfig(brightness=0.4, contrast=2.0, saturation=0.1, hue=0.3)
    factors, order = color_jitter.parameters(draws(48_000, 8), config)
    for column, (low, high) in enumerate([(0.6, 1.4), (0.0, 3.0), (0.9, 1.1), (-0.3, 0.3)]):
        assert kstest(factors[:, column].numpy(), "uniform", args=(low, high - low)).pvalue > 0.01
    assert (order.sort(dim=1).values == torch.arange(4)).all()
    seen = (order * torch.tensor([64, 16, 4, 1])).sum(dim=1).unique(return_counts=True)[1]
    assert len(seen) == 24
    assert (seen / 48_000 - 1 / 24).abs().max() < 0.005


# ------------------------------------------------------------------ resize, random resized crop


@sizes
@counts
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("size", [9, 32, 64])
def test_resize_is_torchvisions(shape: tuple[int, int], n: int, interpolation: str, size: int) -> None:
    images = photos(n, *shape)
    ours = resize(images, size, interpolation)
    assert_agree(ours, tv.resize(images, [size, size], FILTERS[interpolation], antialias=True))
    assert ours.is_contiguous(memory_format=torch.channels_last)


@sizes
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [9, 64])
def test_resize_without_uint8_kernels_is_torchvisions(shape: tuple[int, int], interpolation: str, size: int) -> None:
    images = photos(8, *shape)
    ours = as_matrices(images, torch.tensor([0, 0, *shape]).expand(8, 4), size, interpolation)
    assert_agree(ours, tv.resize(images, [size, size], FILTERS[interpolation], antialias=True))


@pytest.mark.parametrize("resample", [resize_boxes, as_matrices])
@sizes
@counts
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("size", [8, 32, 49])
def test_boxes_are_torchvisions_resized_crop(resample: Any, shape: Any, n: int, interpolation: str, size: int) -> None:
    images = photos(n, *shape)
    boxes = random_resized_crop.parameters(
        draws(n, random_resized_crop.COLUMNS), torch.tensor(shape).expand(n, 2), RandomResizedCropConfig()
    )
    theirs = [
        tv.resized_crop(image, *box, [size, size], FILTERS[interpolation], antialias=True)
        for image, box in zip(images, boxes.tolist(), strict=True)
    ]
    assert_agree(resample(images, boxes, size, interpolation), torch.stack(theirs))


def test_matrices_do_not_depend_on_the_batch() -> None:
    """They are exact sums, so that their bits don't depend on how a library orders them."""
    images = photos(24, 40, 40)
    boxes = random_resized_crop.parameters(
        draws(24, random_resized_crop.COLUMNS), torch.tensor([40, 40]).expand(24, 2), RandomResizedCropConfig()
    )
    whole = as_matrices(images, boxes, 32, "bicubic")
    single = [as_matrices(images[i : i + 1], boxes[i : i + 1], 32, "bicubic") for i in range(24)]
    assert torch.equal(whole, torch.cat(single))


def theirs_box(random: np.ndarray, h: int, w: int, scale: tuple, ratio: tuple) -> list[int]:
    """torchvision's RandomResizedCrop.make_params, reading from the given numbers."""
    for trial in range(10):
        area = h * w * (scale[0] + random[trial] * (scale[1] - scale[0]))
        aspect = math.exp(math.log(ratio[0]) + random[10 + trial] * (math.log(ratio[1]) - math.log(ratio[0])))
        width, height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < width <= w and 0 < height <= h:
            return [int(random[20] * (h - height + 1)), int(random[21] * (w - width + 1)), height, width]
    if w / h < ratio[0]:
        width, height = w, round(w / ratio[0])
    elif w / h > ratio[1]:
        width, height = round(h * ratio[1]), h
    else:
        width, height = w, h
    return [(h - height) // 2, (w - width) // 2, height, width]


@pytest.mark.parametrize("shape", [(32, 32), (20, 90), (90, 20), (1, 1)])
@pytest.mark.parametrize("scale", [(0.08, 1.0), (0.9, 1.0), (1.0, 1.0)])
def test_boxes_are_drawn_as_torchvision_does(shape: tuple[int, int], scale: tuple[float, float]) -> None:
    random, config = draws(500, random_resized_crop.COLUMNS), RandomResizedCropConfig(scale=scale)
    ours = random_resized_crop.parameters(random, torch.tensor(shape).expand(500, 2), config)
    theirs = [theirs_box(row, *shape, scale, config.ratio) for row in random.double().numpy()]
    assert ours.tolist() == theirs


# ------------------------------------------------------------------ CutMix


def paper_cutmix(images: Tensor, targets: Tensor, random: np.ndarray, config: CutMixConfig) -> tuple[Tensor, Tensor]:
    """Image by image as in section 3.1 and appendix A of the paper, and in clovaai/CutMix-PyTorch's rand_bbox."""
    n, _, h, w = images.shape
    mixed, labels = images.clone(), targets.clone()
    ring = sorted(range(n), key=lambda i: random[i, 4])
    for place, i in enumerate(ring):
        partner = ring[(place + 1) % n]
        if random[i, 0] >= config.prob or partner == i:
            continue
        lam = beta.ppf(random[i, 1], config.alpha, config.alpha)
        cut_w, cut_h = int(w * math.sqrt(1 - lam)), int(h * math.sqrt(1 - lam))
        cy, cx = int(random[i, 2] * h), int(random[i, 3] * w)
        x1, x2 = max(cx - cut_w // 2, 0), min(cx + cut_w // 2, w)
        y1, y2 = max(cy - cut_h // 2, 0), min(cy + cut_h // 2, h)
        mixed[i, :, y1:y2, x1:x2] = images[partner, :, y1:y2, x1:x2]
        lam = 1 - (x2 - x1) * (y2 - y1) / (w * h)
        labels[i] = lam * targets[i] + (1 - lam) * targets[partner]
    return mixed, labels


@sizes
@pytest.mark.parametrize("n", [1, 2, 50])
@pytest.mark.parametrize("config", [CutMixConfig(), CutMixConfig(prob=1, alpha=0.3), CutMixConfig(prob=0.8, alpha=4)])
def test_cutmix_is_the_papers(shape: tuple[int, int], n: int, config: CutMixConfig) -> None:
    images, targets, random = photos(n, *shape), one_hot(n, 50), draws(n, 5)
    ours, measured = cutmix.apply(Batch(images, targets), random, config)
    expected, labels = paper_cutmix(images, targets, random.double().numpy(), config)
    assert torch.equal(ours.images, expected)
    torch.testing.assert_close(ours.targets, labels, rtol=0, atol=1e-6)
    torch.testing.assert_close(ours.targets.sum(dim=1), torch.ones(n), rtol=0, atol=1e-6)
    assert torch.equal(measured["share"], (labels != targets).any(dim=1))


def test_cutmix_label_share_is_the_pixel_share() -> None:
    """Images of one value each, so that every pixel tells whose it is."""
    n = 40
    images = torch.arange(n, dtype=torch.uint8)[:, None, None, None].expand(n, 3, 21, 30)
    mixed = cutmix.apply(Batch(images, torch.eye(n)), draws(n, 5), CutMixConfig(prob=1))[0]
    pixels = torch.stack([torch.bincount(image[0].flatten().int(), minlength=n) for image in mixed.images])
    assert torch.equal(mixed.targets, (pixels.double() / (21 * 30)).float())
    assert (pixels > 0).sum(dim=1).max() == 2


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_lambda_is_beta(alpha: float) -> None:
    quantiles = beta_quantile(draws(20_000, 1)[:, 0].double(), alpha)
    assert kstest(quantiles.numpy(), beta(alpha, alpha).cdf).pvalue > 0.01


@pytest.mark.parametrize("n", [2, 3, 128])
def test_partners_are_a_permutation_without_fixed_points(n: int) -> None:
    partners = cutmix.parameters(draws(n, 5), CutMixConfig(), (8, 8)).partners
    assert sorted(partners.tolist()) == list(range(n))
    assert (partners != torch.arange(n)).all()


# ------------------------------------------------------------------ nothing asked, nothing done


@sizes
def test_zero_strength_is_identity(shape: tuple[int, int]) -> None:
    images = photos(6, *shape)
    batch = batch_of(images)
    neutral = [
        random_crop.apply(batch, draws(6, 2), RandomCropConfig(padding=0)),
        flip.apply_horizontal(batch, draws(6, 1), HorizontalFlipConfig(prob=0)),
        flip.apply_vertical(batch, draws(6, 1), VerticalFlipConfig(prob=0)),
        rotation.apply(batch, draws(6, 1), RotationConfig(degrees=0)),
        rotation.apply(batch, draws(6, 1), RotationConfig(degrees=0, interpolation="bilinear")),
        color_jitter.apply(batch, draws(6, 8), ColorJitterConfig(brightness=0, contrast=0, saturation=0, hue=0)),
        cutmix.apply(batch, draws(6, 5), CutMixConfig(prob=0)),
    ]
    for result, measured in neutral:
        assert torch.equal(result.images, images)
        assert torch.equal(result.targets, batch.targets)
        assert not measured["share"].any()


def test_the_whole_square_as_box_is_a_plain_resize() -> None:
    images = photos(6, 32, 32)
    config = RandomResizedCropConfig(scale=(1, 1), ratio=(1, 1))
    random = draws(6, random_resized_crop.COLUMNS)
    result, measured = random_resized_crop.apply(batch_of(images), random, config, size=48, interpolation="bicubic")
    assert torch.equal(result.images, resize(images, 48, "bicubic"))
    assert not measured["share"].any()
