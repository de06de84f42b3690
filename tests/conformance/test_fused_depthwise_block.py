"""BatchNorm, depthwise convolution and BatchNorm in joint kernels: the gradients of float64 PyTorch, block by block."""

import copy
import random
from collections.abc import Iterator
from dataclasses import replace

import pytest
import timm
import torch
import torch.nn.functional as F
from instruction_sets import each_target
from one_implementation import Only
from timm.layers.norm_act import BatchNormAct2d
from timm.models._efficientnet_blocks import InvertedResidual
from torch import Tensor, nn

from seedwise.kernels import swap
from seedwise.kernels.blocks import inverted_residual
from seedwise.kernels.blocks.inverted_residual import JointInvertedResidual, Middle
from seedwise.kernels.dispatch import Choices
from seedwise.kernels.ops import depthwise as depthwise_ops
from seedwise.kernels.ops.batch_norm import NormStep
from seedwise.kernels.ops.depthwise import Geometry

pytestmark = pytest.mark.skipif(not swap.available(), reason="no C++ compiler: there are no native kernels")
ACTS = [(0, (-float("inf"), float("inf"))), (1, (0.0, float("inf"))), (2, (0.0, 6.0))]
NAMES = ("result", "x", "norm weight", "norm bias", "behind weight", "behind bias", "kernel", "widen")


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def draw_middle(seed: int) -> tuple[Middle, Tensor, Tensor]:
    """A middle with its input and the gradient of its result, in channels_last."""
    draw, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    kernel, stride, c = draw.choice([3, 5, 7]), draw.choice([1, 2]), draw.choice([3, 16, 32, 33, 48, 145])
    n, height, width = draw.choice([2, 3, 9]), draw.randint(1, 40), draw.randint(1, 40)
    if draw.random() < 0.5:
        geometry = depthwise_ops.same(kernel, stride, height, width)
    else:
        geometry = Geometry(kernel, stride, *[kernel // 2] * 4)
    (before, first), (behind, second) = draw.choice(ACTS), draw.choice(ACTS)

    def norm(act: int) -> NormStep:
        weight, bias = torch.randn(c, generator=generator), torch.randn(c, generator=generator)
        running = torch.randn(c, generator=generator), torch.rand(c, generator=generator)
        return NormStep(weight, bias, running, 0.1, 1e-3, act)

    def maps(*size: int) -> Tensor:
        return torch.randn(n, *size, generator=generator).contiguous(memory_format=torch.channels_last)

    weight, inputs, widen = torch.randn(c, 1, kernel, kernel, generator=generator) / kernel, c, None
    if c % 8 == 0 and draw.random() < 0.6:
        inputs = draw.choice([8, 16, 24, 40, 64])
        widen = torch.randn(c, inputs, 1, 1, generator=generator) / inputs**0.5
    middle = Middle(norm(before), weight, norm(behind), geometry, (first, second), widen)
    return middle, maps(inputs, height, width) * 2 + 1, maps(c, *geometry.out_size(height, width))


def slow(middle: Middle, x: Tensor, grad: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Result and gradients in float64, and the running statistics."""
    steps = middle.before, middle.behind
    wide = x.double().requires_grad_()
    parameters = [tensor.double().requires_grad_() for tensor in middle.parameters]
    w1, b1, w2, b2, kernel, *widen = parameters
    running = [tensor.double() for step in steps for tensor in step.running or ()]
    geometry = middle.geometry
    maps = F.conv2d(wide, widen[0]) if widen else wide
    maps = F.batch_norm(maps, running[0], running[1], w1, b1, True, 0.1, 1e-3).clamp(*middle.limits[0])
    maps = F.pad(maps, [geometry.left, geometry.right, geometry.top, geometry.bottom])
    maps = F.conv2d(maps, kernel, None, geometry.stride, groups=len(kernel))
    result = F.batch_norm(maps, running[2], running[3], w2, b2, True, 0.1, 1e-3).clamp(*middle.limits[1])
    result.backward(grad.double())
    return [result, *(tensor.grad for tensor in (wide, *parameters) if tensor.grad is not None)], running


def run(middle: Middle, x: Tensor, grad: Tensor) -> list[Tensor]:
    result, kept = middle.forward(x)
    return [result, *middle.backward(grad, x, kept)]


@each_target
@pytest.mark.parametrize("seed", range(60))
def test_agrees_with_float64(seed: int) -> None:
    middle, x, grad = draw_middle(seed)
    truth, running = slow(middle, x, grad)
    torch.set_num_threads(2)
    ours = run(middle, x, grad)
    kept = [tensor for step in (middle.before, middle.behind) for tensor in step.running or ()]
    for mine, exact in zip(kept, running, strict=True):
        torch.testing.assert_close(mine.double(), exact, rtol=1e-4, atol=1e-5)
    for name, mine, exact in zip(NAMES, ours, truth, strict=False):
        # Of a value that rounds to an activation's limit a gradient passes on one side and not on the other.
        off = (mine.double() - exact).abs() > 2e-4 * exact.abs().max().clamp(min=1)
        channels = off.transpose(0, 1) if name in ("result", "x") else off
        assert channels.flatten(1).any(1).sum() <= 1 if off.dim() > 1 else off.sum() <= 1, name
    torch.set_num_threads(1)
    for mine, alone in zip(ours, run(middle, x, grad), strict=True):
        assert torch.equal(mine, alone)


@each_target
@pytest.mark.parametrize("seed", range(8))
def test_bfloat16_is_as_near_as_its_bits(seed: int) -> None:
    middle, x, grad = draw_middle(seed)
    if middle.widen is not None:
        x = F.conv2d(x, middle.widen)
    half = replace(middle, kernel=middle.kernel.bfloat16(), widen=None)
    x, grad = x.bfloat16(), grad.bfloat16()
    truth, _ = slow(half, x, grad)
    for name, mine, exact in zip(NAMES, run(half, x, grad), truth, strict=False):
        distance = (mine.double() - exact).norm() / exact.norm().clamp(min=1e-3)
        assert distance < 0.08, name  # what is written in between, and which side of a limit a value is on, is rounded


def test_not_a_number_is_seen() -> None:
    middle, x, _ = next(drawn for drawn in map(draw_middle, range(60)) if drawn[0].widen is None)
    x[0, 1, 0, 0] = float("nan")
    result = middle.forward(x)[0]
    assert result[:, 1].isnan().all() and not result[:, 0].isnan().any()


def asked(choices: Only) -> list[str]:
    """What was asked about middles: with the convolution in front of them, or without."""
    return sorted({key.partition(" 3x3")[0] for key in choices.asked if key.startswith("middle")})


def block(act: type[nn.Module] = nn.ReLU6, stride: int = 1, **more: object) -> InvertedResidual:
    torch.manual_seed(0)
    made = InvertedResidual(16, 16, 3, stride=stride, exp_ratio=4, act_layer=act, norm_layer=nn.BatchNorm2d, **more)
    for norm in (made.bn1, made.bn2):
        nn.init.normal_(norm.weight, 1)
        nn.init.normal_(norm.bias)
    return made.to(memory_format=torch.channels_last)


def swapped(stock: InvertedResidual, name: str, monkeypatch: pytest.MonkeyPatch) -> tuple[nn.Module, Only]:
    choices, twin = Only(name, of="middle"), nn.Sequential(copy.deepcopy(stock))
    monkeypatch.setattr(swap, "Choices", lambda given: choices)
    swap.accelerate(twin, "native", {})
    return twin[0], choices


def images(n: int = 4, dtype: torch.dtype = torch.float32) -> Tensor:
    x = torch.randn(n, 16, 9, 7, generator=torch.Generator().manual_seed(1))
    return x.to(dtype).contiguous(memory_format=torch.channels_last).requires_grad_()


def step(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    out = model(x)
    (out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape)).sum().backward()
    assert x.grad is not None
    grads = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return {"out": out.detach(), "x": x.grad, **grads, **{name: b.clone() for name, b in model.named_buffers()}}


def assert_near(mine: Tensor, exact: Tensor, what: str) -> None:
    scale = exact.double().abs().max().clamp(min=1)
    assert (mine.double() - exact.double()).abs().max() <= 1e-4 * scale, what


@pytest.mark.parametrize("name", ["joint", "layers"])
@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_block_trains_as_timms(
    name: str, momentum: float | None, stride: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stock = block(stride=stride)
    for norm in (stock.bn1, stock.bn2):
        norm.momentum = momentum
    fast, choices = swapped(stock, name, monkeypatch)
    assert type(fast) is JointInvertedResidual
    exact = copy.deepcopy(stock).double()
    for _ in range(2):  # the second with running statistics of the first
        got, truth = step(fast, images()), step(exact, images(dtype=torch.float64))
        assert got.keys() == truth.keys() and "bn1.num_batches_tracked" in got
        for key, tensor in got.items():
            assert_near(tensor, truth[key], key)
    assert any(key.startswith("middle of 64 3x3") for key in choices.asked)
    stock.load_state_dict(fast.state_dict())
    with torch.no_grad():
        assert torch.equal(fast.eval()(images()), stock.eval()(images()))


def test_joint_and_by_layers_differ_by_rounding_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    joint, layers = (step(swapped(block(), name, monkeypatch)[0], images()) for name in ("joint", "layers"))
    for key, tensor in joint.items():
        assert_near(tensor, layers[key], key)


@pytest.mark.parametrize("layer", ["bn1", "conv_dw", "bn2"])
def test_a_hook_in_the_middle_is_called(layer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fast, choices = swapped(block(), "joint", monkeypatch)
    seen: list[torch.Size] = []
    handle = fast.get_submodule(layer).register_forward_hook(lambda _module, _given, out: seen.append(out.shape))
    fast(images())
    assert seen == [(4, 64, 9, 7)] and not asked(choices)
    handle.remove()
    fast(images())
    assert len(seen) == 1 and asked(choices)


def test_a_hook_in_front_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    fast, choices = swapped(block(), "joint", monkeypatch)
    seen: list[torch.Size] = []
    fast.conv_pw.register_forward_hook(lambda _module, _given, out: seen.append(out.shape))
    got = step(fast, images())
    assert seen == [(4, 64, 9, 7)]
    assert asked(choices) == ["middle"]  # the convolution by itself, what comes behind it together
    for key, tensor in step(swapped(block(), "layers", monkeypatch)[0], images()).items():
        assert_near(got[key], tensor, key)


def test_what_the_kernels_dont_take_goes_by_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    fast, choices = swapped(block(), "joint", monkeypatch)
    fast(images(1))  # one image: whether a channel has two values isn't known before the convolution
    with torch.no_grad():
        fast(images())
    for parameter in fast.bn1.parameters():
        parameter.requires_grad_(False)
    assert not asked(choices)
    got = step(fast, images())
    assert asked(choices) and "bn1.weight" not in got and "bn2.weight" in got


def test_blocks_with_other_activations_and_layers_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for stock in (block(nn.SiLU), block(s2d=1), block(group_size=2)):
        assert not isinstance(swapped(stock, "joint", monkeypatch)[0], JointInvertedResidual)


def test_pretrained_networks_have_such_blocks() -> None:
    counts = {"efficientnet_lite0": 15, "mobilenetv2_100": 16, "tf_efficientnetv2_s": 0}
    for name, count in counts.items():
        model = timm.create_model(name, num_classes=10)
        swap.accelerate(model, "native", {})
        assert sum(isinstance(module, JointInvertedResidual) for module in model.modules()) == count
    assert isinstance(model.blocks[0][0].bn1, BatchNormAct2d)
    assert inverted_residual.use_joint_middles(model, Choices()) == 0


def widened(c: int = 96, inputs: int = 16, side: int = 12) -> tuple[Middle, Tensor]:
    """A middle with a convolution in front, and its input."""
    generator = torch.Generator().manual_seed(1)

    def norm() -> NormStep:
        return NormStep(torch.ones(c), torch.zeros(c), (torch.zeros(c), torch.ones(c)), 0.1, 1e-3, 2)

    kernel = torch.randn(c, 1, 3, 3, generator=generator)
    widen = torch.randn(c, inputs, 1, 1, generator=generator) / inputs**0.5
    middle = Middle(norm(), kernel, norm(), depthwise_ops.same(3, 2, side, side), ((0.0, 6.0), (0.0, 6.0)), widen)
    images = torch.randn(4, inputs, side, side, generator=generator)
    return middle, images.contiguous(memory_format=torch.channels_last)


def test_no_wide_map_is_kept_for_the_backward() -> None:
    middle, x = widened()
    _, kept = middle.forward(x)
    assert max(tensor.numel() for tensor in kept) < 4 * 96 * 12 * 12


def test_statistics_of_images_far_from_zero_are_exact() -> None:
    middle, x = widened()
    x = x + 300  # 300 times their deviation
    (result, *_), running = slow(middle, x, torch.zeros(4, 96, 6, 6))
    mine, _ = middle.forward(x)
    # A layer would round what comes out of the convolution, some thousands, before it takes the mean off.
    torch.testing.assert_close(mine.double(), result, rtol=1e-3, atol=1e-3)
    kept = [tensor.double() for step in (middle.before, middle.behind) for tensor in step.running or ()]
    for tensor, exact in zip(kept, running, strict=True):
        torch.testing.assert_close(tensor, exact, rtol=1e-4, atol=1e-4)
