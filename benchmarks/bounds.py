"""What a training step cannot beat on this machine: its operations at peak rate, its bytes at full bandwidth."""

import argparse
import time
from collections.abc import Callable
from typing import Any


def best_of(work: Callable[[], object], times: int = 5) -> float:
    """Fewest seconds of several tries."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return min(took)


def peaks(threads: int) -> dict[str, float]:
    """Multiplications and additions a second in a large float32 matrix product, and bytes a second in a copy."""
    import torch

    torch.set_num_threads(threads)
    side = 2048
    a, b = torch.randn(side, side), torch.randn(side, side)
    source = torch.randn(2**26)
    target = torch.empty_like(source)
    return {
        "flops_per_second": 2 * side**3 / best_of(lambda: a @ b),
        "bytes_per_second": 2 * source.nbytes / best_of(lambda: target.copy_(source)),
    }


def needs(options: argparse.Namespace) -> dict[str, float]:
    """Operations of all convolutions and linear layers of a step, and bytes that BatchNorm with its activation moves.

    Bytes: forward reads the map for the statistics, reads it again and writes the result; backward reads map and
    gradient twice and writes a gradient: 8 float32 passes.
    """
    import torch
    from torch import nn
    from torch.utils.flop_counter import FlopCounterMode

    from sides import timm_model

    model = timm_model(options).train()
    elements = 0

    def count(_module: nn.Module, inputs: tuple[torch.Tensor, ...], _output: Any) -> None:
        nonlocal elements
        elements += inputs[0].numel()

    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(count)
    images = torch.randn(2, 3, options.size, options.size)  # two are enough: everything is proportional to the batch
    with FlopCounterMode(display=False) as counter:
        model(images).sum().backward()
    share = options.batch / len(images)
    return {"flops": counter.get_total_flops() * share, "norm_bytes": 8 * 4 * elements * share}


def bound(options: argparse.Namespace, seconds: float) -> dict[str, float]:
    """The two bounds of a step in seconds, and what share of the measured time they are."""
    peak, need = peaks(options.threads), needs(options)
    multiply = need["flops"] / peak["flops_per_second"]
    move = need["norm_bytes"] / peak["bytes_per_second"]
    return {**peak, **need, "multiply_seconds": multiply, "move_seconds": move, "share": (multiply + move) / seconds}
