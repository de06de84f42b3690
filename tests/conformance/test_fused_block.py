"""Blocks that train as one step of autograd: the bits of the same layers one by one."""

import copy
import random
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from timm.layers import DropPath
from timm.models._efficientnet_blocks import ConvBnAct, EdgeResidual, InvertedResidual, SqueezeExcite
from torch import Tensor, nn

from seedwise.kernels import explain, swap
from seedwise.models.dropout_meter import meter_dropout

SMOOTH: dict[str, Any] = {"act_layer": nn.SiLU}
BLOCKS: dict[str, Callable[[], nn.Module]] = {
    "inverted": lambda: InvertedResidual(24, 24, exp_ratio=4, **SMOOTH, se_layer=SqueezeExcite),
    "inverted, stride 2": lambda: InvertedResidual(24, 40, 5, 2, exp_ratio=4, **SMOOTH, se_layer=SqueezeExcite),
    "inverted, same": lambda: InvertedResidual(24, 24, 3, 1, pad_type="same", **SMOOTH, exp_ratio=2),
    "edge": lambda: EdgeResidual(24, 24, exp_ratio=4, **SMOOTH),
    "edge, wider": lambda: EdgeResidual(24, 32, exp_ratio=4, **SMOOTH),
    "conv": lambda: ConvBnAct(24, 24, 3, **SMOOTH, skip=True),
}


class Layers(nn.Module):
    """A block after something trainable, as a network has it."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.first, self.block = nn.Conv2d(24, 24, 1), block

    def forward(self, x: Tensor) -> Tensor:
        return self.block(self.first(x))


IMPLEMENTATIONS = {
    "pointwise": ["onednn", "product", "split"],
    "dense": ["onednn", "winograd"],
    "forward": ["onednn", "native"],
}
"""By the first word of a choice's key."""


def drawn(dispatcher: dict[str, str], seed: int) -> dict[str, str]:
    """For each choice any of the implementations."""
    draw = random.Random(seed)
    return {key: draw.choice(IMPLEMENTATIONS[key.partition(" ")[0]]) for key in dispatcher}


def pair(name: str, seed: int | None = None) -> tuple[Layers, Layers]:
    """The same block twice, in one and by layers, by the same kernels: the fastest, or those that a seed draws."""
    torch.manual_seed(1)
    ours = Layers(BLOCKS[name]()).to(memory_format=torch.channels_last).train()
    for module in ours.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1)
            nn.init.normal_(module.bias)
    theirs, plain = copy.deepcopy(ours), type(ours.block)
    swap.accelerate(ours, "native", {})
    step(copy.deepcopy(ours))  # chooses
    dispatcher = swap.chosen(ours)
    if seed is not None:
        dispatcher, ours = drawn(dispatcher, seed), copy.deepcopy(theirs)
        swap.accelerate(ours, "native", dispatcher)
    swap.accelerate(theirs, "native", dispatcher)
    assert type(theirs.block) is not plain
    theirs.block.__class__ = plain
    return ours, theirs


def images() -> Tensor:
    x = torch.randn(4, 24, 9, 7, generator=torch.Generator().manual_seed(2))
    return x.to(memory_format=torch.channels_last)


def step(model: Layers) -> list[Tensor]:
    """Output, gradients and what the norms keep; parameters without a gradient are left out."""
    model.zero_grad()
    out = model(images())
    (out * torch.linspace(-1, 1, out.numel()).view(out.shape)).sum().backward()
    return [out.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None), *model.buffers()]


def path(model: Layers) -> str:
    """What computes the block in a training step."""
    return explain(model, images())["block"].path


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("name", BLOCKS)
def test_has_the_bits_of_its_layers(name: str) -> None:
    ours, theirs = pair(name)
    assert same(step(ours), step(theirs)) and same(step(ours), step(theirs))
    assert path(ours) == "fused block" and path(theirs) == "layer by layer"
    assert ours.state_dict().keys() == theirs.state_dict().keys()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", BLOCKS)
def test_kernels_that_wait_and_pytorchs_own_operators_keep_their_order(name: str, seed: int) -> None:
    ours, theirs = pair(name, seed)
    assert same(step(ours), step(theirs))
    assert path(ours) == "fused block"
    assert swap.chosen(ours) == swap.chosen(theirs)


@pytest.mark.parametrize("name", BLOCKS)
def test_a_step_that_times_implementations_has_the_bits_of_a_later_one(name: str) -> None:
    torch.manual_seed(1)
    first = Layers(BLOCKS[name]()).to(memory_format=torch.channels_last).train()
    later = copy.deepcopy(first)
    swap.accelerate(first, "tuned", {})
    found = step(first)
    swap.accelerate(later, "tuned", swap.chosen(first))
    assert swap.chosen(first) and same(found, step(later))


def test_two_backwards_through_one_graph_give_the_same() -> None:
    ours, _ = pair("inverted")
    out = ours(images()).sum()
    first = torch.autograd.grad(out, list(ours.parameters()), retain_graph=True)
    assert same(list(first), list(torch.autograd.grad(out, list(ours.parameters()))))


def test_what_is_changed_between_forward_and_backward_is_noticed() -> None:
    ours, _ = pair("inverted")
    out = ours(images()).sum()
    with torch.no_grad():
        ours.block.conv_pwl.weight.mul_(2)  # type: ignore[operator]
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.backward()


def watched(block: Any) -> None:
    block.bn2.register_forward_hook(lambda *_: None)


def watched_identity(block: Any) -> None:
    block.aa.register_forward_hook(lambda _layer, _given, out: 2 * out)


def frozen(block: Any) -> None:
    block.conv_dw.weight.requires_grad_(False)


def quiet_norm(block: Any) -> None:
    block.bn1.eval()


class OtherDropPath(DropPath):
    """Drops channels, not images."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout2d(x, self.drop_prob, self.training)


def other_drop_path(block: Any) -> None:
    block.drop_path = OtherDropPath(0.5)


def watched_drop_path(block: Any) -> None:
    block.drop_path = DropPath(0.5)
    block.drop_path.register_forward_hook(lambda _layer, _given, out: 2 * out)


def other_squeeze(block: Any) -> None:
    block.se.gate = nn.Hardsigmoid()


CHANGES = [watched, watched_identity, frozen, quiet_norm, other_drop_path, watched_drop_path, other_squeeze]


@pytest.mark.parametrize("change", CHANGES)
def test_a_block_that_does_something_else_goes_by_its_layers(change: Callable[[Any], None]) -> None:
    ours, theirs = pair("inverted")
    found = []
    for model in (ours, theirs):
        change(model.block)
        torch.manual_seed(3)
        found.append(step(model))
        assert path(model) == "layer by layer"
    assert same(*found)


@pytest.mark.parametrize("rate", [0.5, 0.0])
@pytest.mark.parametrize("is_counted", [False, True])
@pytest.mark.parametrize("name", BLOCKS)
def test_dropped_paths_stay_fused_with_the_bits_and_draws_of_the_layers(
    name: str, is_counted: bool, rate: float
) -> None:
    ours, theirs = pair(name)
    found = []
    for model in (ours, theirs):
        model.block.drop_path = DropPath(rate)
        meter = meter_dropout(model, (), dropout=0.0, drop_path=rate) if is_counted else None
        torch.manual_seed(3)
        found.append([*step(model), *step(model), torch.get_rng_state()])
        if meter is not None and model.block.has_skip and rate:
            assert meter.effects()["drop_path"]["images"] == 8
    assert path(ours) == "fused block"
    assert same(*found)


def test_dropped_paths_have_the_gradients_of_pytorchs_layers() -> None:
    torch.manual_seed(1)
    exact = Layers(BLOCKS["inverted"]()).to(memory_format=torch.channels_last).train()
    exact.block.drop_path = DropPath(0.5)
    ours = copy.deepcopy(exact)
    swap.accelerate(ours, "native", {})
    exact.double()
    found = []
    for model in (ours, exact):
        torch.manual_seed(3)
        x = images().to(next(model.parameters()).dtype)
        draws = DropPath(0.5)(torch.ones(len(x), 1, 1, 1))
        torch.manual_seed(3)
        assert set(draws.flatten().tolist()) == {0.0, 2.0}  # some are dropped, some are not
        out = model(x)
        (out * torch.linspace(-1, 1, out.numel()).view(out.shape)).sum().backward()
        found.append([out.detach(), *(p.grad for p in model.parameters())])
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine.double(), theirs.double(), rtol=1e-3, atol=1e-4 * float(theirs.abs().max()))


def test_evaluation_and_other_layouts_see_the_block_itself() -> None:
    ours, theirs = pair("inverted")
    for model in (ours, theirs):
        found = explain(model.block, images().contiguous().requires_grad_())
        assert found[""].path == "layer by layer"
        model.eval()
    assert torch.equal(ours(images()), theirs(images()))


def test_a_network_trains_as_one_by_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    ours = timm.create_model("efficientnetv2_rw_t", num_classes=5).to(memory_format=torch.channels_last).train()
    theirs = copy.deepcopy(ours)
    swap.accelerate(ours, "native", {})
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1)).to(memory_format=torch.channels_last)
    copy.deepcopy(ours)(x).sum().backward()
    monkeypatch.setattr(swap, "use_fused_blocks", lambda _model: 0)
    swap.accelerate(theirs, "native", swap.chosen(ours))
    for model in (ours, theirs):
        model(x).logsumexp(1).sum().backward()
    assert "fused block" in {row.path for row in explain(ours, x).rows}
    assert same([p.grad for p in ours.parameters()], [p.grad for p in theirs.parameters()])  # type: ignore[misc]
