"""Native kernels against stock layers, seed by seed: do they learn as well?

    python benchmarks/accuracy.py --data-dir DIR --runs DIR [--seeds 6] [--images 10000] [--epochs 2] [--size 64]

Lite0 on CIFAR-100, the recipe `lite` but for what the options say, once with `compute.kernels=native` and once with
`stock`, both in fp32. Both arms share split, head, order of images and draws, so the differences are paired. The 90%
interval of the mean difference (Student's t, n - 1 degrees of freedom) within a margin of one point is a test for
equivalence at 5% (Schuirmann 1987). Run folders are kept in --runs: a second call completes what is missing.
"""

import argparse
import json
import math
from pathlib import Path
from statistics import mean, stdev
from typing import Any

ARMS = ("native", "stock")
MARGIN = 0.01


def train(options: argparse.Namespace, arm: str, seed: int) -> dict[str, float]:
    """Test top-1 and seconds of one run, trained now or found."""
    from seedwise.recipe import library
    from seedwise.run.train import train as train_run

    settings = {
        "data.limit": options.images,
        "train.epochs": options.epochs,
        "train.image_size": options.size,
        "compute.kernels": arm,
        "compute.precision": "fp32",
    }
    recipe = library.read("lite", [f"{key}={value}" for key, value in settings.items()])
    folder = options.runs / arm / f"seed-{seed}"
    record = train_run(recipe, "cifar100", seed=seed, out=folder, data_dir=options.data_dir).record
    assert record.final is not None and record.final.test is not None
    return {"top1": record.final.test.top1, "seconds": record.seconds["train"]}


def main() -> None:
    """Train, pair, print."""
    from seedwise.base.machine import prepare_process

    prepare_process()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("-o", "--out", type=Path)
    options = parser.parse_args()
    from scipy import stats

    from seedwise.base import machine

    pairs: list[dict[str, Any]] = []
    for seed in range(options.seeds):
        pair = {arm: train(options, arm, seed) for arm in (ARMS if seed % 2 else ARMS[::-1])}
        pairs.append({"seed": seed, **pair})
        print(f"seed {seed}: " + ", ".join(f"{arm} {pair[arm]['top1']:.4f}" for arm in ARMS), flush=True)
    differences = [pair["native"]["top1"] - pair["stock"]["top1"] for pair in pairs]
    n = len(differences)
    half = float(stats.t.ppf(0.95, n - 1)) * stdev(differences) / math.sqrt(n)
    ratios = [pair["stock"]["seconds"] / pair["native"]["seconds"] for pair in pairs]
    low, high = mean(differences) - half, mean(differences) + half
    result: dict[str, Any] = {
        **{key: getattr(options, key) for key in ("images", "epochs", "size", "seeds")},
        "pairs": pairs,
        "difference": mean(differences),
        "ci90": [low, high],
        "within_margin": low > -MARGIN and high < MARGIN,
        "training_ratio": {"min": min(ratios), "mean": mean(ratios), "max": max(ratios)},
        "machine": machine.facts(),
    }
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(f"native - stock: {100 * mean(differences):+.2f} points, 90% interval [{100 * low:+.2f}, {100 * high:+.2f}]")
    print(f"training time, stock / native: {mean(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}] (n={n})")


if __name__ == "__main__":
    main()
