"""fp16: the loss is scaled, overflowing steps are skipped, as by torch's own recipe; and a stop changes nothing."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from test_engine_step import CPU, cut, data, loss, net
from torch import Tensor, nn

from seedwise.engine.loss_scale import LossScale
from seedwise.engine.placement import Placement
from seedwise.engine.step import training_step
from seedwise.optim.config import SamConfig
from seedwise.optim.sam import Sam

FP16 = Placement(CPU.device, precision="fp16", channels_last=True)
Optimizer = Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer]
OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": lambda it: torch.optim.SGD(it, lr=0.5, momentum=0.9, fused=True),
    "adamw": lambda it: torch.optim.AdamW(it, lr=0.01, fused=True),
    "not fused": lambda it: torch.optim.AdamW(it, lr=0.01, foreach=False),
}


def reference_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    sizes: tuple[int, ...],
    clip: float | None,
) -> None:
    """A step as the page "Automatic Mixed Precision examples" of PyTorch writes it."""
    parts = cut(data(10), *sizes)
    optimizer.zero_grad()
    for part in parts:
        with torch.autocast("cpu", torch.float16):
            value = loss()(model(part.images), part.targets) * len(part.targets) / 10
        scaler.scale(value).backward()
    if clip is not None:
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
    scaler.step(optimizer)
    scaler.update()


@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize("sizes", [(10,), (6, 4)], ids=str)
@pytest.mark.parametrize("of", OPTIMIZERS)
def test_steps_are_those_of_torchs_own_recipe(of: str, sizes: tuple[int, ...], clip: float | None) -> None:
    model, reference = net(), net()
    ours, theirs = OPTIMIZERS[of](model.parameters()), OPTIMIZERS[of](reference.parameters())
    scale, scaler = LossScale(CPU.device), torch.amp.GradScaler("cpu")
    start = copy.deepcopy(model)
    for _ in range(3):
        batches = cut(data(10), *sizes)
        training_step(model, loss(), ours, batches, placement=FP16, clip_norm=clip, scale=scale)
        reference_step(reference, theirs, scaler, sizes, clip)
    for mine, its, first in zip(model.parameters(), reference.parameters(), start.parameters(), strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-4, atol=1e-6)
        assert not torch.equal(mine, first)
    assert scale.effects()["loss_scale"] == {"scale": scaler.get_scale(), "skipped_steps": 0}


class Overflowing(nn.Module):
    """The loss, whose gradient is infinite in the passes that are told."""

    def __init__(self, overflows: list[bool]) -> None:
        super().__init__()
        self.overflows = iter(overflows)

    def forward(self, logits: Tensor, targets: Tensor, teacher: Tensor | None = None) -> Tensor:
        if next(self.overflows):
            logits.register_hook(lambda gradient: gradient * torch.inf)
        return loss()(logits, targets)


def steps(model: nn.Module, overflows: list[bool], scale: LossScale, sam: Sam | None = None) -> torch.optim.Optimizer:
    """Steps, each of two passes with `sam`."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, fused=True)
    of: Any = Overflowing(overflows)
    for _ in overflows[:: 1 if sam is None else 2]:
        training_step(model, of, optimizer, [data(10)], placement=FP16, clip_norm=None, scale=scale, sam=sam)
    return optimizer


def test_a_step_that_overflows_changes_nothing_and_halves_the_scale() -> None:
    skipping, never = net(), net()
    scale, other = LossScale(CPU.device), LossScale(CPU.device)
    optimizer = steps(skipping, [False, True, False], scale)
    steps(never, [False, False], other)
    assert scale.effects()["loss_scale"] == {"scale": 2.0**15, "skipped_steps": 1}
    assert other.effects()["loss_scale"] == {"scale": 2.0**16, "skipped_steps": 0}
    for mine, its in zip(skipping.parameters(), never.parameters(), strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-3, atol=1e-5)  # of another scale
    assert {int(state["step"]) for state in optimizer.state.values()} == {2}


def test_an_overflow_of_a_sharpness_aware_step_leaves_the_weights_and_the_count_whole() -> None:
    model, sam, scale = net(), Sam(SamConfig(rho=0.1)), LossScale(CPU.device)
    before = copy.deepcopy(model)
    steps(model, [True, False], scale, sam)
    for mine, its in zip(model.parameters(), before.parameters(), strict=True):
        assert torch.equal(mine, its)
    assert scale.effects()["loss_scale"]["skipped_steps"] == 1
    assert sam.effects()["sam"]["loss_rise"] == 0


def test_scale_and_counts_go_on_after_a_stop() -> None:
    through, stopped = LossScale(CPU.device), LossScale(CPU.device)
    steps(net(), [True, True, False, True], through)
    steps(net(), [True, True], stopped)
    after = LossScale(CPU.device)
    after.load_state(stopped.state())
    steps(net(), [False, True], after)
    assert after.state() == through.state()
    assert after.effects()["loss_scale"] == {"scale": 2.0**13, "skipped_steps": 3}
