"""Muon: matrices against torch.optim.Muon and a float64 loop, all else against torch.optim.AdamW, bit for bit."""

from collections.abc import Iterator
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from seedwise.models.small import SmallNet
from seedwise.optim.config import Muon, OptimConfig
from seedwise.optim.groups import group_effects, parameter_groups
from seedwise.optim.muon import COEFFICIENTS, ITERATIONS, matrices, orthogonalized
from seedwise.optim.optimizers import build_optimizer, set_lr

RATES = [0.1, 0.07, 0.03, 0.2]


class Net(nn.Module):
    """Every kind of weight, each in the layout that it trains in."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6)
        self.depthwise, self.grouped = nn.Conv2d(6, 6, 3, groups=6), nn.Conv2d(6, 8, 3, groups=2)
        self.project, self.tall, self.table = nn.Conv2d(8, 20, 1), nn.Linear(20, 5), nn.Embedding(7, 5)
        self.classifier = nn.Linear(5, 3)


MATRICES = {"stem": 1, "grouped": 2, "project": 1, "tall": 1}


def net() -> nn.Module:
    torch.manual_seed(0)
    return Net().to(memory_format=torch.channels_last)


def stepped(config: OptimConfig, model: nn.Module, rates: list[float]) -> Iterator[dict[str, Tensor]]:
    """Steps by seedwise's optimizer; yields each step's gradients, before it is made."""
    groups = parameter_groups(config, model, ("classifier",))
    optimizer = build_optimizer(config, groups)
    generator = torch.Generator().manual_seed(1)
    for lr in rates:
        for parameter in model.parameters():  # contiguous, the weights are not
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        yield {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        set_lr(optimizer, lr)
        optimizer.step()


@pytest.mark.parametrize("bf16", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize(
    "options",
    [{}, {"matrix_momentum": 0.5, "adjust_lr": "original", "betas": (0.5, 0.9), "eps": 0.1}, {"matrix_lr": 0.5}],
    ids=str,
)
def test_it_is_torchs(options: dict[str, Any], bf16: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each 2-d matrix steps as under torch's Muon, in its bfloat16 or, for close comparison, made to stay in float32;
    all other parameters as under torch's AdamW, bit for bit."""
    if not bf16:
        monkeypatch.setattr(Tensor, "bfloat16", lambda self: self.float().clone())
    algorithm = Muon(**options)
    config = OptimConfig(algorithm=algorithm, lr=0.1, weight_decay=0.1)
    mine, theirs = net(), net()
    flat: dict[str, list[nn.Parameter]] = {}
    for module, count in MATRICES.items():
        weight = theirs.get_submodule(module).weight
        assert isinstance(weight, Tensor)
        pieces = weight.detach().reshape(count, len(weight) // count, -1)
        flat[f"{module}.weight"] = [nn.Parameter(piece.clone()) for piece in pieces]
    every = [one for parts in flat.values() for one in parts]
    others = {name: p for name, p in theirs.named_parameters() if name not in flat}
    muon = torch.optim.Muon(
        every, weight_decay=0.1, momentum=algorithm.matrix_momentum, adjust_lr_fn=algorithm.adjust_lr
    )
    adamw = torch.optim.AdamW(others.values(), weight_decay=0.1, betas=algorithm.betas, eps=algorithm.eps, fused=True)
    rates = iter(RATES)
    steps = stepped(config, mine, RATES)
    for gradients in steps:
        for name, parts in flat.items():
            pieces = gradients[name].reshape(len(parts), *parts[0].shape)
            for part, piece in zip(parts, pieces, strict=True):
                part.grad = piece.clone()
        for name, other in others.items():
            other.grad = gradients[name].clone(memory_format=torch.contiguous_format)
        lr = next(rates)
        set_lr(adamw, lr)
        set_lr(muon, lr if algorithm.matrix_lr is None else lr * algorithm.matrix_lr / 0.1)
        muon.step()
        adamw.step()
    now, start = ({name: p.detach() for name, p in it.named_parameters()} for it in (mine, net()))
    assert all(torch.equal(now[name], other) for name, other in others.items())
    for name, parts in flat.items():
        expected = torch.cat([part.detach() for part in parts]).reshape(now[name].shape)
        apart = float((now[name] - expected).norm() / (expected - start[name]).norm())
        assert apart < (0.03 if bf16 else 3e-6), (name, apart)
        assert bf16 or float((now[name] - start[name]).norm()) > 0.1


def loop(gradient: Tensor) -> Tensor:
    """The reference's iterations, in float64 and in its order."""
    a, b, c = COEFFICIENTS
    x = gradient.double()
    x = x.T if x.shape[0] > x.shape[1] else x
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if gradient.shape[0] > gradient.shape[1] else x


@pytest.mark.parametrize("shape", [(8, 72), (72, 8), (24, 24), (1, 9), (5, 1)], ids=str)
@pytest.mark.parametrize("kind", ["plain", "half its columns 0", "one direction a thousand times the rest", "tiny"])
def test_regrouped_iterations_are_those_of_the_paper(shape: tuple[int, int], kind: str) -> None:
    generator = torch.Generator().manual_seed(3)
    many = torch.randn(2, *shape, generator=generator)
    if kind == "half its columns 0":
        many[:, :, ::2] = 0
    elif kind == "tiny":
        many *= 1e-3
    elif kind != "plain":
        many[:, 0] *= 1e3
    found = orthogonalized(many)
    for mine, each in zip(found, many, strict=True):
        expected = loop(each)
        assert float((mine - expected).norm() / expected.norm().clamp(min=1e-9)) < 4e-3
    assert kind != "plain" or max(torch.linalg.svdvals(found[0]) - 1) < 0.3  # the singular values are near 1


def test_no_gradient_is_no_step() -> None:
    assert torch.equal(orthogonalized(torch.zeros(2, 3, 4)), torch.zeros(2, 3, 4))


@pytest.mark.parametrize(
    ("name", "count", "without"),
    [
        ("tf_efficientnet_lite0", 33, {"classifier.weight"}),
        ("resnet18", 20, {"fc.weight"}),
        ("vit_tiny_patch16_224", 49, {"cls_token", "pos_embed", "head.weight"}),
        ("regnety_002", 70, {"head.fc.weight"}),
    ],
)
def test_what_goes_by_muon(name: str, count: int, without: set[str]) -> None:
    model = timm.create_model(name, num_classes=3)
    found = matrices(model, (str(model.pretrained_cfg["classifier"]),))
    parameters = dict(model.named_parameters())
    left = {each for each, p in parameters.items() if p.ndim > 1} - found.keys()
    assert len(found) == count
    assert {each for each in left if "conv_dw" not in each} == without


@pytest.mark.parametrize("matrix_lr", [None, 0.3])
def test_rates_multiply(matrix_lr: float | None) -> None:
    """Layer decay and a rate of the matrices' own reach each other's parameters; the head has its own alone."""
    config = OptimConfig(
        algorithm=Muon(matrix_lr=matrix_lr),
        lr=0.1,
        head_lr=0.5,
        layer_decay=0.5,
        weight_decay=0.1,
        decay_norms_and_biases=False,
    )
    model = SmallNet(3)
    for parameter in model.stem.parameters():
        parameter.requires_grad_(False)
    groups = parameter_groups(config, model, ("classifier",))
    plain = parameter_groups(config.model_copy(update={"algorithm": OptimConfig().algorithm}), model, ("classifier",))
    mine = {id(p): (g["lr_scale"], g["weight_decay"], g["matrices"]) for g in groups for p in g["params"]}
    expected = {id(p): (g["lr_scale"], g["weight_decay"]) for g in plain for p in g["params"]}
    assert mine.keys() == expected.keys()
    for parameter in model.parameters():
        if parameter.requires_grad:
            scale, decay, count = mine[id(parameter)]
            is_matrix = parameter.ndim == 4
            assert count == is_matrix and decay == expected[id(parameter)][1]
            factor = 3.0 if is_matrix and matrix_lr else 1.0
            assert scale == pytest.approx(factor * expected[id(parameter)][0])
    optimizer = build_optimizer(config, groups)
    assert group_effects(config, model, ("classifier",), optimizer)["muon"]["matrices"] == 0
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    frozen = [p.clone() for p in model.stem.parameters()]
    optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(frozen, model.stem.parameters(), strict=True))
    effects = group_effects(config, model, ("classifier",), optimizer)
    weights = [p.numel() for p in model.parameters() if p.ndim == 4 and p.requires_grad]
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert effects["muon"] == {
        "matrices": len(weights),
        "parameters": sum(weights),
        "share": pytest.approx(sum(weights) / trained),
    }
    assert effects["layer_decay"]["layers"] == 6  # the stem is frozen, the head has a rate of its own
