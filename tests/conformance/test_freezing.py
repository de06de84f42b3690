"""Frozen stages: the same logits, nothing moves in them, and no graph or noise is made for them."""

import copy
from collections.abc import Collection

import pytest
import timm
import torch
from instruction_sets import each_target
from torch import Tensor, nn

from seedwise.base.errors import UserError
from seedwise.kernels.blocks.frozen import use_fast_frozen_stages
from seedwise.kernels.dispatch import Dispatcher
from seedwise.kernels.folding import folded
from seedwise.kernels.layers.depthwise import available
from seedwise.kernels.swap import accelerate, chosen
from seedwise.models.freezing import freeze, freeze_effects, stages
from seedwise.models.small import SmallNet

NAMES = ("tf_efficientnet_lite0", "resnet18", "tf_efficientnetv2_s", "convnext_atto", "mobilenetv3_small_050")


def net(name: str = "small", drop_path: float = 0.0) -> tuple[nn.Module, tuple[str, ...]]:
    """With statistics and scales that are not the initial ones."""
    torch.manual_seed(0)
    model = SmallNet(5, 0.2, drop_path) if name == "small" else timm.create_model(name, num_classes=5)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
            nn.init.uniform_(module.weight, 0.5, 1)
    return model.to(memory_format=torch.channels_last).train(), (model.pretrained_cfg["classifier"],)


def slow_frozen(model: nn.Module, names: set[str]) -> nn.Module:
    """The textbook way: no gradients, and every module whose parameters are all frozen in evaluation mode."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in names)
    for module in model.modules():
        parameters = list(module.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            module.eval()
    return model


def images(count: int = 4, size: int = 32) -> Tensor:
    made = torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))
    return made.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    "name", ["small", *NAMES[:2], *(pytest.param(name, marks=pytest.mark.slow) for name in NAMES[2:])]
)
def test_logits_and_gradients_are_those_of_the_textbook(name: str) -> None:
    model, head = net(name)
    names = {parameter for stage in stages(model, head)[:2] for parameter in stage}
    slow = slow_frozen(copy.deepcopy(model), names)
    freeze(model, 2, head, 32)
    model.train().double()
    slow.double()
    for made in (model, slow):
        torch.manual_seed(7)  # dropout
        made(images().double()).logsumexp(1).sum().backward()
    theirs = dict(slow.named_parameters())
    for parameter_name, parameter in model.named_parameters():
        assert (parameter.grad is None) == (parameter_name in names)
        if parameter.grad is not None:
            torch.testing.assert_close(parameter.grad, theirs[parameter_name].grad, rtol=1e-6, atol=1e-6)
    pixels = images().double()
    torch.testing.assert_close(model.eval()(pixels), slow.eval()(pixels), rtol=1e-9, atol=1e-9)
    assert model.state_dict().keys() == slow.state_dict().keys()


def test_nothing_is_kept_for_a_backward_and_nothing_is_dropped() -> None:
    model, head = net(drop_path=0.9)
    freeze(model, 3, head, 32)
    model.train()
    seen: list[Tensor] = []
    model.blocks[3].register_forward_hook(lambda module, inputs, output: seen.append(output))  # type: ignore[index]
    first, second = model(images()), model(images())
    assert not seen[0].requires_grad and torch.equal(seen[0], seen[1])
    assert first.requires_grad and not torch.equal(first, second)  # what isn't frozen drops on


def test_the_record_counts_layers_and_parameters() -> None:
    model, head = net("tf_efficientnet_lite0")
    assert freeze_effects(model) == {}
    total = sum(p.numel() for p in model.parameters())
    freeze(model, 4, head, 32)
    effects = freeze_effects(model)["freeze"]
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert effects == {"stages": 4, "layers": 30, "parameters": total - trainable, "folded_norms": 15}


def test_zero_changes_nothing() -> None:
    model, head = net()
    assert type(freeze(model, 0, head, 32)) is SmallNet
    assert all(p.requires_grad for p in model.parameters()) and model.training


def test_all_stages_leave_the_classifier() -> None:
    model, head = net("tf_efficientnet_lite0")
    freeze(model, 8, head, 32)
    assert [name for name, p in model.named_parameters() if p.requires_grad] == ["classifier.weight", "classifier.bias"]


@pytest.mark.parametrize(("name", "count"), [("small", 4), ("tf_efficientnet_lite0", 8)])
def test_more_stages_than_there_are_is_refused(name: str, count: int) -> None:
    model, head = net(name)
    with pytest.raises(UserError, match=rf"^model\.freeze: the network has {count} stages before .*, not {count + 1}$"):
        freeze(model, count + 1, head, 32)


def test_a_network_without_groups_is_refused() -> None:
    with pytest.raises(UserError, match=r"^model\.freeze: .* no group_matcher"):
        freeze(nn.Sequential(nn.Linear(2, 2)), 1, ("0",), 32)


def test_other_weights_and_copies_are_folded_anew() -> None:
    model, head = net()
    other, _ = net()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.1)
    freeze(model, 3, head, 32)
    copied = copy.deepcopy(model)
    copied.load_state_dict(other.state_dict())
    torch.testing.assert_close(copied.eval()(images()), other.eval()(images()), rtol=1e-3, atol=1e-3)
    assert not torch.allclose(model.eval()(images()), other(images()), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("kernels", ["stock", "fallback", "native"])
def test_evaluation_folds_the_rest_and_kernels_train_it(kernels: str) -> None:
    model, head = net("tf_efficientnet_lite0")
    freeze(model, 4, head, 32)
    accelerate(model, kernels, {})  # type: ignore[arg-type]
    model.eval()
    with torch.no_grad():
        fast = folded(model, images())
        assert fast is not model or kernels == "fallback"  # whose depthwise convolutions take no bias
        torch.testing.assert_close(fast(images()), model(images()), rtol=1e-3, atol=1e-3)
    model.train()(images()).sum().backward()
    assert all((p.grad is not None) == p.requires_grad for p in model.parameters())


needs_kernels = pytest.mark.skipif(not available(), reason="no C++ compiler: there are no native kernels")


@needs_kernels
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("size", [64, 71, 160])
@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "mobilenetv2_050"])
def test_a_block_in_one_pass_gives_what_its_layers_give(name: str, size: int, threads: int) -> None:
    """Odd sizes, both paddings, ReLU6, with and without expansion and shortcut, strips of a large map."""
    model, head = net(name)
    expected = copy.deepcopy(model)
    freeze(model, 5, head, size)
    accelerate(model, "native", {})
    torch.set_num_threads(threads)
    pixels, seen = images(3, size), []
    modules = [module for module in model.modules() if type(module).__name__.startswith("_OnePass")]
    for module in modules:
        module.dispatcher = _Always("native")  # type: ignore[assignment]
        module.register_forward_hook(lambda module, inputs, output: seen.append(output))
    assert len(modules) >= 8
    with torch.enable_grad():
        model.train()(pixels)
    assert all(module.dispatcher.asked == 1 for module in modules)  # none went by its layers
    model.eval()
    expected.eval()
    theirs: list[Tensor] = []
    for module in expected.modules():
        if type(module).__name__ in ("InvertedResidual", "DepthwiseSeparableConv"):
            module.register_forward_hook(lambda module, inputs, output: theirs.append(output))
    with torch.no_grad():
        expected(pixels)
    for got, wanted in zip(seen, theirs, strict=False):
        assert got.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))


class _Always(Dispatcher):
    """One implementation for whatever is asked."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name, self.asked = name, 0

    def choose(self, case: object, names: Collection[str], trial: object) -> str:
        self.asked += 1
        assert self._name in names
        return self._name


@each_target
@needs_kernels
def test_bits_of_a_block_do_not_depend_on_threads() -> None:
    outputs = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        model, head = net("tf_efficientnet_lite0")
        freeze(model, 4, head, 64)
        use_fast_frozen_stages(model, _Always("native"))
        model.train()
        outputs.append(model.blocks[:3](model.bn1(model.conv_stem(images(5, 64)))))  # type: ignore
    assert torch.equal(*outputs)


@needs_kernels
def test_blocks_are_chosen_and_recorded_and_a_record_is_obeyed() -> None:
    model, head = net("tf_efficientnet_lite0")
    freeze(model, 4, head, 64)
    accelerate(model, "native", {})
    model.train()(images(3, 64))
    found = {key: value for key, value in chosen(model).items() if key.startswith("block")}
    assert len(found) == 5 and set(found.values()) <= {"native", "layers"}
    again, _ = net("tf_efficientnet_lite0")
    freeze(again, 4, head, 64)
    given = dict.fromkeys(found, "layers")
    accelerate(again, "native", given)
    again.train()(images(3, 64))
    assert {key: chosen(again)[key] for key in found} == given


@needs_kernels
def test_blocks_with_squeeze_and_excitation_or_smooth_activations_go_by_layers() -> None:
    model, head = net("tf_efficientnetv2_s")
    freeze(model, 5, head, 32)
    accelerate(model, "native", {})
    assert not any(type(module).__name__.startswith("_OnePass") for module in model.modules())


@needs_kernels
def test_gradients_of_the_images_themselves_go_through_frozen_stages() -> None:
    model, head = net("tf_efficientnet_lite0")
    freeze(model, 4, head, 64)
    slow = copy.deepcopy(model)
    accelerate(model, "native", {})

    def distance(seed: int) -> float:
        """Largest, relative to the largest gradient."""
        found = []
        pixels = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(seed))
        for made in (model, slow):
            given = pixels.contiguous(memory_format=torch.channels_last).requires_grad_()
            torch.manual_seed(7)
            found += torch.autograd.grad(made.train()(given).logsumexp(1).sum(), given)
        scale = float(found[1].abs().max())
        assert scale > 0
        return float((found[0] - found[1]).abs().max()) / scale

    # A value that rounds to the other side of ReLU6's limit changes a gradient by up to 0.02: so far PyTorch's own is
    # from float64's in five draws of eight. A wrong gradient is off in all.
    assert any(distance(seed) <= 1e-3 for seed in range(1, 5))
