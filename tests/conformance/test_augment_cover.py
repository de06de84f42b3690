"""Random erasing, grayscale and blur against torchvision's, with the same parameters."""

import math

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as tv
from augment_samples import SHAPES, draws, one_hot, photos
from scipy.stats import chisquare

from seedwise.augment import blur, grayscale, random_erasing
from seedwise.augment.config import BlurConfig, GrayscaleConfig, RandomErasingConfig
from seedwise.base.batch import Batch
from seedwise.base.errors import UserError

MEAN = (0.485, 0.456, 0.406)
sizes = pytest.mark.parametrize("shape", SHAPES)
counts = pytest.mark.parametrize("n", [1, 24])


# ------------------------------------------------------------------ random erasing


def theirs_box(random: np.ndarray, h: int, w: int, config: RandomErasingConfig) -> list[int] | None:
    """torchvision's RandomErasing.make_params, reading from the given numbers: (top, left, height, width)."""
    logs = [math.log(ratio) for ratio in config.ratio]
    for trial in range(10):
        area = h * w * (config.scale[0] + random[1 + trial] * (config.scale[1] - config.scale[0]))
        aspect = math.exp(logs[0] + random[11 + trial] * (logs[1] - logs[0]))
        height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if height < h and width < w:
            return [int(random[21] * (h - height + 1)), int(random[22] * (w - width + 1)), height, width]
    return None


@pytest.mark.parametrize("shape", [*SHAPES, (4, 90), (1, 1)])
@pytest.mark.parametrize("value", ["zero", "mean", "random"])
@pytest.mark.parametrize("scale", [(0.02, 0.33), (0.6, 1.0)])
def test_erasing_is_torchvisions(shape: tuple[int, int], value: str, scale: tuple[float, float]) -> None:
    config = RandomErasingConfig(prob=0.7, value=value, scale=scale)  # type: ignore[arg-type]
    images, random = photos(60, *shape), draws(60, random_erasing.COLUMNS)
    result, measured = random_erasing.apply(Batch(images, one_hot(60)), random, config, mean=MEAN)
    noise = random_erasing.noise(random[:, -1], 3 * math.prod(shape), torch.device("cpu"))
    noise = noise.view(60, *shape, 3).permute(0, 3, 1, 2)
    flat = {"zero": (0, 0, 0), "mean": tuple(round(255 * m) for m in MEAN)}
    areas = []
    for i, numbers in enumerate(random.double().numpy()):
        box = theirs_box(numbers, *shape, config)
        expected, erased = images[i], 0
        if numbers[0] < 0.7 and box is not None:
            top, left, height, width = box
            erased = height * width
            if value == "random":
                fill = noise[i, :, top : top + height, left : left + width]
            else:
                fill = torch.tensor(flat[value], dtype=torch.uint8)[:, None, None]
            expected = tv.erase(images[i], *box, fill)
        assert torch.equal(result.images[i], expected)
        assert bool(measured["share"][i]) == (erased > 0)
        areas += [erased / math.prod(shape)] * (erased > 0)
    assert measured["area"].tolist() == pytest.approx(areas)


def test_erased_noise_is_even_and_its_own_for_each_image() -> None:
    noise = random_erasing.noise(draws(64, 1)[:, 0], 3 * 64 * 64, torch.device("cpu"))
    assert chisquare(noise.flatten().long().bincount(minlength=256).numpy()).pvalue > 0.001
    centered = noise.double() - 127.5
    scale = (centered**2).mean()
    for shift in (1, 2, 3, 63, 64, 192):
        assert abs((centered[:, shift:] * centered[:, :-shift]).mean() / scale) < 0.01
    assert abs((centered[1:] * centered[:-1]).mean() / scale) < 0.01
    assert abs((centered.mean(dim=1)).numpy()).max() < 4 * math.sqrt(scale / noise.shape[1]) * 1.5
    bits = (noise[..., None].long() >> torch.arange(8)) & 1
    assert (bits.double().mean(dim=(0, 1)) - 0.5).abs().max() < 0.003


def test_boxes_have_the_areas_and_places_that_were_asked() -> None:
    config = RandomErasingConfig(prob=1, scale=(0.1, 0.2), ratio=(0.5, 2))
    boxes = random_erasing.parameters(draws(20_000, random_erasing.COLUMNS), config, (200, 200)).double()
    height, width = (boxes[:, 2:] - boxes[:, :2]).unbind(1)
    area = height * width / 200**2
    assert 0.097 < area.min() < 0.103
    assert 0.197 < area.max() < 0.203
    assert area.mean().item() == pytest.approx(0.15, abs=0.001)
    assert (height / width).log().mean().item() == pytest.approx(0, abs=0.01)
    for start, end in ((0, 2), (1, 3)):
        assert boxes[:, start].min() == 0
        assert boxes[:, end].max() == 200


# ------------------------------------------------------------------ grayscale


@sizes
@counts
def test_grayscale_is_torchvisions(shape: tuple[int, int], n: int) -> None:
    images, random = photos(n, *shape), draws(n, 1)
    result, measured = grayscale.apply(Batch(images, one_hot(n)), random, GrayscaleConfig(prob=0.6))
    chosen = random[:, 0] < 0.6
    for i in range(n):
        expected = tv.rgb_to_grayscale(images[i], num_output_channels=3) if chosen[i] else images[i]
        assert torch.equal(result.images[i], expected)
    assert torch.equal(measured["share"], chosen)


def test_gray_images_do_not_count_as_changed() -> None:
    """Although torchvision's arithmetic makes them darker by 1."""
    gray = photos(8, 16, 16)[:, :1].expand(8, 3, 16, 16)
    result, measured = grayscale.apply(Batch(gray, one_hot(8)), draws(8, 1), GrayscaleConfig(prob=1))
    assert not torch.equal(result.images, gray)
    assert not measured["share"].any()


# ------------------------------------------------------------------ blur


@sizes
@counts
@pytest.mark.parametrize("kernel_size", [3, 5, 11])
def test_blur_is_torchvisions(shape: tuple[int, int], n: int, kernel_size: int) -> None:
    images, random = photos(n, *shape), draws(n, 2)
    config = BlurConfig(kernel_size=kernel_size, sigma=(0.1, 3.0), prob=0.8)
    result, measured = blur.apply(Batch(images, one_hot(n)), random, config)
    blurred, sigma = random[:, 0] < 0.8, 0.1 + 2.9 * random[:, 1].double()
    theirs = [
        tv.gaussian_blur(images[i], [kernel_size] * 2, [sigma[i].item()] * 2) if blurred[i] else images[i]
        for i in range(n)
    ]
    off = (result.images.int() - torch.stack(theirs).int()).abs()
    assert off.max() <= 1
    assert (off > 0).double().mean() < 0.001
    assert torch.equal(measured["share"], (result.images != images).flatten(1).any(dim=1))
    assert measured["sigma"].tolist() == pytest.approx(sigma[blurred].tolist())


def test_a_filter_too_narrow_to_change_a_pixel_does_not_count() -> None:
    config = BlurConfig(sigma=(0.1, 0.15), prob=1.0)
    result, measured = blur.apply(Batch(photos(8, 32, 32), one_hot(8)), draws(8, 2), config)
    assert torch.equal(result.images, photos(8, 32, 32))
    assert not measured["share"].any()


def test_blur_refuses_a_filter_wider_than_the_mirrored_image() -> None:
    batch = Batch(photos(2, 8, 12), one_hot(2))
    with pytest.raises(UserError, match=r"augment\.blur\.kernel_size.*at most 15"):
        blur.apply(batch, draws(2, 2), BlurConfig(kernel_size=17))
    blur.apply(batch, draws(2, 2), BlurConfig(kernel_size=15))
