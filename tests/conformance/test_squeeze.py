"""The native passes of squeeze-and-excitation against PyTorch in float64, and their bits on one and two threads."""

import pytest
import torch
from torch import Tensor

from seedwise.models import acceleration, squeeze
from seedwise.models.squeeze import kernels

SHAPES = [(3, 24, 7, 5), (2, 8, 1, 1), (2, 1, 3, 3), (5, 70, 4, 4), (64, 160, 4, 4), (20, 512, 24, 24)]
"""The last ones are shared among threads, and the very last is written past the cache."""


def maps(shape: tuple[int, ...], seed: int) -> Tensor:
    made = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return made.to(memory_format=torch.channels_last)


def everything(shape: tuple[int, ...]) -> dict[str, tuple[Tensor, Tensor]]:
    """What the kernels compute, and what it should be."""
    x, y, one = maps(shape, 1), maps(shape, 2), (*shape[:2], 1, 1)
    factors, more = maps(one, 3), maps(one, 4)
    return {
        "means": (squeeze.means(x), x.double().mean((2, 3), keepdim=True)),
        "dots": (squeeze.dots(x, y), (x.double() * y.double()).sum((2, 3), keepdim=True)),
        "scaled": (squeeze.scale(x, factors), x.double() * factors),
        "and more": (squeeze.scale(x, factors, more), x.double() * factors + more),
    }


@pytest.mark.parametrize("shape", SHAPES)
def test_agrees_with_pytorch(shape: tuple[int, ...]) -> None:
    for what, (got, wanted) in everything(shape).items():
        assert got.dtype == torch.float32 and got.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(got.double(), wanted, rtol=1e-6, atol=1e-4, msg=what)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_bits_do_not_depend_on_the_threads(shape: tuple[int, ...]) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = everything(shape)
        torch.set_num_threads(2)
        both = everything(shape)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(alone[what][0], both[what][0]) for what in alone)


def test_the_kernels_text_is_part_of_what_bits_depend_on() -> None:
    assert str(kernels.library_name()) in str(acceleration.version())
