"""The average of the weights against timm's ModelEmaV3 and a slow loop."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from seedwise.base.errors import UserError
from seedwise.models.small import SmallNet
from seedwise.optim.config import EmaConfig
from seedwise.optim.ema import Ema, relative_distance

STEPS = 20


def trained(model: nn.Module, steps: int = STEPS) -> Iterator[int]:
    """Trains on noise; yields after each step, counted from 1."""
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        logits = model(torch.randn(4, 3, 16, 16, generator=generator))
        nn.functional.cross_entropy(logits, torch.arange(4) % 3).backward()
        optimizer.step()
        yield step


def net() -> nn.Module:
    torch.manual_seed(0)
    return SmallNet(3).to(memory_format=torch.channels_last)


@pytest.mark.parametrize("decay", [0.9, 0.5, 0.9999])
@pytest.mark.parametrize("warmup", [False, True])
def test_it_is_timms(decay: float, warmup: bool) -> None:
    """timm's warm-up 1 - (1 + s / gamma)^-power with gamma 9, power 1 is ours, two of its steps later."""
    model = net()
    mine = Ema(EmaConfig(decay=decay, warmup=warmup), model)
    theirs = ModelEmaV3(model, decay=decay, use_warmup=warmup, warmup_gamma=9, warmup_power=1)
    for step in trained(model):
        mine.update(model, step)
        theirs.update(model, step=step + 2 if warmup else None)
        if warmup:
            assert mine.decay_at(step) == pytest.approx(theirs.get_decay(step + 2), abs=1e-12)
    ours, expected = mine.module.state_dict(), theirs.module.state_dict()
    assert ours.keys() == expected.keys()
    for name, value in ours.items():
        torch.testing.assert_close(
            value, expected[name], rtol=0 if not warmup else 1e-6, atol=0 if not warmup else 1e-7
        )
    assert int(ours["blocks.0.bn1.num_batches_tracked"]) == STEPS


def test_it_is_the_formula() -> None:
    model = net()
    ema = Ema(EmaConfig(decay=0.8), model)
    slow = {name: value.double() for name, value in model.state_dict().items()}
    for step in trained(model):
        ema.update(model, step)
        d = min(0.8, (1 + step) / (10 + step))
        slow = {name: d * slow[name] + (1 - d) * value.double() for name, value in model.state_dict().items()}
    for name, value in ema.module.state_dict().items():
        if value.is_floating_point():  # running statistics are averaged too
            torch.testing.assert_close(value.double(), slow[name], rtol=1e-4, atol=1e-6)
    flat = [torch.cat([p.detach().double().flatten() for p in m.parameters()]) for m in (ema.module, model)]
    expected = float((flat[0] - flat[1]).norm() / flat[1].norm())
    assert relative_distance(ema.module, model) == pytest.approx(expected, rel=1e-12) and expected > 1e-3


def test_the_model_is_left_alone() -> None:
    model, alone = net(), net()
    ema = Ema(EmaConfig(), model)
    state = torch.random.get_rng_state()
    for step in trained(model, 5):
        ema.update(model, step)
    for _ in trained(alone, 5):
        pass
    assert torch.equal(torch.random.get_rng_state(), state)
    assert model.training and not ema.module.training
    assert all(p.requires_grad for p in model.parameters())
    assert not any(it.requires_grad for it in (*ema.module.parameters(), *ema.module.buffers()))
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), alone.state_dict().values(), strict=True))
    assert ema.module.get_submodule("blocks.0.conv1").weight.is_contiguous(memory_format=torch.channels_last)  # type: ignore[union-attr, operator]


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))


def test_shared_weights_are_averaged_once() -> None:
    model = Tied()
    ema = Ema(EmaConfig(decay=0.75, warmup=False), model)
    before = model.first.weight.detach().clone()
    with torch.no_grad():
        model.first.weight.add_(1)
    ema.update(model, 1)
    assert isinstance(ema.module, Tied)
    torch.testing.assert_close(ema.module.first.weight, before + 0.25)
    assert ema.module.first.weight is ema.module.second.weight


def test_a_network_that_can_not_be_copied_is_refused() -> None:
    class Stubborn(Tied):
        def __deepcopy__(self, memo: Any) -> Any:
            raise TypeError("no.\nNever")

    with pytest.raises(UserError, match=r"^optim\.ema: the network can't be copied \(no\); set optim\.ema to null$"):
        Ema(EmaConfig(), Stubborn())
    assert copy.deepcopy(Tied()) is not None


def test_of_weights_that_are_all_zero() -> None:
    model = nn.Linear(2, 2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert relative_distance(model, copy.deepcopy(model)) == 0
