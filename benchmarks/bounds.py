"""What a training step cannot beat on this machine: its operations at peak rate, its bytes at full bandwidth."""

import argparse
import time
from collections.abc import Callable


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
    """What one image asks for: operations of all convolutions and linear layers, and bytes of BatchNorm's maps.

    Backward multiplies twice what forward does, once for the weights and once for the maps, but the images need no
    gradient. (PyTorch's own counter counts a depthwise backward as if its groups were one.)
    """
    import torch
    from torch import Tensor, nn
    from torch.utils.flop_counter import FlopCounterMode

    from contenders import timm_model

    model = timm_model(options).train()
    elements, first = 0, 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal elements, first
        if isinstance(module, nn.BatchNorm2d):
            elements += inputs[0].numel()
        elif isinstance(module, nn.Conv2d):
            first = first or 2 * output.numel() * module.weight[0].numel()

    for module in model.modules():
        module.register_forward_hook(count)
    images = torch.randn(2, 3, options.size, options.size)  # two are enough: everything is proportional to the batch
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(images)
    forward = counter.get_total_flops()
    return {
        "forward_flops": forward / len(images),
        "flops": (3 * forward - first) / len(images),
        "map_bytes": 4 * elements / len(images),
    }


PASSES = {"training": 8, "evaluation": 2}
"""How often each float32 map crosses memory at least, layer by layer.

Training: forward reads it for the statistics, reads it again and writes the result; backward reads map and gradient
twice and writes a gradient. Evaluation: with BatchNorm folded, it is written once and read once.
"""


def floors(bound: dict[str, float], what: str) -> tuple[float, float]:
    """Seconds of an image's training or evaluation: to multiply at peak rate, and to move maps at full bandwidth."""
    flops = bound["flops" if what == "training" else "forward_flops"]
    moved = PASSES[what] * bound["map_bytes"]
    return flops / bound["flops_per_second"], moved / bound["bytes_per_second"]


def bound(options: argparse.Namespace) -> dict[str, float]:
    """Peaks of the machine, measured now, and needs of one image."""
    return {**peaks(options.threads), **needs(options)}
