"""The kernel for a whole frozen block against float64 convolutions of PyTorch, over many shapes."""

import math
import random

import pytest
import torch
import torch.nn.functional as F
from instruction_sets import each_target
from torch import Tensor

from seedwise.kernels.layers.depthwise import available
from seedwise.kernels.ops import depthwise as depthwise_ops
from seedwise.kernels.ops.depthwise import Geometry, Layer

pytestmark = pytest.mark.skipif(not available(), reason="no C++ compiler: there are no native kernels")
LIMITS = ((0.0, 6.0), (0.0, math.inf), (-math.inf, math.inf), (-0.5, 0.5))


def layer(generator: torch.Generator, shape: tuple[int, ...], limits: tuple[float, float]) -> Layer:
    scale = math.prod(shape[1:]) ** -0.5
    return Layer(torch.randn(shape, generator=generator) * scale, torch.randn(shape[0], generator=generator), limits)


def slow(images: Tensor, layers: list[Layer], geometry: Geometry, shortcut: bool) -> Tensor:
    *widen, middle, narrow = layers
    made = images.double()
    for wide in widen:
        made = F.conv2d(made, wide.weight.double(), wide.bias.double()).clamp(*wide.limits)
    made = F.pad(made, [geometry.left, geometry.right, geometry.top, geometry.bottom])
    weight = middle.weight.double()
    made = F.conv2d(made, weight, middle.bias.double(), geometry.stride, groups=len(weight)).clamp(*middle.limits)
    made = F.conv2d(made, narrow.weight.double(), narrow.bias.double())
    return made + images.double() if shortcut else made


@each_target
@pytest.mark.parametrize("case", range(60))
def test_agrees_with_float64(case: int) -> None:
    draw, generator = random.Random(case), torch.Generator().manual_seed(case)
    kernel, stride, is_wide = draw.choice([3, 5, 7]), draw.choice([1, 2]), draw.random() < 0.8
    height, width, n = draw.randint(1, 40), draw.randint(1, 40), draw.choice([1, 2, 5])
    if draw.random() < 0.5:
        geometry = depthwise_ops.same(kernel, stride, height, width)
    else:
        geometry = Geometry(kernel, stride, *[kernel // 2] * 4)
    channels, out = draw.choice([1, 3, 16, 24, 33]), draw.choice([1, 7, 16, 24, 40, 72])
    middle = draw.choice([10, 32, 96, 100, 145]) if is_wide else channels
    shortcut = stride == 1 and draw.random() < 0.5
    if shortcut:
        out = channels
    layers = [
        *([layer(generator, (middle, channels, 1, 1), draw.choice(LIMITS))] if is_wide else []),
        layer(generator, (middle, 1, kernel, kernel), draw.choice(LIMITS)),
        layer(generator, (out, middle, 1, 1), (-math.inf, math.inf)),
    ]
    images = torch.randn((n, channels, height, width), generator=generator).to(memory_format=torch.channels_last)
    torch.set_num_threads(draw.choice([1, 2]))
    got = depthwise_ops.frozen_block(images, layers, geometry, shortcut=shortcut)
    torch.testing.assert_close(got.double(), slow(images, layers, geometry, shortcut), rtol=1e-4, atol=1e-5)


@each_target
def test_not_a_number_stays_one() -> None:
    generator = torch.Generator().manual_seed(0)
    layers = [layer(generator, shape, (0.0, 6.0)) for shape in ((96, 16, 1, 1), (96, 1, 3, 3), (24, 96, 1, 1))]
    images = torch.zeros(1, 16, 8, 8).to(memory_format=torch.channels_last)
    images[0, 3, 0, 0] = math.nan
    got = depthwise_ops.frozen_block(images, layers, depthwise_ops.same(3, 1, 8, 8), shortcut=False)
    assert got[0, :, :2, :2].isnan().all() and not got[0, :, 2:, 2:].isnan().any()


@each_target
@pytest.mark.parametrize("padding", [0, 1, 2])
@pytest.mark.parametrize("size", [2, 4, 5, 8, 9])
def test_small_maps_of_many_images_give_the_bits_of_each_alone(size: int, padding: int) -> None:
    """Several images share a task; rows that no output needs lie between them."""
    generator = torch.Generator().manual_seed(size)
    geometry = Geometry(3, 2, *[padding] * 4)
    if min(geometry.out_size(size, size)) < 1:
        pytest.skip("nothing is left")
    shapes = ((100, 24, 1, 1), (100, 1, 3, 3), (40, 100, 1, 1))
    layers = [layer(generator, shape, (0.0, 6.0)) for shape in shapes]
    images = torch.randn((23, 24, size, size), generator=generator).to(memory_format=torch.channels_last)
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(depthwise_ops.frozen_block(images, layers, geometry, shortcut=False))
    alone = [depthwise_ops.frozen_block(images[i : i + 1], layers, geometry, shortcut=False) for i in range(23)]
    assert torch.equal(*found) and torch.equal(found[0], torch.cat(alone))
    torch.testing.assert_close(found[0].double(), slow(images, layers, geometry, False), rtol=1e-4, atol=1e-5)
