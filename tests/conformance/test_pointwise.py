"""1x1 convolutions by matrix products: the gradients of float64 PyTorch, whichever implementation is chosen."""

import copy

import pytest
import torch
from instruction_sets import each_target
from one_implementation import Only
from torch import Tensor, nn

from seedwise.kernels.layers.pointwise import use_matrix_products
from seedwise.kernels.ops import pointwise as pointwise_ops

SHAPES = [(3, 8, 16, 5, 7), (4, 33, 1, 1, 1), (1, 16, 24, 4, 4), (2, 1, 8, 3, 3), (5, 40, 96, 2, 2)]


def net(inputs: int, outputs: int, bias: bool) -> nn.Sequential:
    """The activation changes the convolution's output in place."""
    torch.manual_seed(0)
    conv = nn.Conv2d(inputs, outputs, 1, bias=bias)
    return nn.Sequential(conv, nn.SiLU(inplace=True)).to(memory_format=torch.channels_last)


def step(model: nn.Module, images: Tensor) -> list[Tensor]:
    """Output and gradients of images and parameters."""
    images = images.clone(memory_format=torch.preserve_format).requires_grad_()
    model.zero_grad()
    out = model(images)
    (out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape)).sum().backward()
    assert images.grad is not None
    return [out.detach(), images.grad, *(p.grad.clone() for p in model.parameters() if p.grad is not None)]


@pytest.mark.parametrize("name", ["onednn", "product", "split"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("threads", [1, 2])
def test_gradients_are_those_of_float64(name: str, bias: bool, shape: tuple[int, ...], threads: int) -> None:
    n, inputs, outputs, h, w = shape
    if name == "split" and (bias or not pointwise_ops.available()):
        pytest.skip("split products have no bias, and need torch's MKL")
    model = net(inputs, outputs, bias)
    exact = copy.deepcopy(model).double()
    dispatcher = Only(name)
    assert use_matrix_products(model, dispatcher) == 1
    images = torch.randn(n, inputs, h, w).contiguous(memory_format=torch.channels_last)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        ours, again, truth = step(model, images), step(model, images), step(exact, images.double())
    finally:
        torch.set_num_threads(before)
    for mine, second, theirs in zip(ours, again, truth, strict=True):
        assert mine.shape == theirs.shape and torch.equal(mine, second)
        assert (mine - theirs).abs().max() <= 1e-4 * theirs.abs().max().clamp(min=1)
    assert {key.split()[1] for key in dispatcher.asked} == {"forward", "images", "weight"}
    if inputs > 1:  # of one channel, oneDNN can't tell the layouts apart
        assert ours[0].is_contiguous(memory_format=torch.channels_last)


def test_what_is_no_plain_training_step_stays_a_convolution() -> None:
    model, stock = net(8, 16, True), net(8, 16, True)
    dispatcher = Only("product")
    use_matrix_products(model, dispatcher)
    images = torch.randn(2, 8, 4, 4).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        assert torch.equal(model(images), stock(images))
    assert torch.equal(model(images.contiguous()), stock(images.contiguous()))  # channels first
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model(images), stock(images))
    assert dispatcher.asked == []
    for options in ({"kernel_size": 3}, {"stride": 2}, {"groups": 2}, {"padding": 1}):
        assert use_matrix_products(nn.Conv2d(8, 8, **{"kernel_size": 1, **options}), dispatcher) == 0


def test_frozen_weights_get_no_gradient() -> None:
    model = net(8, 16, False)
    use_matrix_products(model, Only("product"))
    model[0].weight.requires_grad_(False)
    images = torch.randn(2, 8, 4, 4).contiguous(memory_format=torch.channels_last).requires_grad_()
    model(images).sum().backward()
    assert model[0].weight.grad is None and images.grad is not None


@each_target
@pytest.mark.skipif(not pointwise_ops.available(), reason="needs a compiler and torch's MKL")
def test_split_products_of_a_weight_with_other_strides() -> None:
    images, grad = (torch.randn(3, c, 4, 4).contiguous(memory_format=torch.channels_last) for c in (8, 16))
    turned = torch.randn(8, 16, 1, 1).transpose(0, 1)
    for function, given in ((pointwise_ops.forward, (images,)), (pointwise_ops.images_gradient, (images, grad))):
        assert torch.equal(function(*given, turned), function(*given, turned.contiguous()))  # type: ignore[call-arg]
    of_weight = pointwise_ops.weight_gradient(images, grad, turned)
    assert torch.equal(of_weight, pointwise_ops.weight_gradient(images, grad, turned.contiguous()))


@each_target
@pytest.mark.skipif(not pointwise_ops.available(), reason="split products need torch's MKL and a compiler")
@pytest.mark.parametrize("silu", [False, True])
@pytest.mark.parametrize("shape", [*SHAPES, (300, 24, 1001, 2, 2), (3, 8, 16, 40, 40)])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_bias_and_silu_come_with_split_products(shape: tuple[int, ...], silu: bool, threads: int) -> None:
    """The last shapes are multiplied some rows at a time."""
    n, inputs, outputs, h, w = shape
    rng = torch.Generator().manual_seed(0)
    images = torch.randn(n, inputs, h, w, generator=rng).contiguous(memory_format=torch.channels_last)
    weight, bias = torch.randn(outputs, inputs, 1, 1, generator=rng), torch.randn(outputs, generator=rng)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = pointwise_ops.forward(images, weight, bias, silu)
    finally:
        torch.set_num_threads(before)
    truth = nn.functional.conv2d(images.double(), weight.double(), bias.double())
    truth = nn.functional.silu(truth) if silu else truth
    assert found.shape == truth.shape and (found - truth).abs().max() <= 1e-5 * truth.abs().max()
