"""Every distinct depthwise layer of a model: milliseconds by implementation, forward and each gradient.

    python benchmarks/depthwise.py [--model NAME] [--size 64] [--batch 128] [--threads N] [--dtype bf16] [--rounds 9]

The implementations take turns, so that a busy neighbor meets all alike. Each column is the shortest time, and after
the first the median over the rounds of (first's time / its time), with the quartiles. `pytorch` is autograd's backward
as it stands, `fallback` is `use_fallback`'s; both with the padding's own backward, and with the gradients that the
row names.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median, quantiles

from seedwise.base import machine

machine.prepare_process()

import timm  # noqa: E402
import torch  # noqa: E402
from timm.layers.conv2d_same import Conv2dSame  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from seedwise.kernels.layers.depthwise import available  # noqa: E402
from seedwise.kernels.layers.depthwise_fallback import depthwise_conv2d  # noqa: E402
from seedwise.kernels.ops import depthwise as depthwise_ops  # noqa: E402
from seedwise.kernels.ops import depthwise_candidates  # noqa: E402
from seedwise.kernels.ops.depthwise import Geometry  # noqa: E402

Wants = tuple[bool, bool]
Runs = dict[str, Callable[[], object]]
WANTS: dict[str, Wants] = {"images": (True, False), "weight": (False, True), "both": (True, True)}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def layers_of(name: str, size: int) -> dict[tuple[Geometry, int, int, int], int]:
    """(geometry, channels, height, width) of each depthwise layer, and how often it occurs."""
    model, found = timm.create_model(name).eval(), dict[tuple[Geometry, int, int, int], int]()

    def note(conv: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(conv, nn.Conv2d)
        _, c, h, w = inputs[0].shape
        kernel, stride = conv.kernel_size[0], conv.stride[0]
        if isinstance(conv, Conv2dSame):
            geometry = depthwise_ops.same(kernel, stride, h, w)
        else:
            top, left = (int(side) for side in conv.padding)
            geometry = Geometry(kernel, stride, top, left, top, left)
        key = geometry, c, h, w
        found[key] = found.get(key, 0) + 1

    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels == module.out_channels > 1:
            module.register_forward_pre_hook(note)
    with torch.inference_mode():
        model(torch.zeros(1, 3, size, size))
    return found


def autograd(
    x: Tensor, grad: Tensor, weight: Tensor, geometry: Geometry, wants: Wants, conv: Callable[..., Tensor]
) -> Callable[[], object]:
    """The backward of a convolution function, and of the padding before it."""
    x, weight = x.detach().requires_grad_(wants[0]), weight.detach().requires_grad_(wants[1])
    padded, padding = depthwise_candidates.padded(x, geometry)
    out = conv(padded, weight, (geometry.stride,) * 2, padding)
    inputs = [tensor for tensor in (x, weight) if tensor.requires_grad]
    return lambda: torch.autograd.grad(out, inputs, grad, retain_graph=True)


def stock_conv(x: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
    """PyTorch's."""
    return nn.functional.conv2d(x, weight, None, stride, padding, groups=len(weight))


def runs_of(what: str, x: Tensor, grad: Tensor, weight: Tensor, geometry: Geometry) -> Runs:
    """What is compared in one row of the table."""
    if what == "forward":
        runs: Runs = {"pytorch": lambda: depthwise_candidates.onednn_forward(x, weight, geometry)}
        return runs | ({"native": lambda: depthwise_ops.forward(x, weight, geometry)} if available() else {})
    wants = WANTS[what]
    runs = {
        "pytorch": autograd(x, grad, weight, geometry, wants, stock_conv),
        "fallback": autograd(x, grad, weight, geometry, wants, depthwise_conv2d),
    }
    if available():
        runs["native"] = lambda: depthwise_ops.backward(x, grad, weight, geometry, wants)
    return runs


def measure(runs: Runs, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each, by round."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            if number:
                taken[name].append((time.perf_counter() - began) * 1e3)
    return taken


def line(taken: dict[str, list[float]]) -> str:
    """Minima, and the ratios to the first, round by round."""
    first, parts = next(iter(taken)), []
    for name, times in taken.items():
        text = f"{name} {min(times):.2f}"
        if name != first:
            ratios = [a / b for a, b in zip(taken[first], times, strict=True)]
            low, _, high = quantiles(ratios, n=4)
            text += f" (x{median(ratios):.1f}, {low:.1f}-{high:.1f})"
        parts.append(text)
    return "   ".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tf_efficientnet_lite0")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, default=machine.cores())
    parser.add_argument("--dtype", choices=DTYPES, default="fp32")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(machine.describe(machine.facts()), "| kernels:", depthwise_ops.DEPTHWISE.name(), "|", options)
    rows = ("forward", "images", "weight", "both")
    together = ("pytorch", "fallback", "native")
    totals: dict[str, dict[str, list[float]]] = {what: {} for what in rows}
    for (geometry, c, h, w), count in layers_of(options.model, options.size).items():
        print(f"{geometry.kernel}x{geometry.kernel}/{geometry.stride} {c}x{h}x{w}, {count} of them")
        dtype = DTYPES[options.dtype]
        x = torch.randn(options.batch, c, h, w).to(dtype).contiguous(memory_format=torch.channels_last)
        grad = torch.randn(options.batch, c, *geometry.out_size(h, w)).to(dtype)
        grad = grad.contiguous(memory_format=torch.channels_last)
        weight = torch.randn(c, 1, geometry.kernel, geometry.kernel).to(dtype)
        for what in rows:
            taken = measure(runs_of(what, x, grad, weight, geometry), options.rounds)
            print(f"  {what:8}", line(taken))
            for name in filter(taken.__contains__, together):
                sums = totals[what].setdefault(name, [0.0] * options.rounds)
                totals[what][name] = [a + count * b for a, b in zip(sums, taken[name], strict=True)]
    print("all layers, sums round by round")
    for what, taken in totals.items():
        print(f"  {what:8}", line(taken))


if __name__ == "__main__":
    main()
