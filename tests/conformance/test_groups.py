"""Rates and weight decay of each parameter against timm's own grouping, and what they do in a step."""

from typing import Any

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay, param_groups_weight_decay
from torch import nn

from seedwise.base.errors import UserError
from seedwise.models.small import SmallNet
from seedwise.models.weights import classifier_names
from seedwise.optim.config import SGD, AdamW, OptimConfig
from seedwise.optim.groups import group_effects, parameter_groups
from seedwise.optim.optimizers import build_optimizer, set_lr

NAMES = ("tf_efficientnet_lite0", "resnet18", "vit_tiny_patch16_224", "convnext_atto", "mobilenetv3_small_050")


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    return SmallNet(3) if name == "small" else timm.create_model(name, num_classes=3)


@pytest.fixture(scope="module", params=[*NAMES, "small"])
def model(request: pytest.FixtureRequest) -> nn.Module:
    return build(request.param)


def by_name(model: nn.Module, groups: list[dict[str, Any]]) -> dict[str, tuple[float, float]]:
    """(factor on the rate, weight decay) of each parameter, which must be in one group exactly."""
    found = [(id(p), (g.get("lr_scale", 1.0), g["weight_decay"])) for g in groups for p in g["params"]]
    assert len(dict(found)) == len(found) == len(list(model.parameters()))
    return {name: dict(found)[id(p)] for name, p in model.named_parameters()}


@pytest.mark.parametrize("decay_all", [True, False])
@pytest.mark.parametrize("layer_decay", [0.75, 0.3])
def test_layer_decay_is_timms(model: nn.Module, layer_decay: float, decay_all: bool) -> None:
    config = OptimConfig(layer_decay=layer_decay, weight_decay=0.05, decay_norms_and_biases=decay_all)
    own = getattr(model, "no_weight_decay", set)()
    theirs = param_groups_layer_decay(
        model,
        weight_decay=0.05,
        layer_decay=layer_decay,
        weight_decay_exclude_1d=not decay_all,
        no_weight_decay_list=() if decay_all else own,
    )
    mine = by_name(model, parameter_groups(config, model, ()))
    assert mine == by_name(model, theirs)
    scales = {scale for scale, _ in mine.values()}
    assert max(scales) == 1 and len(scales) > 4
    assert all(mine[name][0] == 1 for name in mine if name.startswith(classifier_names(model)))


def test_no_decay_is_timms(model: nn.Module) -> None:
    config = OptimConfig(weight_decay=0.05, decay_norms_and_biases=False)
    own = getattr(model, "no_weight_decay", set)()
    theirs = param_groups_weight_decay(model, weight_decay=0.05, no_weight_decay_list=own)
    mine = by_name(model, parameter_groups(config, model, ()))
    assert mine == by_name(model, theirs)
    assert {decay for _, decay in mine.values()} == {0.0, 0.05}


def test_by_default_there_is_one_group_as_torch_makes_it(model: nn.Module) -> None:
    mine = build_optimizer(OptimConfig(), parameter_groups(OptimConfig(), model, classifier_names(model)))
    plain = build_optimizer(OptimConfig(), model.parameters())
    assert mine.state_dict() == plain.state_dict()
    assert [id(p) for p in mine.param_groups[0]["params"]] == [id(p) for p in model.parameters()]


@pytest.mark.parametrize("others", [{}, {"layer_decay": 0.5}], ids=str)
def test_head_lr_is_the_heads_peak_and_follows_the_schedule(model: nn.Module, others: dict[str, float]) -> None:
    config, head = OptimConfig(lr=1e-3, head_lr=2e-2, **others), classifier_names(model)  # type: ignore[arg-type]
    optimizer = build_optimizer(config, parameter_groups(config, model, head))
    for lr in (1e-3, 4e-4, 0.0):
        set_lr(optimizer, lr)
        rates = {id(p): g["lr"] for g in optimizer.param_groups for p in g["params"]}
        for name, parameter in model.named_parameters():
            is_head = name.startswith(tuple(f"{module}." for module in head))
            expected = 20 * lr if is_head else lr
            assert rates[id(parameter)] == pytest.approx(expected) or (others and not is_head)
    if others:
        without = config.model_copy(update={"head_lr": None})
        mine, plain = (by_name(model, parameter_groups(each, model, head)) for each in (config, without))
        assert all(mine[name] == plain[name] for name in mine if not name.startswith(head))


@pytest.mark.parametrize("algorithm", [AdamW(), SGD()], ids=["adamw", "sgd"])
def test_a_step_in_groups_is_a_step_of_each_alone(algorithm: AdamW | SGD) -> None:
    config = OptimConfig(
        algorithm=algorithm, lr=0.01, head_lr=0.1, layer_decay=0.5, weight_decay=0.1, decay_norms_and_biases=False
    )
    together, apart = build("small"), build("small")
    optimizer = build_optimizer(config, parameter_groups(config, together, ("classifier",)))
    wanted = by_name(together, parameter_groups(config, together, ("classifier",)))
    singles = {
        name: build_optimizer(config.model_copy(update={"weight_decay": wanted[name][1]}), [parameter])
        for name, parameter in apart.named_parameters()
    }
    for lr in (0.01, 0.004):
        generator = torch.Generator().manual_seed(1)
        set_lr(optimizer, lr)
        for (name, mine), theirs in zip(together.named_parameters(), apart.parameters(), strict=True):
            mine.grad = torch.randn(mine.shape, generator=generator)
            theirs.grad = mine.grad.clone()
            set_lr(singles[name], lr * wanted[name][0])
            singles[name].step()
        optimizer.step()
    for mine, theirs in zip(together.parameters(), apart.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_effects_are_those_of_the_groups() -> None:
    model, head = build("small"), ("classifier",)
    config = OptimConfig(lr=0.01, head_lr=0.1, layer_decay=0.5, decay_norms_and_biases=False)
    optimizer = build_optimizer(config, parameter_groups(config, model, head))
    effects = group_effects(config, model, head, optimizer)
    one_d = [p.numel() for p in model.parameters() if p.ndim <= 1]
    assert effects == {
        "head_lr": {"parameters": 192 * 3 + 3, "scale": pytest.approx(10)},
        "layer_decay": {"layers": 7, "least_scale": 0.5**7},
        "decay_norms_and_biases": {"tensors_excluded": len(one_d), "parameters_excluded": sum(one_d)},
    }
    plain = OptimConfig()
    assert group_effects(plain, model, head, build_optimizer(plain, parameter_groups(plain, model, head))) == {}


def test_effects_where_the_head_alone_is_trained() -> None:
    model, head = build("small"), ("classifier",)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("classifier."))
    config = OptimConfig(lr=0.01, head_lr=0.1, layer_decay=0.5)
    effects = group_effects(config, model, head, build_optimizer(config, parameter_groups(config, model, head)))
    assert effects["layer_decay"] == {"layers": 0, "least_scale": 1.0}


def test_without_weight_decay_nothing_is_left_out_of_it() -> None:
    model = build("small")
    config = OptimConfig(weight_decay=0.0, decay_norms_and_biases=False)
    effects = group_effects(config, model, (), build_optimizer(config, parameter_groups(config, model, ())))
    assert effects["decay_norms_and_biases"] == {"tensors_excluded": 0, "parameters_excluded": 0}


def test_the_small_nets_layers_and_stages() -> None:
    model = SmallNet(3)
    for coarse, count in ((False, 8), (True, 5)):
        layers = timm.models.group_parameters(model, model.group_matcher(coarse), reverse=True)
        assert sorted(set(layers.values())) == list(range(count))
        assert layers["stem.0.weight"] == 0 and layers["classifier.bias"] == count - 1
        assert layers["blocks.2.conv1.weight"] == (2 if coarse else 3)


def test_networks_that_do_not_say_what_is_what_are_refused() -> None:
    model = nn.Sequential(nn.Linear(3, 3))
    with pytest.raises(
        UserError, match=r"^optim\.layer_decay: .*no group_matcher.*; .*or set optim\.layer_decay to 1$"
    ):
        parameter_groups(OptimConfig(layer_decay=0.9), model, ())
    with pytest.raises(UserError, match=r"^optim\.head_lr: .*; .*or set optim\.head_lr to null$"):
        parameter_groups(OptimConfig(head_lr=0.9), model, ())
