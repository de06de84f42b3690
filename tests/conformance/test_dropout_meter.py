"""Stochastic depth against timm and torchvision, its linear rule, and counts of what was dropped."""

import copy

import pytest
import torch
from timm.layers.drop import DropPath
from torch import Tensor, nn
from torchvision.ops import stochastic_depth

from seedwise.models.build import build_model
from seedwise.models.config import ModelConfig
from seedwise.models.dropout_meter import CountedDropPath, meter_dropout

SHAPES = [(1, 3, 5, 7), (64, 2, 3, 3), (33, 10)]


class Net(nn.Module):
    """Three branches, of which the first is never dropped, and a dropout layer."""

    def __init__(self, rates: tuple[float, ...] = (0.0, 0.2, 0.5), dropout: float = 0.3) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.ModuleDict({"drop_path": DropPath(rate)}) for rate in rates)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + block["drop_path"](x)
        return self.head(self.drop(x))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("threads", [1, 2])
def test_it_is_timms_and_torchvisions_bit_by_bit(shape: tuple[int, ...], rate: float, threads: int) -> None:
    model = nn.ModuleDict({"drop_path": DropPath(rate)})
    meter_dropout(model, (), dropout=0.0, drop_path=rate)
    ours = model["drop_path"]
    assert type(ours) is CountedDropPath
    x, before = torch.randn(shape), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        results = []
        for drop in (ours, DropPath(rate), lambda x: stochastic_depth(x, rate, "row")):
            torch.manual_seed(5)
            results.append(drop(x))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])
    for image, result in zip(x, results[0]):  # the paper, image by image
        assert torch.equal(result, torch.zeros_like(image)) or torch.allclose(result, image / (1 - rate))
    dropped = int((results[0].flatten(1) == 0).all(dim=1).sum())
    assert ours.counts.tolist() == [dropped, shape[0]]
    assert torch.equal(ours.eval()(x), x)
    assert ours.counts.tolist() == [dropped, shape[0]]


@pytest.mark.parametrize(("name", "blocks"), [("small", 6), ("efficientnet_lite0", 16)])
def test_the_rate_of_block_i_of_n_is_rate_times_i_over_n(name: str, blocks: int) -> None:
    config = ModelConfig(name=name, weights="none", drop_path=0.3, dropout=0.2)
    model = build_model(config, num_classes=4, seed=0).module
    meter = meter_dropout(model, ("classifier",), dropout=0.2, drop_path=0.3)
    rates = {int(number): block.drop_prob for number, block in meter.blocks.items()}
    assert rates == {i: pytest.approx(0.3 * i / blocks) for i in range(1, blocks)}
    model.train()
    for _ in range(3):
        model(torch.randn(50, 3, 32, 32))
    effects = meter.effects()
    shares = {key: value for key, value in effects["drop_path"].items() if key.startswith("block_")}
    met = len(shares)  # a block without a shortcut has no branch to drop
    assert effects["drop_path"]["blocks"] == met and 0 < met <= blocks - 1
    for key, share in shares.items():
        rate = rates[int(key.removeprefix("block_"))]
        assert abs(share - rate) < 4.5 * (rate * (1 - rate) / 150) ** 0.5
    assert effects["drop_path"]["images"] == effects["dropout"]["images"] == 150
    assert abs(effects["dropout"]["share"] - 0.2) < 0.02


def test_without_drop_path_every_model_has_none() -> None:
    model = build_model(ModelConfig(name="efficientnet_lite0", weights="none"), num_classes=4, seed=0).module
    assert not [m for m in model.modules() if isinstance(m, DropPath)]
    assert "drop_path" not in meter_dropout(model, ("classifier",), dropout=0.2, drop_path=0.0).effects()


def test_counting_changes_no_bit_and_no_state() -> None:
    plain = Net()
    counted = copy.deepcopy(plain)
    meter = meter_dropout(counted, ("head",), dropout=0.3, drop_path=0.5)
    assert counted.state_dict().keys() == plain.state_dict().keys()
    results = []
    for net in (plain, counted, copy.deepcopy(counted)):
        torch.manual_seed(1)
        results.append(net(torch.ones(40, 8)))
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])
    assert meter.effects()["drop_path"]["images"] == 40  # a copy, such as the average's, counts for itself


def test_counts_resume_exactly() -> None:
    whole, halves = Net(), [Net(), Net()]
    meters = [meter_dropout(net, ("head",), dropout=0.3, drop_path=0.5) for net in (whole, *halves)]
    for step in range(4):
        for net in (whole, halves[step // 2]):
            torch.manual_seed(step)
            net(torch.ones(7, 8))
        if step == 1:
            meters[2].load_state(meters[1].state())
    assert meters[2].effects() == meters[0].effects()
    assert meters[0].effects()["dropout"]["images"] == 28


def test_a_dropout_that_is_nowhere_is_not_judged() -> None:
    assert meter_dropout(nn.Linear(2, 2), (), dropout=0.2, drop_path=0.0).effects() == {}
