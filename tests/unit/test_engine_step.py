"""One optimizer step: what it adds up, how batches share it, and what clipping does."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seedwise.base.batch import Batch
from seedwise.engine.placement import Placement
from seedwise.engine.step import training_step
from seedwise.optim.config import LossConfig, SamConfig
from seedwise.optim.loss import Loss, build_loss
from seedwise.optim.sam import Sam

CPU = Placement(torch.device("cpu"), precision="fp32", channels_last=True)
CLASSES = 4


def net() -> nn.Module:
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 8, 3, padding=1)
    return nn.Sequential(conv, nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES))


def data(n: int, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    targets = torch.rand(n, CLASSES, generator=generator).pow(3)
    return Batch(torch.randn(n, 3, 6, 6, generator=generator), targets / targets.sum(dim=1, keepdim=True))


def loss(**options: object) -> Loss:
    return build_loss(LossConfig.model_validate(options), np.arange(CLASSES), CLASSES, CPU.device)


def plain_sgd(model: nn.Module, lr: float = 0.5) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=lr)


def cut(batch: Batch, *sizes: int) -> list[Batch]:
    return [Batch(i, t) for i, t in zip(batch.images.split(sizes), batch.targets.split(sizes), strict=True)]


@pytest.mark.parametrize("sizes", [(7, 3), (1, 9), (4, 4, 2), (1,) * 10], ids=str)
@pytest.mark.parametrize("options", [{}, {"smoothing": 0.1, "class_weights": (1.0, 0.0, 3.0, 0.5)}], ids=str)
def test_uneven_parts_equal_one_batch(sizes: tuple[int, ...], options: dict[str, object]) -> None:
    whole, parts = net(), net()
    batch = data(10)
    expected = training_step(whole, loss(**options), plain_sgd(whole), [batch], placement=CPU, clip_norm=None)
    got = training_step(parts, loss(**options), plain_sgd(parts), cut(batch, *sizes), placement=CPU, clip_norm=None)
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)
    for mine, theirs in zip(parts.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-7)


def test_sums_are_of_loss_and_probability_of_the_predicted_class() -> None:
    model, batch = net(), data(5)
    logits = model(batch.images).detach()
    expected_loss = -(batch.targets * logits.log_softmax(dim=1)).sum()
    expected_hits = sum(float(batch.targets[i, int(logits[i].argmax())]) for i in range(5))
    sums = training_step(model, loss(), plain_sgd(model), [batch], placement=CPU, clip_norm=None)
    assert not sums.requires_grad
    assert sums.tolist() == pytest.approx([float(expected_loss), expected_hits], rel=1e-6)


def test_hits_count_images_where_nothing_is_mixed() -> None:
    model, batch = net(), data(9)
    predicted = model(batch.images).argmax(dim=1)
    labels = torch.cat([predicted[:6], (predicted[6:] + 1) % CLASSES])
    hard = Batch(batch.images, torch.eye(CLASSES)[labels])
    assert training_step(model, loss(), plain_sgd(model), [hard], placement=CPU, clip_norm=None)[1] == 6


def moved(before: nn.Module, after: nn.Module) -> Tensor:
    return torch.cat([(b - a).flatten() for a, b in zip(before.parameters(), after.parameters(), strict=True)]).detach()


@pytest.mark.parametrize("parts", [(10,), (6, 4)], ids=str)
def test_clipping_scales_the_whole_gradient(parts: tuple[int, ...]) -> None:
    batches = cut(data(10), *parts)
    free, clipped, loose = net(), net(), net()
    start = net()
    for model, clip_norm in ((free, None), (clipped, 0.01), (loose, 1e6)):
        training_step(model, loss(), plain_sgd(model, lr=1.0), batches, placement=CPU, clip_norm=clip_norm)
    full = moved(start, free)
    assert full.norm() > 0.01
    torch.testing.assert_close(moved(start, clipped), full * (0.01 / full.norm()), rtol=1e-3, atol=1e-7)
    assert torch.equal(moved(start, loose), full)


def test_a_step_forgets_the_gradients_before_it() -> None:
    once, twice = net(), net()
    twice[0].weight.grad = torch.ones_like(twice[0].weight)  # type: ignore[index, union-attr]
    for model in (once, twice):
        training_step(model, loss(), plain_sgd(model), [data(4)], placement=CPU, clip_norm=None)
    assert torch.equal(once[0].weight, twice[0].weight)  # type: ignore[index]


def test_frozen_parameters_stay() -> None:
    model = net()
    model[0].requires_grad_(False)  # type: ignore[index]
    before = copy.deepcopy(model)
    training_step(model, loss(), plain_sgd(model), [data(4)], placement=CPU, clip_norm=1.0)
    assert torch.equal(model[0].weight, before[0].weight)  # type: ignore[index]
    assert not torch.equal(model[4].weight, before[4].weight)  # type: ignore[index]


def test_bf16_computes_the_model_in_bf16_and_the_loss_in_fp32() -> None:
    seen: list[torch.dtype] = []
    model = net()
    model[4].register_forward_hook(lambda module, args, output: seen.append(output.dtype))  # type: ignore[index]
    bf16 = Placement(CPU.device, precision="bf16", channels_last=True)
    sums = training_step(model, loss(), plain_sgd(model), [data(4)], placement=bf16, clip_norm=None)
    assert seen == [torch.bfloat16]
    assert sums.dtype == torch.float32
    assert {p.dtype for p in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("parts", [(10,), (6, 4)], ids=str)
def test_sharpness_aware_steps_are_those_of_the_paper(parts: tuple[int, ...]) -> None:
    """Algorithm 1 of arXiv 2010.01412 written out: the gradient at w + rho g / ||g||, applied at w."""
    model, reference, batch, rho, lr = net(), net(), data(10), 0.3, 0.5
    sam = Sam(SamConfig(rho=rho))
    before = training_step(model, loss(), plain_sgd(model), cut(batch, *parts), placement=CPU, clip_norm=None, sam=sam)

    def gradients(of: nn.Module) -> tuple[float, list[Tensor]]:
        value = loss()(of(batch.images), batch.targets)
        return float(value.detach()), list(torch.autograd.grad(value, list(of.parameters())))

    here, g = gradients(reference)
    norm = torch.cat([each.flatten() for each in g]).norm()
    there = copy.deepcopy(reference)
    with torch.no_grad():
        for weight, each in zip(there.parameters(), g, strict=True):
            weight.add_(rho * each / norm)
    risen, second = gradients(there)
    for mine, theirs, each in zip(model.parameters(), reference.parameters(), second, strict=True):
        torch.testing.assert_close(mine, theirs - lr * each, rtol=1e-5, atol=1e-6)
    assert float(before[0]) == pytest.approx(10 * here, rel=1e-5)
    assert sam.effects()["sam"]["loss_rise"] == pytest.approx(risen - here, rel=1e-3)


def test_the_second_pass_drops_the_same_and_leaves_running_statistics_alone() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(108, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, CLASSES))
    plain, masks = copy.deepcopy(model), []
    model[3].register_forward_hook(lambda module, given, out: masks.append(out == 0))
    for it, sam in ((plain, None), (model, Sam(SamConfig()))):
        torch.manual_seed(5)
        training_step(it, loss(), plain_sgd(it), [data(10)], placement=CPU, clip_norm=None, sam=sam)
    first, second = masks
    assert torch.equal(first, second)
    for mine, theirs in zip(model.buffers(), plain.buffers(), strict=True):
        assert torch.equal(mine, theirs)
