"""The native sums of squeeze-and-excitation against PyTorch in float64, and their bits on one and two threads."""

import pytest
import torch
from torch import Tensor

from seedwise.models import acceleration, squeeze
from seedwise.models.squeeze import kernels

SHAPES = [(3, 24, 7, 5), (2, 8, 1, 1), (2, 1, 3, 3), (5, 70, 4, 4), (64, 160, 4, 4), (20, 512, 24, 24)]
"""The last ones are shared among threads."""


def maps(shape: tuple[int, ...], seed: int) -> Tensor:
    made = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return made.to(memory_format=torch.channels_last)


@pytest.mark.parametrize("shape", SHAPES)
def test_agrees_with_pytorch_on_any_number_of_threads(shape: tuple[int, ...]) -> None:
    x, y = maps(shape, 1), maps(shape, 2)
    wanted = (x.double() * y.double()).sum((2, 3), keepdim=True)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(squeeze.dots(x, y))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found) and found[0].dtype == torch.float32
    torch.testing.assert_close(found[0].double(), wanted, rtol=1e-6, atol=1e-4)


def test_the_kernels_text_is_part_of_what_bits_depend_on() -> None:
    assert str(kernels.library_name()) in str(acceleration.version())
