"""The fused optimizers against their formulas in NumPy, over parameters in every memory layout that models have."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from seedwise.optim.config import SGD, AdamW, OptimConfig
from seedwise.optim.optimizers import build_optimizer, set_lr

Array = NDArray[np.float64]
Update = Callable[[Array, Array, float], Array]
SHAPES = [(16, 8, 3, 3), (16, 1, 5, 5), (7,), (3, 5), (16, 8, 1, 1)]
RATES = [0.1, 0.07, 0.03, 0.2]


def adamw(beta1: float, beta2: float, eps: float, decay: float) -> Update:
    """Algorithm 2 of arXiv 1711.05101 with the rate on the decay too, as torch has it."""
    state = {"m": 0.0, "v": 0.0, "t": 0}

    def update(p: Array, g: Array, lr: float) -> Array:
        state["t"] += 1
        state["m"] = beta1 * state["m"] + (1 - beta1) * g  # type: ignore[assignment]
        state["v"] = beta2 * state["v"] + (1 - beta2) * g * g  # type: ignore[assignment]
        m_hat, v_hat = state["m"] / (1 - beta1 ** state["t"]), state["v"] / (1 - beta2 ** state["t"])
        return p - lr * decay * p - lr * m_hat / (np.sqrt(v_hat) + eps)

    return update


def sgd(momentum: float, nesterov: bool, decay: float) -> Update:
    state: dict[str, Array] = {}

    def update(p: Array, g: Array, lr: float) -> Array:
        g = g + decay * p
        state["v"] = momentum * state["v"] + g if "v" in state else g
        return p - lr * (g + momentum * state["v"] if nesterov else state["v"])

    return update


CASES: dict[str, tuple[OptimConfig, Callable[[], Update]]] = {
    "adamw": (OptimConfig(algorithm=AdamW(), weight_decay=0.05), lambda: adamw(0.9, 0.999, 1e-8, 0.05)),
    "adamw-plain": (
        OptimConfig(algorithm=AdamW(betas=(0.0, 0.5), eps=0.1), weight_decay=0),
        lambda: adamw(0.0, 0.5, 0.1, 0.0),
    ),
    "sgd": (OptimConfig(algorithm=SGD(), weight_decay=0.01), lambda: sgd(0.9, True, 0.01)),
    "sgd-heavy-ball": (
        OptimConfig(algorithm=SGD(momentum=0.5, nesterov=False), weight_decay=0.01),
        lambda: sgd(0.5, False, 0.01),
    ),
    "sgd-plain": (
        OptimConfig(algorithm=SGD(momentum=0.0, nesterov=False), weight_decay=0),
        lambda: sgd(0.0, False, 0.0),
    ),
}


def parameters(generator: torch.Generator) -> Iterator[nn.Parameter]:
    for shape in SHAPES:
        value = torch.randn(*shape, generator=generator)
        yield nn.Parameter(value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value)


@pytest.mark.parametrize("name", CASES)
def test_steps_follow_the_formula(name: str) -> None:
    config, formula = CASES[name]
    generator = torch.Generator().manual_seed(5)
    params = list(parameters(generator))
    expected = [p.detach().double().numpy() for p in params]
    updates = [formula() for _ in params]
    optimizer = build_optimizer(config, params)
    for lr in RATES:
        optimizer.zero_grad()
        factors = [torch.randn(p.shape, generator=generator) for p in params]  # contiguous, the weights are not
        torch.stack([(p * factor).sum() for p, factor in zip(params, factors)]).sum().backward()
        set_lr(optimizer, lr)
        optimizer.step()
        expected = [update(p, f.double().numpy(), lr) for p, f, update in zip(expected, factors, updates, strict=True)]
        for mine, theirs in zip(params, expected, strict=True):
            np.testing.assert_allclose(mine.detach().numpy(), theirs, rtol=2e-5, atol=2e-6)


def test_set_lr_reaches_every_group() -> None:
    params = list(parameters(torch.Generator()))
    optimizer = build_optimizer(OptimConfig(), params[:2])
    optimizer.add_param_group({"params": params[2:], "lr": 1.0})
    set_lr(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]
