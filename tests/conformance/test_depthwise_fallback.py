"""The fast depthwise backward against PyTorch's own autograd in float64."""

import copy

import pytest
import timm
import torch
import torch.nn.functional as F
from thread_count import threads
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn

from seedwise.kernels.layers.depthwise_fallback import depthwise_conv2d, use_fallback
from seedwise.kernels.ops.taps import weight_gradient_by_taps

CHANNELS = 6
SIZES = [(9, 7), (8, 8), (4, 5), (2, 2), (3, 1), (1, 1)]


def layer(kernel: int | tuple[int, int], stride: int, same: bool) -> nn.Conv2d:
    torch.manual_seed(0)
    if same:
        return Conv2dSame(CHANNELS, CHANNELS, kernel, stride, groups=CHANNELS, bias=False)
    padding = kernel // 2 if isinstance(kernel, int) else tuple(k // 2 for k in kernel)
    return nn.Conv2d(CHANNELS, CHANNELS, kernel, stride, padding, groups=CHANNELS, bias=False)  # type: ignore[arg-type]


def fast(conv: nn.Conv2d) -> nn.Conv2d:
    twin = copy.deepcopy(conv)
    assert use_fallback(twin) == 1
    return twin


def images(n: int, size: tuple[int, int], layout: str = "contiguous") -> Tensor:
    values = torch.randn(n, CHANNELS, *size, generator=torch.Generator().manual_seed(n * 100 + sum(size)))
    if layout == "channels_last":
        return values.contiguous(memory_format=torch.channels_last)
    if layout == "strided":
        wide = torch.zeros(n, CHANNELS, size[0], 2 * size[1])
        wide[..., ::2] = values
        return wide[..., ::2]
    return values


def gradients(conv: nn.Module, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Output, and the gradients of images and weight under a fixed gradient of the output."""
    x = x.detach().requires_grad_()
    weight = conv.weight
    assert isinstance(weight, Tensor)
    out = conv(x)
    direction = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out.dtype)
    out.backward(direction)
    assert x.grad is not None
    assert weight.grad is not None
    result = out.detach(), x.grad, weight.grad.clone()
    weight.grad = None
    return result


def agree(mine: Tensor, truth: Tensor, tolerance: float) -> None:
    """The error is small beside the largest gradient."""
    assert mine.shape == truth.shape
    scale = max(float(truth.abs().max()), 1e-3)
    assert float((mine.double() - truth.double()).abs().max()) <= tolerance * scale


@pytest.mark.parametrize("same", [False, True], ids=["symmetric", "same"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_against_float64(kernel: int, stride: int, same: bool, size: tuple[int, int]) -> None:
    stock = layer(kernel, stride, same)
    mine, exact = fast(stock), copy.deepcopy(stock).double()
    for n in (1, 5):
        for layout in ("contiguous", "channels_last", "strided"):
            x = images(n, size, layout)
            truth, got = gradients(exact, x.double()), gradients(mine, x)
            assert torch.equal(got[0], stock(x))
            for part, expected in zip(got, truth, strict=True):
                assert part.dtype == torch.float32
                agree(part, expected, 1e-5)


@pytest.mark.parametrize("kernel", [(3, 5), (1, 7), (1, 1)], ids=str)
def test_oblong_kernels(kernel: tuple[int, int]) -> None:
    stock = layer(kernel, 1, same=False)
    for size in ((6, 4), (2, 3)):
        truth = gradients(copy.deepcopy(stock).double(), images(3, size).double())
        for part, expected in zip(gradients(fast(stock), images(3, size)), truth, strict=True):
            agree(part, expected, 1e-5)


@pytest.mark.parametrize("same", [False, True], ids=["symmetric", "same"])
@pytest.mark.parametrize("size", [(9, 8), (2, 2), (1, 1)], ids=str)
@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (5, 1)])
def test_bf16_autocast(kernel: int, stride: int, same: bool, size: tuple[int, int]) -> None:
    stock = layer(kernel, stride, same)
    x = images(4, size, "channels_last").bfloat16().float()
    with torch.no_grad():
        stock.weight.copy_(stock.weight.bfloat16())  # so that rounding the inputs costs nothing
    truth = gradients(copy.deepcopy(stock).double(), x.double())
    with torch.autocast("cpu", torch.bfloat16):
        expected_output = stock(x)
        out, grad_images, grad_weight = gradients(fast(stock), x)
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, expected_output)
    assert grad_images.dtype == grad_weight.dtype == torch.float32
    # bf16 has 8 bits: the output's gradient and the result are each rounded to one part in 256 at most
    agree(grad_images, truth[1], 2**-7)
    agree(grad_weight, truth[2], 2**-7)


def test_autocast_leaves_float64_alone_as_stock_does() -> None:
    stock = layer(3, 1, same=False).double()
    with torch.autocast("cpu", torch.bfloat16):
        x = images(2, (5, 5)).double()
        assert stock(x).dtype == fast(stock)(x).dtype == torch.float64


@pytest.mark.parametrize("size", [(6, 6), (2, 2)], ids=["convolution", "taps"])
@pytest.mark.parametrize("frozen", ["weight", "images", "both"])
def test_only_wanted_gradients_are_computed(size: tuple[int, int], frozen: str) -> None:
    stock = layer(5, 1, same=False)
    truth = gradients(copy.deepcopy(stock).double(), images(3, size).double())
    conv, x = fast(stock), images(3, size)
    conv.weight.requires_grad_(frozen == "images")
    x.requires_grad_(frozen == "weight")
    out = conv(x)
    assert out.requires_grad == (frozen != "both")
    if frozen == "both":
        return
    out.backward(torch.randn(out.shape, generator=torch.Generator().manual_seed(1)))
    grads = x.grad, conv.weight.grad
    assert [grad is None for grad in grads] == [frozen == "images", frozen == "weight"]
    for grad, expected in zip(grads, truth[1:], strict=True):
        if grad is not None:
            agree(grad, expected, 1e-5)


def test_an_expanded_output_gradient() -> None:
    """What `sum` and `mean` send back has stride 0."""
    stock = layer(3, 2, same=True)
    for conv in (mine := fast(stock), stock):
        conv(images(2, (7, 7), "channels_last")).mean().backward()
    assert mine.weight.grad is not None
    assert stock.weight.grad is not None
    agree(mine.weight.grad, stock.weight.grad, 1e-5)


def test_gradgrad_and_finite_differences() -> None:
    x = torch.randn(2, 3, 4, 2, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda i, w: depthwise_conv2d(i, w, (2, 1), (1, 1)), (x, weight))


@pytest.mark.parametrize("size", [(8, 8), (1, 3)], ids=str)
def test_taps_equal_the_convolution(size: tuple[int, int]) -> None:
    x, weight = images(3, size), torch.randn(CHANNELS, 1, 3, 3, requires_grad=True)
    out = F.conv2d(x, weight, None, 2, 1, groups=CHANNELS)
    grad = torch.randn_like(out)
    out.backward(grad)
    assert weight.grad is not None
    agree(weight_gradient_by_taps(x, grad, (3, 3), (2, 2), (1, 1)), weight.grad, 1e-5)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
def test_the_same_bits_every_time(count: int, bf16: bool) -> None:
    with threads(count), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        for kernel, stride, size in ((3, 2, (16, 16)), (5, 1, (2, 2)), (5, 1, (12, 12))):
            conv = fast(nn.Conv2d(32, 32, kernel, stride, kernel // 2, groups=32, bias=False))
            x = torch.randn(8, 32, *size).contiguous(memory_format=torch.channels_last)
            first = gradients(conv, x)
            for _ in range(3):
                assert all(torch.equal(a, b) for a, b in zip(first, gradients(conv, x), strict=True))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_evaluation(mode: type[torch.no_grad] | type[torch.inference_mode]) -> None:
    stock = layer(5, 2, same=True)
    with mode():
        out = fast(stock)(images(2, (6, 6)))
        assert torch.equal(out, stock(images(2, (6, 6))))
    assert not out.requires_grad


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(4, 4, 3, groups=4),
        nn.Conv2d(4, 4, 3, groups=4, bias=False, dilation=2),
        nn.Conv2d(4, 8, 3, groups=4, bias=False),
        nn.Conv2d(4, 4, 3, groups=2, bias=False),
        nn.Conv2d(1, 1, 3, bias=False),
        nn.Conv2d(4, 4, 3, groups=4, bias=False, padding=1, padding_mode="reflect"),
        nn.Conv2d(4, 4, 3, groups=4, bias=False, padding="same"),
        nn.Conv1d(4, 4, 3, groups=4, bias=False),
        nn.ConvTranspose2d(4, 4, 3, groups=4, bias=False),
        Conv2dSame(4, 4, 3, 2, groups=4, bias=True),
    ],
    ids=str,
)
def test_others_are_left_alone(conv: nn.Module) -> None:
    before = type(conv)
    assert use_fallback(nn.Sequential(conv)) == 0
    assert type(conv) is before


def test_swapping_twice_swaps_once() -> None:
    model = nn.Sequential(layer(3, 1, same=False), layer(3, 2, same=True))
    assert [use_fallback(model), use_fallback(model)] == [2, 0]


@pytest.mark.parametrize(
    ("name", "count"), [("tf_efficientnet_lite0", 16), pytest.param("tf_efficientnetv2_s", 30, marks=pytest.mark.slow)]
)
def test_whole_models(name: str, count: int) -> None:
    torch.manual_seed(0)
    stock = timm.create_model(name, num_classes=4, drop_rate=0.0, drop_path_rate=0.0).eval()
    mine = copy.deepcopy(stock)
    assert use_fallback(mine) == count
    assert list(mine.state_dict()) == list(stock.state_dict())
    x = torch.randn(3, 3, 20, 20).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        assert torch.equal(mine(x), stock(x))

    stock.train().double(), mine.train().double()
    for model in (stock, mine):
        F.cross_entropy(model(x.double()), torch.tensor([0, 2, 3])).backward()
    for (key, parameter), twin in zip(stock.named_parameters(), mine.parameters(), strict=True):
        assert parameter.grad is not None and twin.grad is not None, key
        # BatchNorm over two images makes some gradients vanish but for rounding, hence the floor
        torch.testing.assert_close(twin.grad, parameter.grad, rtol=1e-6, atol=1e-9, msg=key)

    clone = copy.deepcopy(mine)
    assert [type(m) for m in clone.modules()] == [type(m) for m in mine.modules()]
    fresh = timm.create_model(name, num_classes=4).double()
    use_fallback(fresh)
    fresh.load_state_dict(stock.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(fresh.parameters(), stock.parameters(), strict=True))
