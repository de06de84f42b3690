"""Every distinct dense 3x3 layer of stride 1 of a model: milliseconds by oneDNN and by Winograd's minimal filtering.

    python benchmarks/winograd.py [--model tf_efficientnetv2_s] [--size 64] [--batch 128] [--threads N] [--rounds 9]

The two take turns, so that a busy neighbor meets both alike. Milliseconds are the shortest of all rounds, the ratio is
the median over the rounds of oneDNN's time / Winograd's, with the quartiles. Errors are the largest against float64,
relative to the result's root mean square.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median, quantiles

from seedwise.base import machine
from seedwise.kernels import dispatch

machine.prepare_process()

import timm  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from seedwise.kernels.layers.conv3x3 import use_winograd  # noqa: E402
from seedwise.kernels.layers.dense import onednn_images_gradient, onednn_weight_gradient  # noqa: E402
from seedwise.kernels.ops import conv3x3 as conv3x3_ops  # noqa: E402

Pair = tuple[Callable[[], Tensor], Callable[[], Tensor]]


def layers_of(name: str, size: int) -> dict[tuple[int, int, int, int], int]:
    """(in, out, height, width) of each layer that could train by the kernels, and how often it occurs."""
    model, found = timm.create_model(name).eval(), dict[tuple[int, int, int, int], int]()
    use_winograd(model, dispatch.Dispatcher())

    def note(conv: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(conv, nn.Conv2d)
        key = conv.in_channels, conv.out_channels, inputs[0].shape[2], inputs[0].shape[3]
        found[key] = found.get(key, 0) + 1

    for module in model.modules():
        if isinstance(getattr(module, "dispatcher", None), dispatch.Dispatcher):
            module.register_forward_pre_hook(note)
    with torch.inference_mode():
        model(torch.zeros(1, 3, size, size))
    return found


def pairs(images: Tensor, weight: Tensor, grad: Tensor) -> dict[str, Pair]:
    """oneDNN and Winograd for the result and each gradient."""
    return {
        "forward": (lambda: F.conv2d(images, weight, None, 1, 1), lambda: conv3x3_ops.forward(images, weight)),
        "images": (
            lambda: onednn_images_gradient(images, grad, weight),
            lambda: conv3x3_ops.images_gradient(grad, weight),
        ),
        "weight": (
            lambda: onednn_weight_gradient(images, grad, weight),
            lambda: conv3x3_ops.weight_gradient(images, grad, weight),
        ),
    }


def exact(images: Tensor, weight: Tensor, grad: Tensor) -> list[Tensor]:
    """The result and both gradients in float64."""
    x, w = (it.double().requires_grad_() for it in (images, weight))
    result = F.conv2d(x, w, None, 1, 1)
    return [result.detach(), *torch.autograd.grad(result, [x, w], grad.double())]


def seconds(run: Callable[[], Tensor]) -> float:
    """Of one call."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def measure(layer: tuple[int, int, int, int], count: int, batch: int, rounds: int) -> tuple[float, float]:
    """Print a layer's rows; its milliseconds by both, times its count."""
    inputs, outputs, h, w = layer
    last = torch.channels_last
    images = torch.randn(batch, inputs, h, w).contiguous(memory_format=last)
    weight = (torch.randn(outputs, inputs, 3, 3) / (9 * inputs) ** 0.5).contiguous(memory_format=last)
    grad = torch.randn(batch, outputs, h, w).contiguous(memory_format=last)
    total = [0.0, 0.0]
    for (kind, pair), truth in zip(pairs(images, weight, grad).items(), exact(images, weight, grad), strict=True):
        errors = [float((run() - truth).abs().max() / truth.square().mean().sqrt()) for run in pair]
        turns = [[seconds(run) for run in pair] for _ in range(rounds)]
        best = [1000 * min(times) for times in zip(*turns, strict=True)]
        ratios = [theirs / ours for theirs, ours in turns]
        low, _, high = quantiles(ratios, n=4)
        total = [sum_ + count * it for sum_, it in zip(total, best, strict=True)]
        print(
            f"{inputs:>4} > {outputs:<5}{f'{h}x{w}':<8}x{count:<3}{kind:<8}{best[0]:>8.2f}{best[1]:>8.2f} ms"
            f"{median(ratios):>7.2f} [{low:.2f}, {high:.2f}]   errors {errors[0]:.1e} {errors[1]:.1e}"
        )
    return total[0], total[1]


def main() -> None:
    """Parse, measure, print."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--model", default="tf_efficientnetv2_s")
    made.add_argument("--size", type=int, default=64)
    made.add_argument("--batch", type=int, default=128)
    made.add_argument("--threads", type=int, default=machine.cores())
    made.add_argument("--rounds", type=int, default=9)
    options = made.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    print(machine.describe(machine.facts()), "| kernels:", conv3x3_ops.KERNELS.name(), "|", options)
    layers = layers_of(options.model, options.size)
    totals = [measure(layer, count, options.batch, options.rounds) for layer, count in layers.items()]
    print("all layers: oneDNN {:.0f} ms, Winograd {:.0f} ms".format(*map(sum, zip(*totals, strict=True))))


if __name__ == "__main__":
    main()
