"""The compiled depthwise kernels, and the choice between implementations.

Bits: equal for any number of threads, since every sum's order follows from the shape alone.
"""

import copy
import itertools
import math
import pickle
from collections.abc import Sequence
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from instruction_sets import each_target
from thread_count import threads
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn

from covering import pairs
from seedwise.kernels import build, rule
from seedwise.kernels.dispatch import Dispatcher
from seedwise.kernels.layers.depthwise import available, use_fast_depthwise
from seedwise.kernels.ops import depthwise as depthwise_ops
from seedwise.kernels.ops.depthwise import Geometry

SIZES = [(9, 7), (8, 8), (4, 5), (2, 2), (3, 1), (1, 1), (17, 33)]
needs_compiler = pytest.mark.skipif(build.compiler() is None, reason="no C++ compiler")


def geometry_of(kernel: int, stride: int, same: bool, size: tuple[int, int]) -> Geometry:
    p = kernel // 2
    return depthwise_ops.same(kernel, stride, *size) if same else Geometry(kernel, stride, p, p, p, p)


def draw(shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
    return values.contiguous(memory_format=torch.channels_last)


def truth_of(x: Tensor, weight: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Output, its gradient (drawn), and the float64 gradients of images and weight."""
    exact, exact_weight = x.double().requires_grad_(), weight.double().requires_grad_()
    padded = F.pad(exact, [geometry.left, geometry.right, geometry.top, geometry.bottom])
    out = F.conv2d(padded, exact_weight, None, geometry.stride, groups=len(weight))
    grad = draw(tuple(out.shape), 2, x.dtype)
    out.backward(grad.double())
    assert exact.grad is not None and exact_weight.grad is not None
    return out.detach(), grad, exact.grad, exact_weight.grad


def agree(mine: Tensor | None, truth: Tensor, tolerance: float) -> None:
    assert mine is not None and mine.shape == truth.shape
    scale = max(float(truth.abs().max()), 1e-3)
    assert float((mine.double() - truth).abs().max()) <= tolerance * scale


SHAPES = pairs(SIZES, (1, 8, 24, 33, 96), (1, 3))
"""Sizes, channels and images."""


@each_target
@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("same", [False, True], ids=["symmetric", "same"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize(
    "shapes",
    [
        pytest.param([row.values for row in SHAPES if not row.marks], id="pairs"),
        pytest.param([row.values for row in SHAPES if row.marks], id="others", marks=pytest.mark.slow),
    ],
)
def test_kernels_against_float64(
    kernel: int, stride: int, same: bool, dtype: torch.dtype, shapes: Sequence[tuple[tuple[int, int], int, int]]
) -> None:
    tolerance = 1e-5 if dtype == torch.float32 else 2**-8  # sums are in fp32, so only the result is rounded
    for size, c, n in shapes:
        geometry = geometry_of(kernel, stride, same, size)
        x, weight = draw((n, c, *size), 0, dtype), draw((c, 1, kernel, kernel), 1, dtype)
        out, grad, *truth = truth_of(x, weight, geometry)
        agree(depthwise_ops.forward(x, weight, geometry), out, tolerance)
        got = depthwise_ops.backward(x, grad, weight, geometry, (True, True))
        for mine, expected in zip(got, truth, strict=True):
            agree(mine, expected, tolerance)


@each_target
@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2), (7, 2)])
def test_the_same_bits_for_any_number_of_threads(kernel: int, stride: int, dtype: torch.dtype) -> None:
    """Also when only one gradient is wanted, and for maps that are cut into strips."""
    for size, c, n in (((12, 12), 40, 9), ((2, 2), 288, 12), ((61, 70), 64, 2)):
        geometry = geometry_of(kernel, stride, True, size)
        x, weight = draw((n, c, *size), 0, dtype), draw((c, 1, kernel, kernel), 1, dtype)
        grad = draw((n, c, *geometry.out_size(*size)), 2, dtype)
        results = []
        for count in (1, 2, 2, 3):
            with threads(count):
                out = depthwise_ops.forward(x, weight, geometry)
                results.append((out, *depthwise_ops.backward(x, grad, weight, geometry, (True, True))))
        image_grad, _ = depthwise_ops.backward(x, grad, weight, geometry, (True, False))
        assert image_grad is not None and results[0][1] is not None
        assert torch.equal(image_grad, results[0][1])
        for result in results[1:]:
            assert all(torch.equal(a, b) for a, b in zip(result, results[0], strict=True) if a is not None)


@each_target
@needs_compiler
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_an_image_has_the_same_bits_alone(kernel: int, stride: int) -> None:
    for size, c in itertools.product(SIZES, (1, 33, 96)):
        geometry = geometry_of(kernel, stride, True, size)
        x, weight = draw((5, c, *size), 0), draw((c, 1, kernel, kernel), 1)
        grad = draw((5, c, *geometry.out_size(*size)), 2)
        out, (of_images, _) = (
            depthwise_ops.forward(x, weight, geometry),
            depthwise_ops.backward(x, grad, weight, geometry, (True, False)),
        )
        assert of_images is not None
        for i in (0, 3):
            one, _ = depthwise_ops.backward(x[i : i + 1], grad[i : i + 1], weight, geometry, (True, False))
            assert one is not None and torch.equal(one[0], of_images[i])
            assert torch.equal(depthwise_ops.forward(x[i : i + 1], weight, geometry)[0], out[i])


@each_target
@needs_compiler
@pytest.mark.parametrize("stride", [1, 2])
def test_results_written_past_the_cache(stride: int) -> None:
    """Those of 4 million numbers and more, but the bits of an image don't depend on the others."""
    geometry = geometry_of(3, stride, True, (64, 64))
    x, weight = draw((17 * stride * stride, 64, 64, 64), 0), draw((64, 1, 3, 3), 1)
    grad = draw((len(x), 64, 64 // stride, 64 // stride), 2)
    out = depthwise_ops.forward(x, weight, geometry)
    image_grad, _ = depthwise_ops.backward(x, grad, weight, geometry, (True, False))
    assert image_grad is not None and out.numel() > 4_000_000
    for i in (0, 5, len(x) - 1):
        one, _ = depthwise_ops.backward(x[i : i + 1], grad[i : i + 1], weight, geometry, (True, False))
        assert one is not None
        assert torch.equal(one[0], image_grad[i])
        assert torch.equal(depthwise_ops.forward(x[i : i + 1], weight, geometry)[0], out[i])


@needs_compiler
@pytest.mark.parametrize("limits", [(-math.inf, math.inf), (0.0, math.inf), (0.0, 6.0)], ids=["bias", "relu", "relu6"])
@pytest.mark.parametrize("kernel", [3, 5])
def test_bias_and_activation_have_the_bits_of_passes_of_their_own(kernel: int, limits: tuple[float, float]) -> None:
    for size, c, n, stride in (((12, 13), 40, 3, 1), ((2, 2), 33, 2, 2), ((64, 64), 64, 17, 1), ((7, 9), 5, 1, 2)):
        geometry = geometry_of(kernel, stride, True, size)
        x, weight, bias = draw((n, c, *size), 0), draw((c, 1, kernel, kernel), 1), 4 * draw((c, 1, 1, 1), 2).flatten()
        x[0, 0, 0, 0] = torch.nan
        found = depthwise_ops.forward(x, weight, geometry, depthwise_ops.Epilogue(bias, *limits))
        plain = depthwise_ops.forward(x, weight, geometry) + bias[:, None, None]
        torch.testing.assert_close(found, plain.clamp(*limits), rtol=0, atol=0, equal_nan=True)
        assert found[0, 0].isnan().any()
    x, weight = draw((2, 40, 8, 8), 0, torch.bfloat16), draw((40, 1, 3, 3), 1, torch.bfloat16)
    bias, geometry = draw((40, 1, 1, 1), 2).flatten(), geometry_of(3, 1, True, (8, 8))
    out, _, *_ = truth_of(x, weight, geometry)
    agree(
        depthwise_ops.forward(x, weight, geometry, depthwise_ops.Epilogue(bias, *limits)),
        (out + bias.double()[:, None, None]).clamp(*limits),
        2**-8,
    )


@each_target
@needs_compiler
def test_bf16_keeps_nan_and_infinity() -> None:
    x, weight = torch.zeros(1, 32, 3, 3, dtype=torch.bfloat16), torch.ones(32, 1, 3, 3, dtype=torch.bfloat16)
    x = x.contiguous(memory_format=torch.channels_last)
    x[0, 0], x[0, 1], x[0, 2] = torch.nan, torch.inf, 3e38
    out = depthwise_ops.forward(x, weight, Geometry(3, 1, 1, 1, 1, 1))
    assert out[0, 0].isnan().all() and (out[0, 1:3] == torch.inf).all() and (out[0, 3:] == 0).all()


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("same", [False, True], ids=["symmetric", "same"])
@pytest.mark.parametrize("size", [(9, 8), (2, 2)], ids=str)
def test_wanted_gradients_alone_are_those_of_both(size: tuple[int, int], same: bool, dtype: torch.dtype) -> None:
    geometry = geometry_of(5, 2, same, size)
    x, weight = draw((3, 6, *size), 0, dtype), draw((6, 1, 5, 5), 1, dtype)
    _, grad, *truth = truth_of(x, weight, geometry)
    for wants in ((True, True), (True, False), (False, True)):
        got = depthwise_ops.backward(x, grad, weight, geometry, wants)
        for mine, expected, wanted in zip(got, truth, wants, strict=True):
            assert (mine is not None) == wanted
            if mine is not None:
                assert mine.dtype == dtype
                agree(mine, expected, 1e-5 if dtype == torch.float32 else 2**-7)


def swapped(conv: nn.Module, dispatcher: Dispatcher | None = None) -> nn.Module:
    twin = copy.deepcopy(conv)
    assert use_fast_depthwise(twin, native=True, dispatcher=dispatcher or Dispatcher()) == 1
    return twin


def layer(kernel: int = 3, stride: int = 2) -> nn.Conv2d:
    torch.manual_seed(0)
    return Conv2dSame(32, 32, kernel, stride, groups=32, bias=False)


def step(conv: nn.Module, x: Tensor) -> list[Tensor]:
    x = x.detach().requires_grad_()
    conv.zero_grad()
    conv(x).square().sum().backward()
    assert x.grad is not None
    return [x.grad, *(p.grad.clone() for p in conv.parameters() if p.grad is not None)]


@needs_compiler
def test_a_recorded_choice_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    x, first = draw((4, 32, 8, 8), 0), Dispatcher()
    expected = step(swapped(layer(), first), x)
    recorded = first.as_dict()
    assert [key.split()[0] for key in recorded] == ["forward"]
    monkeypatch.setattr(rule, "choose", lambda *_: pytest.fail("it is in the record"))
    again = Dispatcher(recorded)
    assert all(torch.equal(a, b) for a, b in zip(expected, step(swapped(layer(), again), x), strict=True))
    assert again.as_dict() == recorded

    other = Dispatcher(dict.fromkeys(recorded, "onednn"))
    with torch.no_grad():
        expected_out = layer()(x)
    monkeypatch.setattr(depthwise_ops, "forward", lambda *_: pytest.fail("the record says onednn"))
    assert torch.equal(swapped(layer(), other)(x), expected_out)


def test_a_batch_that_differs_by_one_is_no_new_choice() -> None:
    dispatcher = Dispatcher()
    conv = swapped(layer(), dispatcher)
    for n in (8, 7, 5):
        step(conv, draw((n, 32, 8, 8), 0))
    assert len(dispatcher.as_dict()) == 1


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    x = draw((4, 32, 8, 8), 0)
    plain, asked = layer(), layer()
    use_fast_depthwise(plain, native=False, dispatcher=Dispatcher())
    monkeypatch.setattr(build, "compiler_version", lambda: None)
    monkeypatch.setattr(build, "PREBUILT", "nothing was installed")
    monkeypatch.setenv("SEEDWISE_CACHE", str(tmp_path))
    for library in depthwise_ops.LIBRARIES:
        library.forget()
    try:
        assert not available()
        dispatcher = Dispatcher()
        assert use_fast_depthwise(asked, native=True, dispatcher=dispatcher) == 1
        assert type(asked) is type(plain)
        assert all(torch.equal(a, b) for a, b in zip(step(plain, x), step(asked, x), strict=True))
        assert not dispatcher.as_dict()
    finally:
        for library in depthwise_ops.LIBRARIES:
            library.forget()


@needs_compiler
@pytest.mark.parametrize("how", ["float64", "contiguous", "no_grad", "inference", "vmap", "create_graph", "meta"])
def test_what_the_kernels_do_not_take(how: str) -> None:
    stock, mine = layer(), swapped(layer())
    x = draw((3, 32, 7, 6), 0)
    if how == "float64":
        stock, mine, x = stock.double(), mine.double(), x.double()
    elif how == "contiguous":
        x = x.contiguous()
    if how in ("float64", "contiguous"):
        for a, b in zip(step(mine, x), step(stock, x), strict=True):
            torch.testing.assert_close(a, b)
    elif how in ("no_grad", "inference"):
        with torch.no_grad() if how == "no_grad" else torch.inference_mode():
            assert torch.equal(mine(x), stock(x))
    elif how == "vmap":
        torch.testing.assert_close(torch.vmap(mine)(x[None]), torch.vmap(stock)(x[None]))
    elif how == "meta":
        assert mine.to("meta")(x.to("meta")).shape == stock(x).shape
    else:
        x.requires_grad_()
        seconds = []
        for conv in (mine, stock):
            (first,) = torch.autograd.grad(conv(x).square().sum(), x, create_graph=True)
            seconds.append(torch.autograd.grad(first.square().sum(), x)[0])
        torch.testing.assert_close(*seconds)


@needs_compiler
def test_copies_pickles_and_hooks() -> None:
    conv = swapped(layer())
    seen: list[torch.Size] = []
    conv.register_forward_hook(lambda _module, _args, out: seen.append(out.shape))
    twin = copy.deepcopy(conv)
    assert twin.dispatcher is conv.dispatcher and type(twin) is type(conv)
    assert list(conv.state_dict()) == ["weight"]
    x = draw((2, 32, 6, 6), 0)
    step(conv, x), step(twin, x)
    assert len(seen) == 2
    again = pickle.loads(pickle.dumps(swapped(layer())))
    assert len(step(again, x)) == 2
    exported = torch.export.export(conv.eval(), (x,))
    assert any("conv2d" in str(node.target) for node in exported.graph.nodes)


@needs_compiler
@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
def test_whole_model(bf16: bool) -> None:
    """Beside stock's: BatchNorm over few pixels makes some gradients mostly rounding, so the truth is float64's."""
    torch.manual_seed(0)
    exact = timm.create_model("tf_efficientnet_lite0", num_classes=4, drop_rate=0.0, drop_path_rate=0.0).double()
    stock = copy.deepcopy(exact).float().to(memory_format=torch.channels_last)
    mine, dispatcher = copy.deepcopy(stock), Dispatcher()
    assert use_fast_depthwise(mine, native=True, dispatcher=dispatcher) == 16
    x, target = draw((16, 3, 64, 64), 0), torch.arange(16) % 4
    for model in (exact, stock, mine):
        images = x.double() if model is exact else x
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16 and model is not exact):
            logits = model(images)
        F.cross_entropy(logits.double(), target).backward()
    errors = [0.0, 0.0]
    for (key, truth), *others in zip(exact.named_parameters(), stock.parameters(), mine.parameters(), strict=True):
        assert truth.grad is not None
        for i, other in enumerate(others):
            assert other.grad is not None and other.grad.isfinite().all(), key
            errors[i] += float((other.grad - truth.grad).norm() ** 2)
    assert errors[1] <= 2 * errors[0] + 1e-12
    assert {key.split()[0] for key in dispatcher.as_dict()} == {"forward"}
