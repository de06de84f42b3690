"""BatchNorm fused with its activation, against PyTorch's own BatchNorm and activation in float64."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from instruction_sets import each_target
from thread_count import threads
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn

from covering import pairs
from seedwise.kernels.layers import batch_norm
from seedwise.kernels.layers.batch_norm import use_fused_norm_act
from seedwise.kernels.ops import batch_norm as batch_norm_ops
from seedwise.kernels.ops.batch_norm import available

needs_compiler = pytest.mark.skipif(not available(), reason="no C++ compiler")
ACTS = [nn.Identity, nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish]
SHAPES = [
    *((2, 1, 1, 1), (2, 3, 1, 1), (5, 33, 1, 1), (2, 1280, 1, 1), (3, 1, 7, 5), (2, 3, 5, 3), (3, 8, 9, 7)),
    *((7, 24, 13, 11), (5, 33, 6, 9), (9, 1280, 2, 2), (2, 16, 1, 7), (40, 40, 32, 33)),
]


def layer(channels: int, act: type[nn.Module], momentum: float | None = 0.1) -> BatchNormAct2d:
    norm = BatchNormAct2d(channels, momentum=momentum, act_layer=act, inplace=act is not nn.Identity)
    norm.act = act()
    generator = torch.Generator().manual_seed(channels)
    with torch.no_grad():
        norm.weight.copy_(torch.randn(channels, generator=generator) * 2)
        norm.bias.copy_(torch.randn(channels, generator=generator) + 1)
        norm.running_mean.copy_(torch.randn(channels, generator=generator))
        norm.running_var.copy_(torch.rand(channels, generator=generator) + 0.5)
    return norm


def fused(norm: nn.Module) -> nn.Module:
    twin = copy.deepcopy(norm)
    assert use_fused_norm_act(twin) == 1
    return twin


def batch(shape: tuple[int, ...], dtype: torch.dtype = torch.float32, mean: float = 0.0, seed: int = 0) -> Tensor:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) + mean
    return x.to(dtype).contiguous(memory_format=torch.channels_last)


def step(norm: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Output, gradients and running statistics after one training step under a fixed gradient of the output."""
    norm.zero_grad()
    x = x.detach().clone().requires_grad_()
    out = norm(x)
    direction = batch(tuple(out.shape), seed=1).bfloat16().to(out.dtype)
    out.backward(direction)
    found = {"out": out.detach(), "x": x.grad, "weight": norm.weight.grad, "bias": norm.bias.grad}
    found |= {"mean": norm.running_mean, "var": norm.running_var, "count": norm.num_batches_tracked}
    return {name: tensor.clone() for name, tensor in found.items() if isinstance(tensor, Tensor)}


def error(mine: Tensor, truth: Tensor) -> float:
    """Largest error beside the largest value."""
    return float((mine.double() - truth).abs().max()) / max(float(truth.abs().max()), 1.0)


def exact(norm: nn.Module, x: Tensor) -> dict[str, Tensor]:
    return step(copy.deepcopy(norm).double(), x.double())


def kinks(norm: nn.Module, x: Tensor) -> bool:
    """Whether a pre-activation is within rounding of a kink, where the gradient jumps."""
    twin = copy.deepcopy(norm).double()
    twin.act = nn.Identity()
    z = twin(x.double()).detach()
    places = {nn.ReLU: [0.0], nn.ReLU6: [0.0, 6.0], nn.Hardswish: [-3.0, 3.0]}.get(type(norm.act), [])
    return any(float((z - place).abs().min()) < 2e-6 for place in places)


def without_kinks(norm: nn.Module, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return next(x for x in (batch(shape, dtype, 0.3, seed) for seed in range(2, 99)) if not kinks(norm, x))


@each_target
@needs_compiler
@pytest.mark.parametrize(("shape", "act", "count"), pairs(SHAPES, ACTS, [1, 2]), ids=str)
def test_float32_against_float64(shape: tuple[int, ...], act: type[nn.Module], count: int) -> None:
    norm = layer(shape[1], act)
    # Of a large tensor some value is always next to a kink; its one gradient may then be off.
    large = shape[0] * shape[2] * shape[3] > 10_000
    x = batch(shape, mean=0.3, seed=2) if large else without_kinks(norm, shape, torch.float32)
    with threads(count):
        mine, truth = step(fused(norm), x), exact(norm, x)
    # Two values a channel: the variance can be near 0, and then rounding x is magnified.
    tolerance = 2e-4 if shape[0] * shape[2] * shape[3] < 8 else 3e-6
    for name, value in truth.items():
        if large and name in ("x", "weight", "bias") and kinks(norm, x):
            assert (mine[name].double() - value).abs().median() < 1e-6 * max(1.0, float(value.abs().max())), name
        else:
            assert error(mine[name], value) <= tolerance, name
    assert mine["out"].dtype == mine["x"].dtype == torch.float32
    assert mine["out"].stride() == x.stride()


@needs_compiler
@pytest.mark.parametrize(("shape", "act", "count"), pairs(SHAPES, ACTS, [1, 2]), ids=str)
def test_bfloat16_against_float64(shape: tuple[int, ...], act: type[nn.Module], count: int) -> None:
    norm, x = layer(shape[1], act), batch(shape, torch.bfloat16, 0.3, 2)
    with threads(count):
        mine, stock, truth = step(fused(norm), x), step(copy.deepcopy(norm), x), exact(norm, x)
    for name, value in truth.items():
        assert mine[name].dtype == stock[name].dtype
        # Output and gradient are rounded to 8 bits; stock rounds the pre-activation and its gradient too.
        few = shape[0] * shape[2] * shape[3] < 8  # what is left of nearly equal gradients is rounding
        allowed = max((2**-6 if few else 2**-8) if name in ("out", "x") else 2e-4, 1.5 * error(stock[name], value))
        assert error(mine[name], value) <= allowed, name
    assert mine["out"].dtype == mine["x"].dtype == torch.bfloat16
    assert error(mine["out"], truth["out"]) <= 2**-8


@each_target
@needs_compiler
def test_bfloat16_rounds_to_nearest_even() -> None:
    norm, x = layer(24, nn.SiLU), batch((4, 24, 5, 5), torch.bfloat16)
    wide = step(fused(norm), x.float())
    assert torch.equal(step(fused(norm), x)["out"], wide["out"].bfloat16())


@each_target
@needs_compiler
@pytest.mark.parametrize("values", [torch.linspace(-100, 100, 40_001), torch.linspace(-4, 4, 40_001)])
def test_silu_to_a_few_ulp(values: Tensor) -> None:
    """Two rows v and -v: mean 0, standard deviation |v|; with weight |v| and no eps the pre-activation is v again."""
    v = values[values.abs() > 1e-3]
    norm = BatchNormAct2d(len(v), eps=0.0, act_layer=nn.SiLU)
    with torch.no_grad():
        norm.weight.copy_(v.abs())
    x = torch.stack([v, -v])[:, :, None, None].contiguous(memory_format=torch.channels_last)
    out = fused(norm)(x).detach()[0, :, 0, 0].double()
    truth = F.silu(v.double())
    # e^-z magnifies the rounding of z by z
    assert float(((out - truth).abs() / truth.abs() / (4 + v.double().abs()))[v > -87].max()) < 2**-24
    assert torch.all((out - truth).abs()[v <= -87] < 1e-35)


@needs_compiler
@pytest.mark.parametrize("shape", [(16, 24, 16, 16), (64, 33, 2, 2)], ids=str)
@pytest.mark.parametrize("mean", [1e3, -1e4])
def test_means_far_from_zero(shape: tuple[int, ...], mean: float) -> None:
    norm, x = layer(shape[1], nn.SiLU), batch(shape, mean=mean)
    mine, stock, truth = step(fused(norm), x), step(copy.deepcopy(norm), x), exact(norm, x)
    for name, value in truth.items():
        assert error(mine[name], value) <= 1.5 * error(stock[name], value) + 1e-6, name


@needs_compiler
def test_an_outlier_among_the_first_rows() -> None:
    x = batch((32, 24, 32, 32))
    x[0, :, 0, 0] = 1e5
    norm = layer(24, nn.Identity)
    mine, truth = step(fused(norm), x), exact(norm, x)
    assert float(((mine["var"].double() - truth["var"]) / truth["var"]).abs().max()) < 1e-5


@each_target
@needs_compiler
@pytest.mark.parametrize("act", [nn.Identity, nn.ReLU6, nn.SiLU])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_same_bits_every_time_and_for_any_number_of_threads(act: type[nn.Module], dtype: torch.dtype) -> None:
    for shape in ((33, 24, 17, 15), (64, 1152, 2, 2), (16, 40, 80, 80)):
        norm, x = layer(shape[1], act), batch(shape, dtype)
        with threads(1):
            first = step(fused(norm), x)
        for count in (1, 2, 2, 3):
            with threads(count):
                again = step(fused(norm), x)
            assert all(torch.equal(first[name], again[name]) for name in first)


@each_target
@needs_compiler
@pytest.mark.parametrize("act", ACTS)
def test_an_image_has_the_same_bits_alone(act: type[nn.Module]) -> None:
    """Where the statistics are known."""
    for dtype in (torch.float32, torch.bfloat16):
        x, norm = batch((5, 27, 3, 7), dtype), layer(27, act)
        saved, number = (
            torch.stack([norm.running_mean, norm.running_var, norm.weight, norm.bias]),  # type: ignore[list-item]
            batch_norm_ops.ACTIVATIONS[act],
        )
        whole = batch_norm_ops.apply(x, saved.detach(), number)
        for i in range(5):
            assert torch.equal(batch_norm_ops.apply(x[i : i + 1], saved.detach(), number)[0], whole[i])


@needs_compiler
@pytest.mark.parametrize("momentum", [None, 0.0, 0.3, 1.0])
def test_running_statistics(momentum: float | None) -> None:
    norm = layer(8, nn.ReLU, momentum)
    mine = fused(norm)
    for seed in range(3):
        norm(batch((4, 8, 5, 5), seed=seed)), mine(batch((4, 8, 5, 5), seed=seed))
    for (name, stock), value in zip(norm.named_buffers(), mine.buffers(), strict=True):
        torch.testing.assert_close(value, stock, msg=name)


@needs_compiler
@pytest.mark.parametrize("frozen", [("weight",), ("bias",), ("x",), ("x", "bias"), ("x", "weight", "bias")], ids=str)
def test_only_wanted_gradients(frozen: tuple[str, ...]) -> None:
    for act in (nn.ReLU6, nn.SiLU):
        norm = layer(8, act)
        x = without_kinks(norm, (4, 8, 5, 5), torch.float32)
        truth, mine = exact(norm, x), fused(norm)
        leaves = {"x": x.requires_grad_(), "weight": mine.weight, "bias": mine.bias}
        for name in frozen:
            leaves[name].requires_grad_(False)
        out = mine(x)
        assert out.requires_grad == (len(frozen) < 3)
        if out.requires_grad:
            out.backward(batch((4, 8, 5, 5), seed=1).bfloat16().float())
        for name, leaf in leaves.items():
            assert (leaf.grad is None) == (name in frozen)
            assert leaf.grad is None or error(leaf.grad, truth[name]) < 3e-6


@needs_compiler
def test_gradients_in_any_layout() -> None:
    norm = layer(8, nn.SiLU)
    for reduce in (lambda y: y.mean((2, 3)).square().sum(), lambda y: (y.contiguous() ** 3).sum(), lambda y: y.sum()):
        grads = []
        for module in (copy.deepcopy(norm).double(), fused(norm)):
            x = batch((4, 8, 5, 7)).to(module.weight.dtype).requires_grad_()
            reduce(module(x)).backward()
            grads.append(x.grad)
        assert error(grads[1], grads[0]) < 1e-5


@each_target
@needs_compiler
@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("shape", [*SHAPES, (5, 64, 128, 128)])
def test_an_activation_alone_is_in_place(shape: tuple[int, ...], act: type[nn.Module]) -> None:
    """The last shape is written past the cache."""
    x = batch(shape) * 5
    expected, address = act()(x.double()), x.data_ptr()
    found = batch_norm_ops.activate(x, act())
    assert found is x and x.data_ptr() == address
    torch.testing.assert_close(x.double(), expected, rtol=1e-6, atol=1e-6)


@each_target
@needs_compiler
@pytest.mark.parametrize("act", ACTS)
def test_nan_spreads_as_in_stock(act: type[nn.Module]) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        norm, x = layer(9, act), batch((4, 9, 6, 6), dtype)
        x[1, 2, 3, 3] = x[1, 8, 0, 0] = torch.nan
        mine, stock = step(fused(norm), x), step(copy.deepcopy(norm), x)
        for name, value in stock.items():
            assert torch.equal(mine[name].isnan(), value.isnan()), name


def spy(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    calls: list[int] = []
    before = batch_norm_ops.forward
    monkeypatch.setattr(batch_norm_ops, "forward", lambda *arguments: (calls.append(1), before(*arguments))[1])
    return calls


@needs_compiler
def test_what_the_kernels_do_not_do_stays_stock(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = spy(monkeypatch)
    norm = layer(8, nn.ReLU6)
    mine = fused(norm)
    strided = batch((4, 8, 5, 10))[..., ::2]
    for x in (batch((4, 8, 5, 5)).contiguous(), strided, batch((4, 8, 5, 5)).half(), batch((0, 8, 5, 5))):
        assert torch.equal(mine(x), norm(x))
    for module in (norm, mine):
        with pytest.raises(ValueError, match="more than 1 value"):
            module(batch((1, 8, 1, 1)))
    double, exact_norm = fused(norm).double(), copy.deepcopy(norm).double()
    assert torch.equal(double(batch((4, 8, 5, 5)).double()), exact_norm(batch((4, 8, 5, 5)).double()))
    norm.eval(), mine.eval()
    norm.load_state_dict(mine.state_dict())
    mine_step, stock_step = step(mine, batch((4, 8, 5, 5))), step(norm, batch((4, 8, 5, 5)))
    assert all(torch.equal(mine_step[name], stock_step[name]) for name in stock_step)
    assert not calls
    mine.train()(batch((4, 8, 5, 5)))
    assert calls


@needs_compiler
def test_one_pixel_and_one_channel_are_channels_last_in_any_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = spy(monkeypatch)
    for shape in ((6, 8, 1, 1), (6, 1, 4, 5)):
        norm = layer(shape[1], nn.SiLU)
        for x in (batch(shape), batch(shape).contiguous()):
            out = fused(norm)(x)
            assert out.stride() == norm(x).stride()
            assert error(step(fused(norm), x)["x"], exact(norm, x)["x"]) < 1e-5
    assert len(calls) == 8


@needs_compiler
def test_activation_hooks_are_called(monkeypatch: pytest.MonkeyPatch) -> None:
    mine, seen = fused(layer(8, nn.ReLU)), []
    handle = mine.act.register_forward_hook(lambda *_: seen.append(1))
    mine(batch((4, 8, 5, 5)))
    assert seen == [1]
    handle.remove()
    calls = spy(monkeypatch)
    mine(batch((4, 8, 5, 5)))
    assert calls == [1]


@needs_compiler
def test_tracing_and_export_see_stock_operators() -> None:
    mine = fused(layer(8, nn.ReLU6))
    x = batch((4, 8, 5, 5))
    assert "batch_norm" in str(torch.jit.trace(mine, x, check_trace=False).inlined_graph)
    assert "batch_norm" in str(torch.export.export(mine, (x,)).graph)


@needs_compiler
def test_differentiable_once_and_output_may_be_overwritten() -> None:
    norm = layer(8, nn.ReLU6)
    x = without_kinks(norm, (4, 8, 5, 5), torch.float32).requires_grad_()
    (first,) = torch.autograd.grad(fused(norm)(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()
    out = fused(norm)(x)
    out += 1  # as a residual block may
    out.sum().backward()


@needs_compiler
@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm2d(4, affine=False),
        nn.BatchNorm2d(4, track_running_stats=False),
        nn.BatchNorm1d(4),
        nn.SyncBatchNorm(4),
        BatchNormAct2d(4, act_layer=nn.GELU),
        BatchNormAct2d(4, act_layer=nn.LeakyReLU),
        BatchNormAct2d(4, drop_layer=nn.Dropout),
    ],
    ids=str,
)
def test_others_are_left_alone(norm: nn.Module) -> None:
    before = type(norm)
    assert use_fused_norm_act(nn.Sequential(norm)) == 0
    assert type(norm) is before


@needs_compiler
def test_swapping_copying_and_pickling() -> None:
    model = nn.Sequential(layer(8, nn.SiLU), nn.BatchNorm2d(8))
    names = list(model.state_dict())
    assert [use_fused_norm_act(model), use_fused_norm_act(model)] == [2, 0]
    assert list(model.state_dict()) == names
    assert [type(m) for m in model] == [batch_norm.FusedBatchNormAct2d, batch_norm.FusedBatchNorm2d]
    x = batch((4, 8, 5, 5))
    twins = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
    expected = model(x)
    assert all(torch.equal(twin(x), expected) for twin in twins)


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(layer(8, nn.SiLU), nn.BatchNorm2d(8))
    swapped = copy.deepcopy(model)
    use_fused_norm_act(swapped)
    monkeypatch.setattr(batch_norm_ops.KERNELS, "_library", lambda: None)
    assert not available()
    assert use_fused_norm_act(model) == 0
    x = batch((4, 8, 5, 5))
    assert torch.equal(swapped(x), model(x))
