"""Whole networks whose BatchNorms train by the kernels, against float64 and beside stock PyTorch."""

import copy

import pytest
import timm
import torch
import torch.nn.functional as F
from test_norm_act import batch, error, needs_compiler

from seedwise.kernels.layers.batch_norm import use_fused_norm_act


@needs_compiler
@pytest.mark.parametrize(
    ("name", "count", "size", "bf16"),
    [
        *(pytest.param("tf_efficientnet_lite0", 49, 64, bf16, marks=pytest.mark.slow) for bf16 in (False, True)),
        *(("resnet18", 20, 32, False), pytest.param("resnet18", 20, 32, True, marks=pytest.mark.slow)),
        pytest.param("tf_efficientnetv2_s", 110, 32, False, marks=pytest.mark.slow),
        pytest.param("tf_efficientnetv2_s", 110, 32, True, marks=pytest.mark.slow),
    ],
)
def test_whole_models(name: str, count: int, size: int, bf16: bool) -> None:
    """Their training step is about as far from float64's as stock's own rounding takes it.

    In bf16 one network's distance is chance (stock's loss is 0.03 to 0.33 off), so it is the root mean square of four.
    """
    found = [away_from_float64(name, count, size, bf16, seed) for seed in range(4 if bf16 else 1)]
    for key, bounds in found[0].items():
        mine, stock = (sum(far[key][side] ** 2 for far in found) / len(found) for side in (0, 1))
        factor, slack = bounds[2:]
        assert mine**0.5 <= factor * stock**0.5 + slack, key


def away_from_float64(
    name: str, count: int, size: int, bf16: bool, seed: int
) -> dict[str, tuple[float, float, float, float]]:
    """By what it is: how far ours is off, how far stock is, and by which factor and slack ours may be further off."""
    torch.manual_seed(seed)
    stock = timm.create_model(name, num_classes=4, drop_rate=0.0, drop_path_rate=0.0)
    stock = stock.to(memory_format=torch.channels_last).train()
    mine, exact = copy.deepcopy(stock), copy.deepcopy(stock).double()
    assert use_fused_norm_act(mine) == count
    x, targets = batch((16, 3, size, size)), torch.arange(16) % 4
    losses = []
    for model in (exact, stock, mine):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16 and model is not exact):
            losses.append(F.cross_entropy(model(x.to(next(model.parameters()).dtype)), targets))
        losses[-1].backward()
    # timm's new head adds up 1280 features with weights of 0.3, and their errors with them.
    truth = losses[0].item()
    far = {"loss": (abs(losses[2].item() - truth), abs(losses[1].item() - truth), 2.0, 0.03 if bf16 else 1e-4)}
    whole = [torch.cat([p.grad.double().flatten() for p in m.parameters()]) for m in (exact, stock, mine)]
    norm = float(whole[0].norm())
    far["gradient"] = float((whole[2] - whole[0]).norm()) / norm, float((whole[1] - whole[0]).norm()) / norm, 1.5, 1e-5
    for (key, theirs), ours, right in zip(stock.named_parameters(), mine.parameters(), exact.parameters(), strict=True):
        assert theirs.grad is not None and ours.grad is not None and right.grad is not None, key
        scale = float(right.grad.norm()) + 1e-6 * norm
        aways = [float((grad.double() - right.grad).norm()) / scale for grad in (ours.grad, theirs.grad)]
        far[key] = aways[0], aways[1], 3.0, 1e-3
    for (key, value), other, right in zip(mine.named_buffers(), stock.buffers(), exact.buffers(), strict=True):
        far[key] = error(value, right), error(other, right), 2.0, 0.03 if bf16 else 1e-5
    return far
