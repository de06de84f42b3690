"""Augmentation's native kernels against torch: the same bits, for any layout, size and number of threads."""

from collections.abc import Callable, Iterator

import pytest
import torch
from instruction_sets import each_target
from torch import Tensor

from seedwise.kernels.ops import pixels

pytestmark = pytest.mark.skipif(not pixels.KERNELS.available(), reason="no C++ compiler")
LAYOUTS = (torch.contiguous_format, torch.channels_last)


@pytest.fixture(params=(1, 2))
def _threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


def images(n: int, channels: int, height: int, width: int) -> Tensor:
    return torch.randint(0, 256, (n, channels, height, width), dtype=torch.uint8)


def by_torch(monkeypatch: pytest.MonkeyPatch, function: Callable[..., Tensor], *given: Tensor) -> Tensor:
    with monkeypatch.context() as patch:
        patch.setattr(pixels.KERNELS, "available", lambda: False)
        return function(*given)


SHAPES = (
    (1, 3, (5, 7), (9, 4)),
    (40, 3, (32, 32), (64, 64)),
    (3, 1, (8, 6), (8, 6)),
    (2, 4, (1, 1), (3, 2)),
)
"""Images, channels, size, and that of the results."""


@each_target
@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("n", "channels", "size", "found"), SHAPES)
@pytest.mark.parametrize("shared", [False, True])
def test_pixels_are_looked_up_as_an_index_would(
    n: int, channels: int, size: tuple[int, int], found: tuple[int, int], shared: bool, layout: torch.memory_format
) -> None:
    given = images(n, channels, *size).contiguous(memory_format=layout)
    rows, columns = (
        torch.randint(extent, (1 if shared else n, count)) for extent, count in zip(size, found, strict=True)
    )
    result = pixels.look_up(given, rows, columns)
    for i in range(n):
        y, x = (lines[0 if shared else i] for lines in (rows, columns))
        assert torch.equal(result[i], given[i][:, y][:, :, x])
    assert result.is_contiguous(memory_format=torch.channels_last)


@each_target
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("of_rows", "of_columns"), [((6, 12), (1, 5)), ((1, 12), (1, 12)), ((1, 5), (1, 4)), ((6, 8), (6, 9))]
)
def test_torch_looks_up_the_same_pixels(
    of_rows: tuple[int, int],
    of_columns: tuple[int, int],
    layout: torch.memory_format,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = images(6, 3, 9, 11).contiguous(memory_format=layout)[:, :, 1:, 2:]  # neither begins nor ends with its rows
    rows, columns = torch.randint(8, of_rows), torch.randint(9, of_columns)
    expected = by_torch(monkeypatch, pixels.look_up, given, rows, columns)
    assert torch.equal(pixels.look_up(given, rows, columns), expected)


@each_target
@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (1, 1, 4, 4), (70, 3, 70, 72)])  # the last one goes past the cache
@pytest.mark.parametrize("layout", LAYOUTS)
def test_pixels_are_normalized_as_torch_does(
    shape: tuple[int, ...], layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = images(*shape).contiguous(memory_format=layout)
    offset, scale = 255 * torch.rand(shape[1]), torch.rand(shape[1])
    result = pixels.normalize(given, offset, scale)
    assert torch.equal(result, (given.float() - offset[:, None, None]) * scale[:, None, None])
    assert torch.equal(result, by_torch(monkeypatch, pixels.normalize, given, offset, scale))
    assert result.is_contiguous(memory_format=torch.channels_last)


@each_target
@pytest.mark.usefixtures("_threads")
def test_torch_adds_up_the_same_places(monkeypatch: pytest.MonkeyPatch) -> None:
    given = torch.randn(300, 33, 2), torch.randn(300, 31, 2), torch.randn(300, 2)
    result = pixels.places(*given)
    assert result.shape == (300, 31, 33, 2)
    assert torch.equal(result, by_torch(monkeypatch, pixels.places, *given))
