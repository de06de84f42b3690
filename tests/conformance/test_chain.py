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

from seedwise.kernels import swap

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
    "both": ["fused", "onednn+native", "native+onednn", "onednn+onednn", "native+native"],
}
"""By the first word of a choice's key."""


def drawn(choices: dict[str, str], seed: int) -> dict[str, str]:
    """For each choice any of the implementations."""
    draw = random.Random(seed)
    return {key: draw.choice(IMPLEMENTATIONS[key.partition(" ")[0]]) for key in choices}


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
    choices = swap.chosen(ours)
    if seed is not None:
        choices, ours = drawn(choices, seed), copy.deepcopy(theirs)
        swap.accelerate(ours, "native", choices)
    swap.accelerate(theirs, "native", choices)
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


def nodes(out: Tensor) -> set[str]:
    found, waiting = set(), [out.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None:
            found.add(type(node).__name__)
            waiting += [before for before, _ in node.next_functions]
    return found


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("name", BLOCKS)
def test_has_the_bits_of_its_layers(name: str) -> None:
    ours, theirs = pair(name)
    assert same(step(ours), step(theirs)) and same(step(ours), step(theirs))
    assert nodes(ours(images())) <= {"_ChainBackward", "_PointwiseBackward", "AccumulateGrad"}
    assert "_NormActBackward" in nodes(theirs(images()))
    assert ours.state_dict().keys() == theirs.state_dict().keys()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", BLOCKS)
def test_kernels_that_wait_and_pytorchs_own_operators_keep_their_order(name: str, seed: int) -> None:
    ours, theirs = pair(name, seed)
    assert same(step(ours), step(theirs))
    assert "_ChainBackward" in nodes(ours(images()))
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


def stochastic(block: Any) -> None:
    block.drop_path = DropPath(0.5)


def other_squeeze(block: Any) -> None:
    block.se.gate = nn.Hardsigmoid()


@pytest.mark.parametrize("change", [watched, watched_identity, frozen, quiet_norm, stochastic, other_squeeze])
def test_a_block_that_does_something_else_goes_by_its_layers(change: Callable[[Any], None]) -> None:
    ours, theirs = pair("inverted")
    found = []
    for model in (ours, theirs):
        change(model.block)
        torch.manual_seed(3)
        found.append(step(model))
        assert "_ChainBackward" not in nodes(model(images()))
    assert same(*found)


def test_evaluation_and_other_layouts_see_the_block_itself() -> None:
    ours, theirs = pair("inverted")
    for model in (ours, theirs):
        assert "_ChainBackward" not in nodes(model.block(images().contiguous().requires_grad_()))
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
    assert "_ChainBackward" in nodes(ours(x))
    assert same([p.grad for p in ours.parameters()], [p.grad for p in theirs.parameters()])  # type: ignore[misc]
