"""Fused depthwise block: expansion, BatchNorm, depthwise convolution and BatchNorm against float64 PyTorch."""

import copy
import random
from collections.abc import Iterator
from typing import Any

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
from seedwise.kernels.blocks import fused_depthwise
from seedwise.kernels.blocks.fused_depthwise import FusedDepthwiseBlock, FusedDepthwiseStep
from seedwise.kernels.dispatch import Dispatcher
from seedwise.kernels.ops import depthwise as depthwise_ops
from seedwise.kernels.ops.batch_norm import NormStep
from seedwise.kernels.ops.depthwise import Geometry

pytestmark = pytest.mark.skipif(not swap.available(), reason="no C++ compiler: there are no native kernels")
ACTS = [(0, (-float("inf"), float("inf"))), (1, (0.0, float("inf"))), (2, (0.0, 6.0))]
NAMES = ("result", "x", "norm weight", "norm bias", "epilogue weight", "epilogue bias", "kernel", "expand")


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def draw_step(seed: int) -> tuple[FusedDepthwiseStep, Tensor, Tensor]:
    """A step with its input and the gradient of its result, in channels_last."""
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

    weight, inputs = (
        torch.randn(c, 1, kernel, kernel, generator=generator) / kernel,
        draw.choice([3, 8, 16, 24, 40, 64]),
    )
    expand = torch.randn(c, inputs, 1, 1, generator=generator) / inputs**0.5
    step = FusedDepthwiseStep(expand, norm(before), weight, norm(behind), geometry, (first, second))
    return step, maps(inputs, height, width) * 2 + 1, maps(c, *geometry.out_size(height, width))


def slow(step: FusedDepthwiseStep, x: Tensor, grad: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Result and gradients in float64, and the running statistics."""
    exact_x = x.double().requires_grad_()
    parameters = [tensor.double().requires_grad_() for tensor in step.parameters]
    w1, b1, w2, b2, kernel, expand = parameters
    running = [tensor.double() for norm in (step.prologue, step.epilogue) for tensor in norm.running or ()]
    geometry = step.geometry
    maps = F.conv2d(exact_x, expand)
    maps = F.batch_norm(maps, running[0], running[1], w1, b1, True, 0.1, 1e-3).clamp(*step.limits[0])
    maps = F.pad(maps, [geometry.left, geometry.right, geometry.top, geometry.bottom])
    maps = F.conv2d(maps, kernel, None, geometry.stride, groups=len(kernel))
    result = F.batch_norm(maps, running[2], running[3], w2, b2, True, 0.1, 1e-3).clamp(*step.limits[1])
    result.backward(grad.double())
    return [result, *(tensor.grad for tensor in (exact_x, *parameters) if tensor.grad is not None)], running


def run(step: FusedDepthwiseStep, x: Tensor, grad: Tensor) -> list[Tensor]:
    result, kept = step.forward(x)
    return [result, *step.backward(grad, x, kept)]


@each_target
@pytest.mark.parametrize("seed", range(60))
def test_agrees_with_float64(seed: int) -> None:
    step, x, grad = draw_step(seed)
    truth, running = slow(step, x, grad)
    torch.set_num_threads(2)
    ours = run(step, x, grad)
    kept = [tensor for norm in (step.prologue, step.epilogue) for tensor in norm.running or ()]
    for mine, exact in zip(kept, running, strict=True):
        torch.testing.assert_close(mine.double(), exact, rtol=1e-4, atol=1e-5)
    for name, mine, exact in zip(NAMES, ours, truth, strict=False):
        # Of a value that rounds to an activation's limit a gradient passes on one side and not on the other.
        off = (mine.double() - exact).abs() > 2e-4 * exact.abs().max().clamp(min=1)
        channels = off.transpose(0, 1) if name in ("result", "x") else off
        assert channels.flatten(1).any(1).sum() <= 1 if off.dim() > 1 else off.sum() <= 1, name
    torch.set_num_threads(1)
    for mine, alone in zip(ours, run(step, x, grad), strict=True):
        assert torch.equal(mine, alone)


def test_not_a_number_is_seen() -> None:
    step, x, _ = draw_step(0)
    x[0, 1, 0, 0] = float("nan")
    assert step.forward(x)[0].isnan().any()


def asked(dispatcher: Only) -> list[str]:
    """What was asked about fused depthwise blocks."""
    return sorted({key.partition(" 3x3")[0] for key in dispatcher.asked if key.startswith("fused depthwise")})


def block(act: type[nn.Module] = nn.ReLU6, stride: int = 1, **more: Any) -> InvertedResidual:
    torch.manual_seed(0)
    made = InvertedResidual(16, 16, 3, stride=stride, exp_ratio=4, act_layer=act, norm_layer=nn.BatchNorm2d, **more)
    for norm in (made.bn1, made.bn2):
        nn.init.normal_(norm.weight, 1)
        nn.init.normal_(norm.bias)
    return made.to(memory_format=torch.channels_last)


def swapped(stock: InvertedResidual, name: str, monkeypatch: pytest.MonkeyPatch) -> tuple[nn.Module, Only]:
    dispatcher, twin = Only(name, of="fused depthwise"), nn.Sequential(copy.deepcopy(stock))
    monkeypatch.setattr(swap, "Dispatcher", lambda given: dispatcher)
    swap.accelerate(twin, "native", {})
    return twin[0], dispatcher


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


@pytest.mark.parametrize("name", ["fused", "layers"])
@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_block_trains_as_timms(
    name: str, momentum: float | None, stride: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stock = block(stride=stride)
    for norm in (stock.bn1, stock.bn2):
        norm.momentum = momentum
    fast, dispatcher = swapped(stock, name, monkeypatch)
    assert type(fast) is FusedDepthwiseBlock
    exact = copy.deepcopy(stock).double()
    for _ in range(2):  # the second with running statistics of the first
        got, truth = step(fast, images()), step(exact, images(dtype=torch.float64))
        assert got.keys() == truth.keys() and "bn1.num_batches_tracked" in got
        for key, tensor in got.items():
            assert_near(tensor, truth[key], key)
    assert asked(dispatcher) == ["fused depthwise of 64"]
    stock.load_state_dict(fast.state_dict())
    with torch.no_grad():
        assert torch.equal(fast.eval()(images()), stock.eval()(images()))


def test_fused_and_by_layers_differ_by_rounding_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    fused, layers = (step(swapped(block(), name, monkeypatch)[0], images()) for name in ("fused", "layers"))
    for key, tensor in fused.items():
        assert_near(tensor, layers[key], key)


@pytest.mark.parametrize("layer", ["conv_pw", "bn1", "conv_dw", "bn2"])
def test_a_hook_within_is_called(layer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fast, dispatcher = swapped(block(), "fused", monkeypatch)
    seen: list[torch.Size] = []
    handle = fast.get_submodule(layer).register_forward_hook(lambda _module, _given, out: seen.append(out.shape))
    fast(images())
    assert seen == [(4, 64, 9, 7)] and not asked(dispatcher)
    handle.remove()
    fast(images())
    assert len(seen) == 1 and asked(dispatcher)


def test_what_the_kernels_dont_take_goes_by_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    fast, dispatcher = swapped(block(), "fused", monkeypatch)
    fast(images(1))  # one image: whether a channel has two values isn't known before the convolution
    with torch.no_grad():
        fast(images())
    for parameter in fast.bn1.parameters():
        parameter.requires_grad_(False)
    assert not asked(dispatcher)
    got = step(fast, images())
    assert asked(dispatcher) and "bn1.weight" not in got and "bn2.weight" in got


def test_blocks_with_other_activations_and_layers_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for stock in (block(nn.SiLU), block(s2d=1), block(group_size=2)):
        assert not isinstance(swapped(stock, "fused", monkeypatch)[0], FusedDepthwiseBlock)


def test_pretrained_networks_have_such_blocks() -> None:
    counts = {"efficientnet_lite0": 5, "mobilenetv2_100": 6, "tf_efficientnetv2_s": 0}
    for name, count in counts.items():
        model = timm.create_model(name, num_classes=10)
        swap.accelerate(model, "native", {})
        assert sum(isinstance(module, FusedDepthwiseBlock) for module in model.modules()) == count
    assert isinstance(model.blocks[0][0].bn1, BatchNormAct2d)
    assert fused_depthwise.use_fused_depthwise_blocks(model, Dispatcher()) == 0


def step_of_six(c: int = 96, inputs: int = 16, side: int = 12) -> tuple[FusedDepthwiseStep, Tensor]:
    """A step that expands six times, and its input."""
    generator = torch.Generator().manual_seed(1)

    def norm() -> NormStep:
        return NormStep(torch.ones(c), torch.zeros(c), (torch.zeros(c), torch.ones(c)), 0.1, 1e-3, 2)

    kernel = torch.randn(c, 1, 3, 3, generator=generator)
    expand = torch.randn(c, inputs, 1, 1, generator=generator) / inputs**0.5
    geometry = depthwise_ops.same(3, 2, side, side)
    made = FusedDepthwiseStep(expand, norm(), kernel, norm(), geometry, ((0.0, 6.0), (0.0, 6.0)))
    images = torch.randn(4, inputs, side, side, generator=generator)
    return made, images.contiguous(memory_format=torch.channels_last)


def test_no_expanded_map_is_kept_for_the_backward() -> None:
    step, x = step_of_six()
    _, kept = step.forward(x)
    assert max(tensor.numel() for tensor in kept) < 4 * 96 * 12 * 12


def test_statistics_of_images_far_from_zero_are_exact() -> None:
    step, x = step_of_six()
    x = x + 300  # 300 times their deviation
    (result, *_), running = slow(step, x, torch.zeros(4, 96, 6, 6))
    mine, _ = step.forward(x)
    # A layer would round what comes out of the convolution, some thousands, before it takes the mean off.
    torch.testing.assert_close(mine.double(), result, rtol=1e-3, atol=1e-3)
    kept = [tensor.double() for norm in (step.prologue, step.epilogue) for tensor in norm.running or ()]
    for tensor, exact in zip(kept, running, strict=True):
        torch.testing.assert_close(tensor, exact, rtol=1e-4, atol=1e-4)
