"""The copy that is evaluated, with native kernels: the logits of the network as it is, in float64."""

import copy
from collections.abc import Callable, Collection
from typing import Any

import pytest
import timm
import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn

from covering import pairs
from seedwise.kernels.dispatch import Case, Dispatcher, Tuning
from seedwise.kernels.evaluation import FusedConv, OnePassBlock, OnePassSqueeze, dispatcher_of, evaluation_copy
from seedwise.kernels.layers.depthwise import available
from seedwise.kernels.swap import accelerate, chosen
from seedwise.models.freezing import freeze

pytestmark = pytest.mark.skipif(not available(), reason="no C++ compiler: there are no native kernels")


class Always(Dispatcher):
    """One implementation wherever there is a choice that has it."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name, self.keys = name, list[str]()

    def choose(self, case: Case, names: Collection[str], trial: Tuning) -> str:
        self.keys.append(case.key)
        return self.name if self.name in names else super().choose(case, names, trial)


def net(name: str, kernels: str = "native", frozen: int = 0) -> nn.Module:
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=5)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
            nn.init.uniform_(module.weight, 0.5, 1)
            nn.init.normal_(module.bias, 0, 0.1)
    model = model.to(memory_format=torch.channels_last)
    freeze(model, frozen, (model.pretrained_cfg["classifier"],), 32)  # type: ignore[arg-type]
    accelerate(model, kernels, {})  # type: ignore[arg-type]
    return model.eval()


def images(count: int, size: int) -> Tensor:
    made = torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))
    return made.contiguous(memory_format=torch.channels_last)


def use(model: nn.Module, dispatcher: Dispatcher) -> None:
    for module in model.modules():
        if isinstance(getattr(module, "dispatcher", None), Dispatcher):
            module.dispatcher = dispatcher  # type: ignore[assignment]


def exact(model: nn.Module, pixels: Tensor) -> Tensor:
    with torch.no_grad():
        return copy.deepcopy(model).double()(pixels.double())


LITE, V2 = "tf_efficientnet_lite0", "tf_efficientnetv2_s"


@pytest.mark.parametrize(
    ("name", "shape", "frozen", "which"),
    pairs([LITE, "mobilenetv2_050"], [(1, 64), (3, 71), (2, 160), (5, 32)], [0, 3], ["native", "layers"]),
)
def test_logits_agree_with_float64_by_kernels_and_by_layers(
    name: str, shape: tuple[int, int], frozen: int, which: str
) -> None:
    """Odd sizes, strides, both paddings, odd channel counts (mobilenetv2_050 has 8 and 24), strips of large maps."""
    count, size = shape
    model, pixels, dispatcher = net(name, frozen=frozen), images(count, size), Always(which)
    use(model, dispatcher)
    with torch.inference_mode():
        fast = evaluation_copy(model, pixels)
        got = fast(pixels)
    expected = exact(model, pixels)
    torch.testing.assert_close(got.double(), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    assert sum(isinstance(module, OnePassBlock) for module in fast.modules()) in (16, 17)
    assert sum(key.startswith("block") for key in dispatcher.keys) in (16, 17)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fast.modules())


@pytest.mark.parametrize(
    ("which", "frozen", "shape"),
    pairs(["native", "winograd", "split", "product", "onednn"], [0, 3], [(3, 64), (1, 75)]),
)
def test_smooth_activations_and_squeeze_and_excitation_by_every_kernel(
    which: str, frozen: int, shape: tuple[int, int]
) -> None:
    count, size = shape
    model, pixels, dispatcher = net(V2, frozen=frozen), images(count, size), Always(which)
    use(model, dispatcher)
    with torch.inference_mode():
        fast = evaluation_copy(model, pixels)
        dispatcher.keys.clear()
        got = fast(pixels)
    expected = exact(model, pixels)
    torch.testing.assert_close(got.double(), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    assert not any(isinstance(module, OnePassBlock) for module in fast.modules())
    assert sum(isinstance(module, FusedConv) for module in fast.modules()) == 110
    assert sum(isinstance(module, OnePassSqueeze) for module in fast.modules()) == 30
    assert len(dispatcher.keys) > 20


def test_watched_squeeze_and_excitation_keeps_its_layers_and_the_hook_is_called() -> None:
    model, pixels, seen = net(V2), images(2, 64), list[Tensor]()
    model.blocks[3][0].se.gate.register_forward_hook(lambda module, inputs, output: seen.append(output))  # type: ignore
    with torch.inference_mode():
        fast = _native(model, pixels)
        seen.clear()
        fast(pixels)
    assert len(seen) == 1
    assert sum(isinstance(module, OnePassSqueeze) for module in fast.modules()) == 29


@pytest.mark.parametrize("name", [LITE, V2])
@pytest.mark.parametrize("kernels", ["stock", "fallback"])
def test_without_native_kernels_layers_stay_pytorchs(name: str, kernels: str) -> None:
    model, pixels = net(name, kernels), images(2, 32)
    with torch.inference_mode():
        fast = evaluation_copy(model, pixels)
    assert not any(isinstance(module, FusedConv | OnePassBlock) for module in fast.modules())


def test_bits_do_not_depend_on_threads() -> None:
    pixels, found = images(7, 64), []
    model = net(LITE)
    for threads in (1, 2):
        torch.set_num_threads(threads)
        with torch.inference_mode():
            blocks = [module for module in _native(model, pixels).modules() if isinstance(module, OnePassBlock)]
            maps = torch.randn(7, 32, 32, 32, generator=torch.Generator().manual_seed(2))
            maps = maps.contiguous(memory_format=torch.channels_last)
            for block in blocks:
                maps = block(maps)
            found.append(maps)
    assert torch.equal(*found)


def _native(model: nn.Module, pixels: Tensor) -> nn.Module:
    use(model, Always("native"))
    return evaluation_copy(model, pixels)


def test_choices_are_recorded_and_a_record_is_obeyed() -> None:
    model, pixels = net(LITE), images(3, 64)
    dispatcher = dispatcher_of(model)
    with torch.inference_mode():
        evaluation_copy(model, pixels)
        assert not chosen(model)  # comparing the copy with the network is no choice
        first = evaluation_copy(model, pixels)(pixels)
        found = {key: value for key, value in chosen(model).items() if key.startswith("block")}
        assert len(found) > 10 and set(found.values()) <= {"native", "layers"}
        assert torch.equal(evaluation_copy(model, pixels)(pixels), first)
    again = net(LITE)
    given = dict.fromkeys(found, "layers")
    use(again, Dispatcher(given))
    with torch.inference_mode():
        evaluation_copy(again, pixels)(pixels)
    assert dispatcher is dispatcher_of(model)
    assert {key: chosen(again)[key] for key in found} == given


def asked_by(fast: nn.Module, run: Callable[[], object]) -> list[str]:
    """What the blocks of a copy ask their choices for."""
    dispatcher = Always("native")
    use(fast, dispatcher)
    run()
    return [key for key in dispatcher.keys if key.startswith("block")]


def test_autocast_gradients_tracing_and_float64_go_by_layers() -> None:
    model, pixels = net(LITE), images(2, 64)
    with torch.no_grad():
        fast, expected = _native(model, pixels), model(pixels)
    assert len(asked_by(fast, lambda: fast(pixels.clone().requires_grad_()).sum().backward())) == 0
    with torch.no_grad():
        assert len(asked_by(fast, lambda: fast(pixels))) == 16
        with torch.autocast("cpu", torch.bfloat16):
            assert asked_by(fast, lambda: fast(pixels)) == []
        traced: list[nn.Module] = []
        assert asked_by(fast, lambda: traced.append(torch.jit.trace(fast, pixels, check_trace=False))) == []
        torch.testing.assert_close(traced[0](pixels), expected, rtol=1e-4, atol=1e-4)
        assert fast(pixels[:0]).shape == (0, 5)
        exact = copy.deepcopy(fast).double()
        assert asked_by(exact, lambda: exact(pixels.double())) == []


def test_a_watched_block_keeps_its_layers_and_the_hook_is_called() -> None:
    model, pixels, seen = net(LITE), images(2, 64), list[Tensor]()
    model.blocks[2][0].conv_pwl.register_forward_hook(lambda module, inputs, output: seen.append(output))  # type: ignore
    with torch.inference_mode():
        fast = _native(model, pixels)
        seen.clear()
        fast(pixels)
    assert len(seen) == 1
    assert sum(isinstance(module, OnePassBlock) for module in fast.modules()) == 15


def test_a_copy_whose_kernels_disagree_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    model, pixels = net(LITE), images(2, 64)
    wrong = OnePassBlock.forward
    monkeypatch.setattr(OnePassBlock, "forward", lambda self, x: wrong(self, x) * 1.1)
    with torch.inference_mode():
        fast = evaluation_copy(model, pixels)
        torch.testing.assert_close(fast(pixels), model(pixels), rtol=1e-4, atol=1e-4)
    assert fast is not model and not any(isinstance(module, OnePassBlock) for module in fast.modules())


UNUSUAL = {
    "two outputs a channel": {"out_channels": 32, "groups": 16, "padding": 1},
    "depthwise, padding in words": {"groups": 16, "padding": "same"},
    "depthwise, unpadded in words": {"groups": 16, "padding": "valid"},
    "depthwise, reflecting": {"groups": 16, "padding": 1, "padding_mode": "reflect"},
    "depthwise, dilated": {"groups": 16, "padding": 2, "dilation": 2},
    "depthwise, oblong": {"groups": 16, "kernel_size": (3, 5), "padding": (1, 2)},
    "dense, padding in words": {"padding": "same"},
    "dense, reflecting": {"padding": 1, "padding_mode": "reflect"},
    "dense, with a bias": {"padding": 1, "bias": True},
    "dense, unpadded": {},
    "groups of four": {"groups": 4, "padding": 1},
    "1x1, padded": {"kernel_size": 1, "padding": 1},
    "1x1, strided": {"kernel_size": 1, "stride": 2},
}
"""Convolutions of 16 channels as users' own networks may have them."""


@pytest.mark.parametrize("act", [nn.SiLU, nn.ReLU6, nn.ReLU])
@pytest.mark.parametrize("unusual", UNUSUAL.values(), ids=UNUSUAL)
@pytest.mark.parametrize("brings_act", [False, True])
def test_unusual_convolutions_cost_the_others_nothing(
    unusual: dict[str, Any], act: type[nn.Module], brings_act: bool
) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(**{"in_channels": 16, "out_channels": 16, "kernel_size": 3, "bias": False, **unusual})
    norm = BatchNormAct2d(conv.out_channels, act_layer=act) if brings_act else nn.BatchNorm2d(conv.out_channels)
    usual = nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False), nn.BatchNorm2d(16)
    first = nn.Conv2d(3, 16, 1, bias=False), nn.BatchNorm2d(16)
    model = nn.Sequential(*first, *usual, conv, norm, nn.Identity() if brings_act else act())
    model = model.to(memory_format=torch.channels_last)
    accelerate(model, "native", {})
    model.eval()
    pixels = images(3, 12)
    with torch.inference_mode():
        fast = evaluation_copy(model, pixels)
        torch.testing.assert_close(fast(pixels).double(), exact(model, pixels), rtol=1e-5, atol=1e-5)
    assert sum(isinstance(module, FusedConv) for module in fast.modules()) >= 2
