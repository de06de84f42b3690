"""BatchNorm layers of a model, with their activations: PyTorch's own against seedwise's fused kernels.

    python benchmarks/norm_act.py [--model NAME] [--size 64] [--batch 128] [--rounds 30] [--threads N] [--bf16]

Every distinct layer runs forward and backward in channels_last, stock and fused by turns, so that a busy neighbor meets
both alike. A line: the shape, the activation, how many such layers there are, the best milliseconds of stock and fused,
and the median of the ratios turn by turn. The totals are of a whole step's layers. `--peak` instead prints the peak
resident memory of a few training steps, each side in a process of its own.
"""

import argparse
import copy
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import quantiles
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

PHASES = ("forward", "backward")


@dataclass
class Layer:
    """A BatchNorm with the shape of its input, and how many are alike."""

    norm: "nn.Module"
    shape: tuple[int, ...]
    count: int = 0
    seconds: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    """Of every turn, by (side, phase)."""

    def best(self, side: str, phase: str) -> float:
        """Milliseconds."""
        return 1e3 * min(self.seconds[side, phase])

    def ratios(self, phase: str) -> list[float]:
        """How many times faster the kernels were, turn by turn."""
        pairs = zip(self.seconds["stock", phase], self.seconds["fused", phase], strict=True)
        return [stock / fused for stock, fused in pairs]


def build(options: argparse.Namespace) -> tuple["nn.Module", "Tensor"]:
    """The model in training mode, and a batch."""
    import timm
    import torch

    from seedwise.models.config import TIMM_NAMES

    name = TIMM_NAMES.get(options.model, options.model).split(".")[0]
    model: nn.Module = timm.create_model(name, num_classes=100).to(memory_format=torch.channels_last).train()
    images = torch.randn(options.batch, 3, options.size, options.size)
    return model, images.contiguous(memory_format=torch.channels_last)


def layers(options: argparse.Namespace) -> list[Layer]:
    """The model's distinct BatchNorm layers, in the order of the first of each kind."""
    import torch
    from torch import nn

    model, images = build(options)
    found: dict[tuple[Any, ...], Layer] = {}

    def note(norm: nn.Module, inputs: tuple["Tensor"], _: "Tensor") -> None:
        shape = tuple(inputs[0].shape)
        found.setdefault((shape, activation(norm)), Layer(norm, shape)).count += 1

    handles = [m.register_forward_hook(note) for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    with torch.no_grad():
        model(images)
    for handle in handles:
        handle.remove()
    return list(found.values())


def activation(norm: Any) -> str:
    return type(norm.act).__name__ if hasattr(norm, "act") else "Identity"


def turn(norm: Any, x: "Tensor", grad: "Tensor") -> Iterator[float]:
    """Seconds of a forward, then of a backward.

    Gradients are asked for, not accumulated: `x` would be the output of a convolution, but as a leaf gets a copy.
    """
    import torch

    wanted = (x, norm.weight, norm.bias)
    began = time.perf_counter()
    out = norm(x)
    yield time.perf_counter() - began
    began = time.perf_counter()
    torch.autograd.grad(out, wanted, grad)
    yield time.perf_counter() - began


def measure(layer: Layer, options: argparse.Namespace) -> None:
    """Fill the layer's seconds; the first turn warms up."""
    import torch

    from seedwise.kernels.layers.batch_norm import use_fused_norm_act

    sides = {"stock": copy.deepcopy(layer.norm), "fused": copy.deepcopy(layer.norm)}
    if use_fused_norm_act(sides["fused"]) != 1:
        raise SystemExit("the kernels can't be compiled, or don't know this layer")
    dtype = torch.bfloat16 if options.bf16 else torch.float32
    x, grad = (torch.randn(layer.shape).to(dtype).contiguous(memory_format=torch.channels_last) for _ in range(2))
    x.requires_grad_()
    for number in range(options.rounds + 1):
        for side, norm in sides.items():
            for phase, seconds in zip(PHASES, turn(norm, x, grad), strict=True):
                if number:
                    layer.seconds.setdefault((side, phase), []).append(seconds)


def peak(options: argparse.Namespace) -> None:
    """A worker's life: three training steps, then its peak resident memory in MB."""
    import resource

    import torch
    from torch.nn.functional import cross_entropy

    from seedwise.kernels.layers.batch_norm import use_fused_norm_act
    from seedwise.kernels.ops.batch_norm import available

    if not available():
        raise SystemExit("the kernels can't be compiled")
    model, images = build(options)
    if options.worker == "fused":
        use_fused_norm_act(model)
    for _ in range(3):
        with torch.autocast("cpu", torch.bfloat16, enabled=options.bf16):
            loss = cross_entropy(model(images), torch.arange(len(images)) % 100)
        model.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
    print(f"{options.worker}: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB at most", flush=True)


def report(options: argparse.Namespace) -> None:
    """Measure and print every layer, then the totals."""
    total = {(side, phase): 0.0 for side in ("stock", "fused") for phase in PHASES}
    print(
        f"{'input':<24}{'activation':<11}{'layers':>6}"
        + "".join(f"{p + ': stock, fused ms':>29} ratio" for p in PHASES)
    )
    for layer in layers(options):
        measure(layer, options)
        line = f"{'x'.join(map(str, layer.shape)):<24}{activation(layer.norm):<11}{layer.count:>6}"
        for phase in PHASES:
            for side in ("stock", "fused"):
                total[side, phase] += layer.count * layer.best(side, phase)
            low, middle, high = quantiles(layer.ratios(phase), n=4)
            line += f"{layer.best('stock', phase):9.3f}{layer.best('fused', phase):9.3f}"
            line += f"{middle:6.2f} [{low:.2f}, {high:.2f}]"
        print(line, flush=True)
    whole = {side: sum(total[side, phase] for phase in PHASES) for side in ("stock", "fused")}
    for phase in PHASES:
        stock, fused = total["stock", phase], total["fused", phase]
        print(f"{phase:<10}{stock:8.1f} ms stock{fused:8.1f} ms fused, {stock / fused:.2f} times faster")
    print(f"both      {whole['stock']:8.1f} ms stock{whole['fused']:8.1f} ms fused, ", end="")
    print(f"{whole['stock'] / whole['fused']:.2f} times faster (sums of best times)")


def main() -> None:
    """Parse, measure, print."""
    from seedwise.base import machine

    machine.prepare_process()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=machine.cores())
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--peak", action="store_true", help="peak memory instead of time")
    parser.add_argument("--worker", choices=("stock", "fused"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak and not options.worker:
        for side in ("stock", "fused"):
            subprocess.run([sys.executable, *sys.argv, "--worker", side], check=True)
        return
    import torch

    torch.set_num_threads(options.threads)
    if options.worker:
        peak(options)
        return
    print(machine.describe(machine.facts()), f"{options.threads} threads", sep=", ")
    report(options)


if __name__ == "__main__":
    main()
