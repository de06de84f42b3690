"""3x3 convolutions by Winograd's minimal filtering: the results and gradients of float64 PyTorch."""

import copy
from collections.abc import Iterator

import pytest
import timm
import torch
from instruction_sets import each_target
from one_implementation import Only
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn

from seedwise.kernels import launch, swap
from seedwise.kernels.layers import conv3x3
from seedwise.kernels.ops import conv3x3 as conv3x3_ops

pytestmark = pytest.mark.skipif(not conv3x3_ops.available(), reason="no C++ compiler here")

SHAPES = [
    *((1, 3, 5, 1, 1), (2, 5, 3, 4, 4), (1, 33, 24, 7, 9), (3, 24, 33, 5, 2), (5, 16, 17, 13, 16), (2, 1, 1, 3, 40)),
    *((7, 48, 192, 8, 8), (9, 64, 40, 4, 4), (1, 8, 300, 6, 3)),
]
"""Images, in, out, height, width."""
TOLERANCE = 3e-5
"""Largest error relative to the root mean square of the result; oneDNN's is up to 1e-5 here."""


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def tensors(shape: tuple[int, ...], seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Images, weight and the gradient of the result."""
    n, inputs, outputs, h, w = shape
    rng = torch.Generator().manual_seed(seed)
    images, weight, grad = (
        torch.randn(*size, generator=rng) for size in ((n, inputs, h, w), (outputs, inputs, 3, 3), (n, outputs, h, w))
    )
    last = torch.channels_last
    return images.contiguous(memory_format=last), weight, grad.contiguous(memory_format=last)


def ours(images: Tensor, weight: Tensor, grad: Tensor) -> list[Tensor]:
    """The result, and the gradients of images and weight."""
    return [
        conv3x3_ops.forward(images, weight),
        conv3x3_ops.images_gradient(grad, weight),
        conv3x3_ops.weight_gradient(images, grad, weight),
    ]


def exact(images: Tensor, weight: Tensor, grad: Tensor) -> list[Tensor]:
    wide = [it.double().requires_grad_() for it in (images, weight)]
    result = nn.functional.conv2d(*wide, padding=1)  # type: ignore[call-overload]
    return [result.detach(), *torch.autograd.grad(result, wide, grad.double())]


def error(found: Tensor, truth: Tensor) -> float:
    return float((found - truth).abs().max() / truth.square().mean().sqrt())


@each_target
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["first", "last"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.usefixtures("threads")
def test_results_are_those_of_float64(shape: tuple[int, ...], layout: torch.memory_format) -> None:
    images, weight, grad = tensors(shape)
    weight = weight.contiguous(memory_format=layout)
    for found, truth in zip(ours(images, weight, grad), exact(images, weight, grad), strict=True):
        assert found.shape == truth.shape and error(found, truth) <= TOLERANCE
    assert conv3x3_ops.weight_gradient(images, grad, weight).stride() == weight.stride()


@each_target
@pytest.mark.parametrize("silu", [False, True])
@pytest.mark.parametrize("shape", [*SHAPES, (9, 16, 64, 61, 61)])
@pytest.mark.usefixtures("threads")
def test_a_bias_and_silu_come_in_the_same_pass(shape: tuple[int, ...], silu: bool) -> None:
    """Of results kept in the cache and, the last, written past it."""
    images, weight, _ = tensors(shape)
    bias = torch.randn(shape[2], generator=torch.Generator().manual_seed(1))
    truth = nn.functional.conv2d(images.double(), weight.double(), bias.double(), padding=1)
    found = conv3x3_ops.forward(images, weight, bias, silu)
    assert error(found, nn.functional.silu(truth) if silu else truth) <= TOLERANCE


def test_no_tap_could_be_wrong_within_the_tolerance() -> None:
    images, weight, grad = tensors(SHAPES[6])
    truth = exact(images, weight, grad)
    weight[3, 5, 2, 0] *= 1.01  # one of 82,944 taps
    changed = ours(images, weight, grad)
    assert min(error(found, true) for found, true in zip(changed[:2], truth[:2], strict=True)) > 10 * TOLERANCE


@each_target
@pytest.mark.parametrize("shape", [*SHAPES, (40, 24, 24, 9, 9)])
def test_bits_depend_on_neither_threads_nor_the_call(shape: tuple[int, ...]) -> None:
    given, before = tensors(shape), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 1, 2, 3):
            torch.set_num_threads(threads)
            found.append(ours(*given))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))


@each_target
@pytest.mark.parametrize("finish", [(None, False), (torch.ones(48), False), (torch.ones(48), True)])
def test_an_image_has_the_same_bits_alone_and_in_a_batch_too_large_for_the_cache(
    finish: tuple[Tensor | None, bool],
) -> None:
    images, weight, _ = tensors((50, 16, 48, 30, 30))
    batch = conv3x3_ops.forward(images, weight, *finish)
    for i in (0, 17, 49):
        assert torch.equal(batch[i : i + 1], conv3x3_ops.forward(images[i : i + 1], weight, *finish))
    batch = conv3x3_ops.forward(images, weight)
    part = images[:3]
    assert error(batch[:3], nn.functional.conv2d(part.double(), weight.double(), padding=1)) <= TOLERANCE


@each_target
def test_what_is_not_finite_stays_in_its_image() -> None:
    images, weight, grad = tensors((3, 16, 16, 9, 9))
    clean = conv3x3_ops.forward(images, weight)
    images[1, 3, 4, 4] = float("nan")
    images[2, 3, 8, 8] = float("inf")
    result = conv3x3_ops.forward(images, weight)
    assert torch.equal(result[0], clean[0])
    assert result[1, :, 3:6, 3:6].isnan().all() and not result[2, :, 7:, 7:].isfinite().any()
    assert torch.equal(result[2, :, :4, :4], clean[2, :, :4, :4])
    conv3x3_ops.weight_gradient(images, grad, weight)


def net(*convs: nn.Module) -> nn.Sequential:
    """The activations change the convolutions' results in place."""
    layers = [layer for conv in convs for layer in (conv, nn.SiLU(inplace=True))]
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", ["onednn", "winograd"])
@pytest.mark.usefixtures("threads")
def test_a_network_trains_with_the_gradients_of_float64(name: str) -> None:
    torch.manual_seed(0)
    model = net(
        nn.Conv2d(16, 24, 3, padding=1, bias=False),
        Conv2dSame(24, 32, 3, bias=False),  # type: ignore[no-untyped-call]
        nn.Conv2d(32, 16, 3, padding="same", bias=False),
    )
    truth, dispatcher = copy.deepcopy(model).double(), Only(name)
    assert conv3x3.use_winograd(model, dispatcher) == 3
    images = torch.randn(4, 16, 9, 6).contiguous(memory_format=torch.channels_last)
    found = []
    for it, given in ((model, images), (truth, images.double())):
        given = given.clone(memory_format=torch.preserve_format).requires_grad_()
        out = it(given)
        out.square().sum().backward()
        found.append([out.detach(), given.grad, *(p.grad for p in it.parameters())])
    for mine, true in zip(*found, strict=True):
        assert mine is not None and true is not None and error(mine, true) <= TOLERANCE
    assert found[0][0].is_contiguous(memory_format=torch.channels_last)
    assert len(dispatcher.asked) == 9 and dispatcher.asked[0].startswith("dense forward 16>24 9x6 n4 t")
    model[0].weight.requires_grad_(False)
    model.zero_grad()
    model(images).sum().backward()
    assert model[0].weight.grad is None and model[2].weight.grad is not None


def test_what_is_no_plain_training_step_stays_a_convolution() -> None:
    conv = nn.Conv2d(16, 24, 3, padding=1, bias=False)
    model, stock, dispatcher = net(conv), net(copy.deepcopy(conv)), Only("winograd")
    conv3x3.use_winograd(model, dispatcher)
    images = torch.randn(2, 16, 8, 8).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        assert torch.equal(model(images), stock(images))
    assert torch.equal(model(images.contiguous()), stock(images.contiguous()))  # channels first
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model(images), stock(images))
    assert torch.equal(copy.deepcopy(model).double()(images.double()), stock.double()(images.double()))
    assert dispatcher.asked == []
    for options in (
        *({"kernel_size": 5}, {"stride": 2}, {"groups": 2}, {"padding": 0}, {"dilation": 2}, {"bias": True}),
        *({"padding_mode": "reflect"}, {"in_channels": 8}),
    ):
        plain = {"in_channels": 16, "out_channels": 16, "kernel_size": 3, "padding": 1, "bias": False}
        assert conv3x3.use_winograd(nn.Conv2d(**{**plain, **options}), dispatcher) == 0  # type: ignore[arg-type]


def test_a_step_of_a_network_is_about_as_exact_as_stock() -> None:
    torch.manual_seed(0)
    network = timm.create_model("tf_efficientnetv2_b0", num_classes=10, drop_path_rate=0.0, drop_rate=0.0)
    network.to(memory_format=torch.channels_last)
    images, targets = torch.randn(4, 3, 64, 64).contiguous(memory_format=torch.channels_last), torch.arange(4)

    def gradients(dtype: torch.dtype, name: str) -> Tensor:
        model = copy.deepcopy(network).to(dtype)
        dispatcher = Only(name)
        assert conv3x3.use_winograd(model, dispatcher) >= 3
        nn.functional.cross_entropy(model(images.to(dtype)), targets).backward()
        assert bool(dispatcher.asked) == (dtype == torch.float32)
        return torch.cat([p.grad.double().flatten() for p in model.parameters() if p.grad is not None])

    truth = gradients(torch.float64, "onednn")
    stock, mine = ((gradients(torch.float32, it) - truth).norm() / truth.norm() for it in ("onednn", "winograd"))
    assert mine <= 3 * stock + 1e-5


def test_without_memory_there_is_a_memory_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        @staticmethod
        def winograd_forward(*_: object) -> int:
            return launch.Code.NO_MEMORY

        winograd_weight_gradient = winograd_forward

    monkeypatch.setattr(conv3x3_ops.KERNELS, "_loaded", {launch.asked_target(): Full()})
    images, weight, grad = tensors(SHAPES[0])
    for call in (
        lambda: conv3x3_ops.forward(images, weight),
        lambda: conv3x3_ops.weight_gradient(images, grad, weight),
    ):
        with pytest.raises(MemoryError, match=r"^winograd_.*: no memory"):
            call()


def test_the_bits_of_a_run_are_named_by_the_kernels() -> None:
    assert str(conv3x3_ops.KERNELS.name()) in str(swap.version())
