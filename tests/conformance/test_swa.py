"""The mean of the weights, its learning rate and its BatchNorm statistics against torch.optim.swa_utils."""

import copy
from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
from test_ema import Tied, net, trained
from torch import Tensor, nn
from torch.optim.swa_utils import SWALR, AveragedModel, update_bn

from seedwise.base.errors import UserError
from seedwise.engine.placement import Placement
from seedwise.engine.statistics import estimate_statistics, has_statistics
from seedwise.kernels.swap import accelerate, available
from seedwise.models.freezing import freeze
from seedwise.models.small import SmallNet
from seedwise.optim.config import Cosine, OneCycle, OptimConfig, SwaConfig
from seedwise.optim.optimizers import set_lr
from seedwise.optim.schedules import lr_at
from seedwise.optim.swa import Swa
from seedwise.recipe import library

Every = Literal["epoch"] | int
CPU = Placement(torch.device("cpu"), precision="fp32", channels_last=True)


@pytest.mark.parametrize(
    ("start", "every", "expected"),
    [
        (0.75, "epoch", [15, 20]),  # the weights with which averaging begins count, as in the paper's algorithm 1
        (0.8, "epoch", [20]),
        (0.0, "epoch", [5, 10, 15, 20]),
        (0.5, 4, [12, 16, 20]),
        (0.99, 7, [20]),
        (0.0, 6, [2, 8, 14, 20]),
    ],
)
def test_it_is_torchs(start: float, every: Every, expected: list[int]) -> None:
    model = net()
    mine = Swa(SwaConfig(start=start, every=every), model, steps_per_epoch=5, total_steps=20)
    theirs, slow = AveragedModel(model), [torch.zeros_like(p, dtype=torch.float64) for p in model.parameters()]
    due = []
    for step in trained(model, 20):
        before = mine.averaged(step - 1)
        mine.update(model, step)
        if mine.averaged(step) > before:
            due.append(step)
            theirs.update_parameters(model)
            slow = [total + p.detach().double() for total, p in zip(slow, model.parameters(), strict=True)]
    assert due == expected and mine.averaged(20) == len(expected)
    ours, wanted = mine.module.state_dict(), theirs.module.state_dict()
    assert ours.keys() == wanted.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-6, atol=1e-7)
    for mean, total in zip(mine.module.parameters(), slow, strict=True):
        torch.testing.assert_close(mean.double(), total / len(due), rtol=1e-5, atol=1e-6)
    assert not mine.module.training and not any(p.requires_grad for p in mine.module.parameters())


def test_shared_weights_are_averaged_once_and_uncopyable_networks_refused() -> None:
    model = Tied()
    swa = Swa(SwaConfig(start=0, every=1), model, steps_per_epoch=1, total_steps=2)
    before = model.first.weight.detach().clone()
    for step in (1, 2):
        with torch.no_grad():
            model.first.weight.add_(1)
        swa.update(model, step)
    assert isinstance(swa.module, Tied)
    torch.testing.assert_close(swa.module.first.weight, before + 1.5)

    class Stubborn(Tied):
        def __deepcopy__(self, memo: Any) -> Any:
            raise TypeError("no")

    with pytest.raises(UserError, match=r"^optim\.swa: the network can't be copied \(no\); set optim\.swa to null$"):
        Swa(SwaConfig(), Stubborn(), steps_per_epoch=1, total_steps=2)


@pytest.mark.parametrize("schedule", [Cosine(warmup_epochs=1), OneCycle()], ids=lambda it: it.name)
@pytest.mark.parametrize("start", [0.75, 0.33])
def test_its_rate_is_swalrs(schedule: Cosine | OneCycle, start: float) -> None:
    """SWALR without annealing, from the start of averaging; the recipe's schedule before it, and without `lr`."""
    plain = OptimConfig(lr=0.1, schedule=schedule)
    on = plain.model_copy(update={"swa": SwaConfig(start=start, lr=0.03)})
    unchanged = plain.model_copy(update={"swa": SwaConfig(start=start)})
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    swalr = None
    for step in range(40):
        known: dict[str, int] = {"steps_per_epoch": 4, "total_steps": 40}
        mine, schedules = lr_at(on, step, **known), lr_at(plain, step, **known)
        assert lr_at(unchanged, step, **known) == schedules
        if step < round(start * 40):
            set_lr(optimizer, schedules)
            assert mine == schedules
        else:
            swalr = swalr or SWALR(optimizer, swa_lr=0.03, anneal_epochs=0)
            optimizer.step()
            swalr.step()
            assert mine == pytest.approx(swalr.get_last_lr()[0])


def batches(count: int = 5) -> list[Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [2 * torch.randn(4, 3, 16, 16, generator=generator) + 1 for _ in range(count)]


def moved(model: nn.Module) -> nn.Module:
    """After a few steps, so that statistics and counts are no fresh network's; as an average is: evaluated."""
    for _ in trained(model, 3):
        pass
    return model.eval().requires_grad_(False)


def plain() -> nn.Module:
    return moved(net())


def with_a_momentum_of_its_own() -> nn.Module:
    model = net()
    model.stem[1].momentum = None  # type: ignore[index, union-attr]
    return moved(model)


def accelerated() -> nn.Module:
    model = net()
    accelerate(model, "native" if available() else "fallback", {})
    return moved(model)


@pytest.mark.parametrize("build", [plain, with_a_momentum_of_its_own, accelerated])
def test_statistics_are_update_bns(build: Callable[[], nn.Module]) -> None:
    model, theirs = build(), build()
    state = torch.random.get_rng_state()
    estimate_statistics(model, batches(), placement=CPU, seed=0)
    torch.random.set_rng_state(state)
    update_bn([each.contiguous(memory_format=torch.channels_last) for each in batches()], theirs)
    before = build().state_dict()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, theirs.state_dict()[name], rtol=1e-6, atol=1e-6)
        assert torch.equal(value, before[name]) != ("running" in name or "tracked" in name), name
    assert not model.training
    momenta = [[m.momentum for m in it.modules() if isinstance(m, nn.BatchNorm2d)] for it in (model, build())]
    assert momenta[0] == momenta[1]


def test_statistics_that_stay() -> None:
    """Of frozen stages, of a network without BatchNorm, and of one that keeps none."""
    model = freeze(SmallNet(3), 2, ("classifier",), 16).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert has_statistics(model)
    estimate_statistics(model, batches(), placement=CPU, seed=0)
    moved_ones = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved_ones and not any(name.startswith("stem") for name in moved_ones)
    none = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.BatchNorm2d(4, track_running_stats=False)).eval()
    assert not has_statistics(none) and not none.training
    assert not has_statistics(freeze(SmallNet(3), 4, ("classifier",), 16).eval())


def test_dropout_is_drawn_from_the_seed() -> None:
    start = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(768, 4), nn.BatchNorm1d(4)).eval()

    def found(seed: int, rank: int = 0) -> Tensor:
        model = copy.deepcopy(start)
        estimate_statistics(model, batches(), placement=CPU, seed=seed, rank=rank)
        mean = model[3].running_mean
        assert isinstance(mean, Tensor)
        return mean

    assert torch.equal(found(1), found(1))
    assert not torch.equal(found(1), found(2)) and not torch.equal(found(1), found(1, rank=1))


@pytest.mark.parametrize(
    ("beside", "message"),
    [
        ("optim.ema=default", r"optim\.swa=default: a run has one average .* set one to null$"),
        ("train.patience=2", r"optim\.swa=default: averages the last part .* set one to null$"),
    ],
)
def test_what_does_not_go_together_is_refused(beside: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        library.read("demo", ["optim.swa=default", beside])
