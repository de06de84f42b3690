"""Tensors that go to a device in one copy come out as they were."""

import torch

from seedwise.base.devices import ALIGNMENT, packed, to_device_together, unpacked


def test_a_buffer_gives_back_values_types_shapes_and_layouts() -> None:
    given = [
        torch.arange(120, dtype=torch.uint8).view(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        torch.arange(3),
        torch.empty(0, 2),
        torch.tensor([True, False, True]),
        torch.rand(7, 3).t()[:, :5],
        torch.rand(4, 3).unbind(1)[1],
    ]
    memory = packed(given)
    found = unpacked(memory, given)
    assert all(torch.equal(own, other) and own.dtype == other.dtype for own, other in zip(given, found, strict=True))
    assert found[0].is_contiguous(memory_format=torch.channels_last)
    assert all(part.data_ptr() % ALIGNMENT == memory.data_ptr() % ALIGNMENT for part in found)


def test_on_the_cpu_nothing_is_copied() -> None:
    given = [torch.rand(3), torch.arange(4)]
    assert all(own is other for own, other in zip(given, to_device_together(given, torch.device("cpu")), strict=True))
