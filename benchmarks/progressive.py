"""Whole trainings with progressive learning against the same at one size: pairs in one run, one after the other.

    python benchmarks/progressive.py --data-dir DIR [--presets paper automl] [--size 96] [--epochs 4] [--images 3000]

Each side is a `seedwise train cifar100 -r lite` of its own, from start to the last score, and ends at the same size.
"""

import argparse

from commands import train
from interleaved import ratios, spread


def main() -> None:
    """Parse, train in turns, print."""
    from seedwise.base import machine

    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--data-dir", required=True)
    made.add_argument("--presets", nargs="+", default=["paper", "automl"])
    made.add_argument("--size", type=int, default=96)
    made.add_argument("--epochs", type=int, default=4)
    made.add_argument("--images", type=int, default=3000)
    made.add_argument("--rounds", type=int, default=3)
    options = made.parse_args()
    common = ["cifar100", "-r", "lite", "--data-dir", options.data_dir, "--seed", 0]
    common += ["--img-size", options.size, "--epochs", options.epochs, "-s", f"data.limit={options.images}"]
    common += ["-s", "data.val=500", "-s", "data.test=2000", "-s"]
    times: dict[str, list[float]] = {name: [] for name in ("none", *options.presets)}
    for _ in range(options.rounds):
        for name, took in times.items():
            took.append(train(*common, f"progressive={name}"))
    print(machine.describe(machine.facts()))
    print(f"Lite0 to {options.size} px, {options.images} images, {options.epochs} epochs, n={options.rounds}")
    for name, took in times.items():
        found, share = spread(took), ratios(took, times["none"])
        print(
            f"{name:8}{found['median']:7.1f} s, {share['median']:.2f} [{share['min']:.2f}, {share['max']:.2f}] of none"
        )


if __name__ == "__main__":
    main()
