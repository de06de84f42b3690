"""Activations in place: where autograd would clone their input they aren't, and nothing else changes."""

from collections.abc import Callable

import pytest
import timm
import torch
from torch import Tensor, nn

from seedwise.models.activations import spare_clones

FREE = {"efficientnetv2_rw_t": "SiLU", "mobilenetv3_small_050": "Hardswish", "efficientnet_lite0": "ReLU6"}


def clones(run: Callable[[], Tensor]) -> int:
    """Tensors that the profiler sees cloned in a forward pass."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        run()
    return sum(event.count for event in seen.key_averages() if event.key == "aten::clone")


@pytest.mark.parametrize("name", FREE)
def test_a_step_clones_nothing_and_its_bits_stay(name: str) -> None:
    built = []
    for mended in (False, True):
        torch.manual_seed(0)
        model = timm.create_model(name, num_classes=3).train()
        if mended:
            spare_clones(model)
        torch.manual_seed(1)
        images = torch.randn(2, 3, 64, 64)
        count = clones(lambda model=model, images=images: model(images))  # type: ignore[misc]
        torch.manual_seed(2)
        model(images).square().sum().backward()
        built.append((count, [parameter.grad for parameter in model.parameters() if parameter.grad is not None]))
    (before, plain), (after, mended_gradients) = built
    assert before > 10 and after == 0
    assert all(torch.equal(*pair) for pair in zip(plain, mended_gradients, strict=True))


def test_what_needs_its_result_alone_stays_in_place() -> None:
    model = nn.Sequential(nn.ReLU(inplace=True), nn.SiLU(inplace=True), nn.Dropout(0.5, inplace=True))
    before = torch.get_rng_state()
    spare_clones(model)
    assert [layer.inplace for layer in model] == [True, False, True]
    assert torch.equal(torch.get_rng_state(), before)
