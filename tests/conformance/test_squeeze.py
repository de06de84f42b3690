"""The native kernels of squeeze-and-excitation against PyTorch in float64, and their bits on one and two threads."""

from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from instruction_sets import each_target
from torch import Tensor

from seedwise.kernels import swap
from seedwise.kernels.ops import squeeze_excite as squeeze_excite_ops

SHAPES = [
    *((3, 24, 7, 5, 6), (2, 8, 1, 1, 2), (1, 1, 3, 3, 1), (5, 70, 4, 4, 17), (33, 48, 2, 2, 16)),
    *((64, 160, 4, 4, 40), (20, 512, 8, 8, 32), (7, 1536, 2, 2, 64)),
]
"""Images, channels, height, width, channels between. The last ones are shared among threads."""


def given(shape: tuple[int, ...]) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Maps, the gradient of what they become, and parameters."""
    n, c, h, w, r = shape
    rng = torch.Generator().manual_seed(c)
    maps, grad = (torch.randn(n, c, h, w, generator=rng).to(memory_format=torch.channels_last) for _ in range(2))
    reduce, expand = torch.randn(r, c, 1, 1, generator=rng) / c**0.5, torch.randn(c, r, 1, 1, generator=rng) / r**0.5
    return maps, grad, [reduce, torch.randn(r, generator=rng), expand, torch.randn(c, generator=rng)]


def ours(maps: Tensor, grad: Tensor, parameters: Sequence[Tensor], threads: int) -> list[Tensor]:
    """The result, and the gradients of maps and parameters."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        result, kept = squeeze_excite_ops.forward(maps, parameters)
        found = [result, *squeeze_excite_ops.backward(grad, maps, parameters, kept, True)]
        assert squeeze_excite_ops.backward(grad, maps, parameters, kept, False)[0] is None
    finally:
        torch.set_num_threads(before)
    assert all(tensor is not None for tensor in found)
    return found  # type: ignore[return-value]


def exact(maps: Tensor, grad: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    wide = [tensor.double().requires_grad_() for tensor in (maps, *parameters)]
    x, reduce, reduce_bias, expand, expand_bias = wide
    hidden = F.silu(F.conv2d(x.mean((2, 3), keepdim=True), reduce, reduce_bias))
    result = x * torch.sigmoid(F.conv2d(hidden, expand, expand_bias))
    return [result.detach(), *torch.autograd.grad(result, wide, grad.double())]


@each_target
@pytest.mark.parametrize("shape", SHAPES)
def test_agrees_with_pytorch_on_any_number_of_threads(shape: tuple[int, ...]) -> None:
    one, two, truth = ours(*given(shape), 1), ours(*given(shape), 2), exact(*given(shape))
    for first, second, wanted in zip(one, two, truth, strict=True):
        assert torch.equal(first, second) and first.dtype == torch.float32 and first.shape == wanted.shape
        assert (first - wanted).abs().max() <= 1e-5 * wanted.abs().max()
    assert one[0].is_contiguous(memory_format=torch.channels_last) and one[1].stride() == one[0].stride()


@each_target
@pytest.mark.parametrize("shape", SHAPES)
def test_an_image_has_the_same_bits_alone(shape: tuple[int, ...]) -> None:
    maps, grad, parameters = given(shape)
    whole = ours(maps, grad, parameters, 2)
    for i in (0, len(maps) // 2, len(maps) - 1):
        alone = ours(maps[i : i + 1], grad[i : i + 1], parameters, 1)
        assert torch.equal(alone[0][0], whole[0][i]) and torch.equal(alone[1][0], whole[1][i])


def test_parameters_may_lie_anywhere() -> None:
    maps, grad, parameters = given((3, 32, 4, 4, 16))
    moved = [torch.cat([torch.zeros(1), p.flatten()])[1:].view(p.shape) for p in parameters]  # not at a cache line
    here, there = ours(maps, grad, parameters, 1), ours(maps, grad, moved, 1)
    assert all(torch.equal(a, b) for a, b in zip(here, there, strict=True))


@each_target
def test_a_nan_stays_in_its_image() -> None:
    maps, _, parameters = given((3, 24, 4, 4, 6))
    maps[1, 5, 2, 2] = float("nan")
    result, _ = squeeze_excite_ops.forward(maps, parameters)
    assert result[1].isnan().all() and not result[[0, 2]].isnan().any()


def test_the_kernels_text_is_part_of_what_bits_depend_on() -> None:
    assert str(squeeze_excite_ops.KERNELS.name()) in str(swap.version())
