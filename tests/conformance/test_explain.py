"""`kernels.explain`: the path of each layer in a training step, and why it is not a faster one."""

import copy
from collections.abc import Callable

import pytest
import timm
import torch
from timm.layers.drop import DropPath
from torch import Tensor, nn

from seedwise.base.errors import UserError
from seedwise.kernels import explain, swap
from seedwise.kernels.layers import batch_norm

LITE, SMALL = "tf_efficientnet_lite0", "efficientnetv2_rw_t"


def network(name: str, kernels: swap.Kernels = "native") -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = timm.create_model(name, num_classes=5, drop_path_rate=0.2).to(memory_format=torch.channels_last)
    swap.accelerate(model, kernels, {})
    return model


def images(side: int = 32) -> Tensor:
    x = torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(1))
    return x.to(memory_format=torch.channels_last)


def test_lite_goes_by_fused_depthwise_blocks_and_edge_residuals_by_fused_blocks() -> None:
    lite, smooth = explain(network(LITE), images(64)), explain(network(SMALL), images())
    assert "fused depthwise block" in lite["blocks.1.1"].path and lite["blocks.1.1"].kind == "InvertedResidual"
    assert lite["blocks.1.1.conv_dw"].path == f"in its {lite['blocks.1.1'].path}"
    assert lite["blocks.0.0"].path == "layer by layer" and "DepthwiseSeparableConv" in str(lite["blocks.0.0"].why)
    assert "stride" in str(lite["conv_stem"].why)
    assert smooth["blocks.1.1"].path == "fused block" and smooth["blocks.1.1"].why is None  # paths are dropped there
    assert smooth["blocks.1.0"].path == "layer by layer" and "Conv2d" in str(smooth["blocks.1.0"].why)
    assert smooth["blocks.3.1.se"].path == "in its fused block"
    assert smooth["blocks.1.1.conv_pwl"].path.startswith("forward ")


def test_the_table_tells_neighbors_that_are_alike_once() -> None:
    found = explain(network(SMALL), images())
    table = found.table().splitlines()
    assert table[0].split() == ["layer", "kind", "path", "why", "not", "a", "faster", "one"]
    assert any(line.startswith("blocks.1.1 to ") for line in table)
    assert len(table) < len(found.rows) < len(list(network(SMALL).modules()))


def test_it_changes_nothing() -> None:
    model = network(SMALL)
    state, recorded = copy.deepcopy(model.state_dict()), swap.chosen(model)
    model.eval()
    generator = torch.get_rng_state()
    explain(model, images())
    assert torch.equal(torch.get_rng_state(), generator)
    assert not model.training and swap.chosen(model) == recorded
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def frozen(model: nn.Module) -> None:
    model.get_submodule("blocks.1.1.conv_pwl").weight.requires_grad_(False)


def hooked(model: nn.Module) -> None:
    model.get_submodule("blocks.1.1.bn1").register_forward_hook(lambda *_: None)


class OwnDropPath(DropPath):
    """Drops something else."""


def own_drop_path(model: nn.Module) -> None:
    model.get_submodule("blocks.1.1").drop_path = OwnDropPath(0.1)


@pytest.mark.parametrize(
    ("change", "why"),
    [(frozen, "frozen"), (hooked, "hook"), (own_drop_path, "OwnDropPath")],
    ids=["frozen", "hook", "own"],
)
def test_it_says_why_a_block_is_not_fused(change: Callable[[nn.Module], None], why: str) -> None:
    model = network(SMALL)
    change(model)
    found = explain(model, images())
    assert found["blocks.1.1"].path == "layer by layer" and why in str(found["blocks.1.1"].why)
    assert found["blocks.1.2"].path == "fused block"


def test_layouts_types_and_networks_without_kernels() -> None:
    model = network(LITE)
    with torch.autocast("cpu", torch.bfloat16):
        assert "bfloat16" in str(explain(model, images())["blocks.1.1.conv_pwl"].why)
    plain = explain(model.to(memory_format=torch.contiguous_format), images().contiguous())
    assert plain["bn1"].path == "PyTorch" and "channels_last" in str(plain["bn1"].why)
    stock = explain(network(LITE, "stock"), images())
    assert {row.path for row in stock.rows} == {"PyTorch", "layer by layer"}
    assert all("compute.kernels=stock" in str(row.why) for row in stock.rows)
    compiled = network(LITE)
    compiled.compile()
    with pytest.raises(UserError, match="compile"):
        explain(compiled, images())


def test_a_kernel_that_is_missing_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_norm.batch_norm_ops, "available", lambda: False)
    found = explain(network(SMALL), images())
    assert found["bn1"].path == "PyTorch" and "compiled" in str(found["bn1"].why)
    assert found["blocks.1.1"].path == "layer by layer"
