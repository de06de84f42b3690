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


class Named(nn.Module):
    """Returns a dictionary, as transformers' networks do."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.inner = nn.Conv2d(3, classes, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": self.inner(x).mean((2, 3))}


class Chosen(Named):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return self.inner(x).mean((2, 3)).argmax(1)


SMALLEST = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16))


@pytest.mark.parametrize(
    ("model", "given", "message"),
    [
        ("lite", images(), "model: must be a network .*is str; seedwise doctor --kernels RECIPE"),
        (type(SMALLEST), images(), "model: must be a network .*is type"),
        (SMALLEST, "photo.jpg", r"images: must be a tensor, is str; give a batch as float32\[n, 3, h, w\]"),
        (SMALLEST, images().numpy(), "images: must be a tensor, is ndarray"),
        (SMALLEST, images()[0], r"images: must be a batch .*is \[3, 32, 32\]; .*images\[None\]"),
        (SMALLEST, images()[:0], r"images: must be a batch .*is \[0, 3, 32, 32\]"),
        (SMALLEST, (images() * 9).byte(), r"images: must be of floating-point numbers, is uint8; .*float\(\) / 255"),
        (SMALLEST, images()[:, :1], r"given images float32\[4, 1, 32, 32\], raised RuntimeError: .*3 channels"),
        (SMALLEST, images().double(), r"given images float64\[4, 3, 32, 32\], raised RuntimeError"),
        (Named(), images(), r"returned dict; it must return one tensor, logits float\[n, k\]: wrap it"),
        (Chosen(), images(), r"returned int64; it must return one tensor"),
    ],
)
def test_what_makes_no_training_step_is_one_line(model: object, given: object, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        explain(model, given)  # type: ignore[arg-type]
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


def test_a_frozen_network_is_explained() -> None:
    found = explain(network(LITE).requires_grad_(False), images())
    assert found["bn1"].path == "one kernel" and "needs a gradient" in str(found["conv_head"].why)


def test_an_unknown_layer_is_a_key_error_that_names_near_ones() -> None:
    found = explain(SMALLEST, images())
    with pytest.raises(KeyError) as error:
        explain(network(LITE, "stock"), images())["blocks.1.0.bn_1"]
    assert isinstance(error.value, UserError) and "did you mean 'blocks.1.0.bn1' or" in str(error.value)
    assert str(error.value).startswith("'blocks.1.0.bn_1': no such layer")
    with pytest.raises(UserError, match=r"^7: no such layer.*`\.table\(\)` shows"):
        found[7]  # type: ignore[index]


def test_reasons_are_those_of_the_setting() -> None:
    fallback = explain(network(LITE, "fallback"), images())
    assert fallback["blocks.1.1.conv_dw"].path == "fallback gradients"
    assert all(row.why for row in fallback.rows)
    assert "compute.kernels=fallback fuses no blocks" in str(fallback["blocks.1.1"].why)
    assert "fallback is for depthwise convolutions alone" in str(fallback["bn1"].why)
    assert "fallback has no C++ kernels" in str(fallback["blocks.1.1.conv_dw"].why)
    nobody = explain(SMALLEST, images())
    assert all("the network has no kernels: seedwise.kernels.swap.accelerate" in str(row.why) for row in nobody.rows)
    whole = network(LITE)
    part = explain(whole.get_submodule("blocks.0"), torch.randn(2, 32, 8, 8).to(memory_format=torch.channels_last))
    assert part["0.bn1"].path == "one kernel"  # a part of an accelerated network


class OwnConv(nn.Conv2d):
    """Computes something else."""


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (nn.Conv2d(3, 16, 8, 8), "1x1 and 3x3, not for 8x8"),  # as a vision transformer begins
        (nn.Conv2d(3, 16, 3, padding=1), "channels or more"),
        (OwnConv(3, 16, 1), "not for OwnConv"),
        (nn.BatchNorm2d(3, affine=False), "BatchNorm with parameters and running statistics"),
    ],
)
def test_a_layer_without_a_kernel_says_what_it_lacks(layer: nn.Module, why: str) -> None:
    model = nn.Sequential(layer, nn.AdaptiveAvgPool2d(1))
    swap.accelerate(model, "native", {})
    found = explain(model, images())
    assert found["0"].path == "PyTorch" and why in str(found["0"].why)
    assert found.table().splitlines()[-1].startswith("no layer is computed by kernels")


def test_a_network_of_nothing_that_has_kernels_says_so() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 5))
    swap.accelerate(model, "native", {})
    assert "kernels are for convolutions" in explain(model, images()).table()
