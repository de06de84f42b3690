"""Squeeze-and-excitation in fewer passes against timm's own layer in float64."""

import copy

import pytest
import timm
import torch
from timm.models._efficientnet_blocks import SqueezeExcite
from torch import Tensor, nn

from seedwise.kernels.layers.squeeze_excite import use_fused_squeeze_excite


def twins(channels: int, act: type[nn.Module] = nn.SiLU) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    layer = SqueezeExcite(channels, rd_ratio=0.25, act_layer=act)
    ours = copy.deepcopy(layer)
    assert use_fused_squeeze_excite(ours) == 1
    return ours, layer.double()


def maps(shape: tuple[int, ...], seed: int) -> Tensor:
    made = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return made.to(memory_format=torch.channels_last)


def gradients(layer: nn.Module, x: Tensor, grad: Tensor) -> tuple[Tensor, ...]:
    """Output, then the gradients of x and of the parameters, those that require one."""
    wanted = [tensor for tensor in (x, *layer.parameters()) if tensor.requires_grad]
    output = layer(x)
    return output, *torch.autograd.grad(output, wanted, grad, retain_graph=True)


@pytest.mark.parametrize("frozen", ["nothing", "input", "weights", "bias"])
@pytest.mark.parametrize(
    ("shape", "act"), [((4, 24, 7, 5), nn.SiLU), ((1, 8, 1, 1), nn.ReLU), ((2, 96, 16, 16), nn.SiLU)]
)
def test_agrees_with_timm(shape: tuple[int, ...], act: type[nn.Module], frozen: str) -> None:
    ours, theirs = twins(shape[1], act)
    x, grad = maps(shape, 1), maps(shape, 2)
    for layer in (ours, theirs):
        for name, parameter in layer.named_parameters():
            parameter.requires_grad_(frozen != "weights" and (frozen != "bias" or not name.endswith("bias")))
    mine = x.clone(memory_format=torch.preserve_format).requires_grad_(frozen != "input")
    wide = x.double().requires_grad_(frozen != "input")
    got, wanted = gradients(ours, mine, grad), gradients(theirs, wide, grad.double())
    assert len(got) == len(wanted) and got[0].is_contiguous(memory_format=torch.channels_last)
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-5 * float(other.detach().abs().max()))


def test_two_backwards_through_one_graph_give_the_same() -> None:
    ours, _ = twins(8)
    x = maps((2, 8, 4, 4), 1).requires_grad_()
    output = ours(x).sum()
    first = torch.autograd.grad(output, [x, *ours.parameters()], retain_graph=True)
    again = torch.autograd.grad(output, [x, *ours.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_evaluation_other_layouts_and_frozen_layers_stay_timms_bit_for_bit() -> None:
    ours, theirs = twins(8)
    stock = theirs.float()
    x = maps((2, 8, 4, 4), 1)
    with torch.no_grad():
        assert torch.equal(ours(x), stock(x))
    assert "SqueezeExcite" not in type(ours(x.contiguous().requires_grad_()).grad_fn).__name__
    ours.requires_grad_(False)
    assert ours(x).grad_fn is None


def test_a_network_has_the_gradients_of_timms_network() -> None:
    torch.manual_seed(0)
    model = timm.create_model("efficientnet_b0", num_classes=4).to(memory_format=torch.channels_last).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()  # the statistics of few images would magnify rounding
    ours = copy.deepcopy(model)
    assert use_fused_squeeze_excite(ours) == 16
    images = maps((2, 3, 64, 64), 3)
    for net in (model, ours):
        net(images).logsumexp(1).sum().backward()
    theirs = dict(model.named_parameters())
    assert list(theirs) == [name for name, _ in ours.named_parameters()]
    for name, parameter in ours.named_parameters():
        expected = theirs[name].grad
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
