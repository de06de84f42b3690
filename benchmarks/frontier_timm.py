"""timm's train.py on CIFAR-100 in the minutes that a recipe of docs/frontier.md takes; its row of that page.

    python benchmarks/frontier_timm.py --timm-src DIR --data-dir DIR --work DIR --px 64 --epochs 1 --seeds 1,2,3 --test

DIR of `--timm-src`: a checkout of timm. The images and their split, the weights that training begins with, and their
normalization are seedwise's; the flags are `run`'s. Without `--test` the validation images are scored: to find the size
and the epochs that do best in these minutes. Each seed is a JSON file in --work; a second call does what is missing.
"""

import argparse
import csv
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from frontier_page import TIMM

MODEL = "efficientnet_lite0"


def pictures(data_dir: Path, place: Path) -> dict[str, Path]:
    """CIFAR-100's training, validation and test images as folders of PNG files by class, written once."""
    from PIL import Image

    from seedwise.data.config import DataConfig
    from seedwise.data.open import open_data

    found = {name: place / name for name in ("train", "val", "test")}
    if (place / "written").exists():
        return found
    data = open_data("cifar100", DataConfig(), data_dir=data_dir, short_side=32)
    for name, folder in found.items():
        part = getattr(data, name)
        for start in range(0, len(part), 1000):
            rows = range(start, min(start + 1000, len(part)))
            pixels, _ = part.gather(list(rows))
            for row, image in zip(rows, pixels, strict=True):
                own = folder / f"{part.targets[row]:03}"
                own.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image.transpose(1, 2, 0)).save(own / f"{row:05}.png")
    (place / "written").touch()
    return found


def first_weights(place: Path) -> tuple[Path, list[str], list[str]]:
    """The weights that seedwise begins with, under timm's names, with their mean and standard deviation."""
    import torch

    from seedwise.models.build import build_model
    from seedwise.models.config import ModelConfig

    built = build_model(ModelConfig(name=MODEL), num_classes=1000, seed=0)
    path = place / f"{MODEL}.pth"
    torch.save(built.module.state_dict(), path)
    return path, [str(value) for value in built.mean], [str(value) for value in built.std]


def run(options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Train with timm's script; its top-1 after the last epoch, and its seconds."""
    parts, (weights, mean, std) = pictures(options.data_dir, options.work), first_weights(options.work)
    out = options.work / f"timm-{options.px}px-{options.epochs}e-{seed}-{'test' if options.test else 'val'}"
    command = [sys.executable, "train.py", "--data-dir", options.work.resolve(), "--train-split", parts["train"].name]
    command += ["--val-split", "test" if options.test else "val", "--model", f"tf_{MODEL}", "--num-classes", 100]
    command += ["--pretrained", "--pretrained-path", weights.resolve(), "--mean", *mean, "--std", *std]
    command += ["--img-size", options.px, "-b", 64, "-vb", 256, "--epochs", options.epochs, "--crop-pct", 1.0]
    command += ["--opt", "adamw", "--lr", "1e-3", "--weight-decay", "1e-3", "--sched", "cosine", "--sched-on-updates"]
    command += ["--warmup-epochs", 0, "--drop", 0.2, "--smoothing", 0.1, "--color-jitter", 0, "--channels-last"]
    command += ["--scale", 0.6, 1.0, "--train-interpolation", "bicubic", "--interpolation", "bicubic"]
    command += ["--device", "cpu", "--workers", 1, "--no-prefetcher", "--seed", seed]
    command += ["--output", out.parent.resolve(), "--experiment", out.name, *options.flags]
    began = time.perf_counter()
    subprocess.run(list(map(str, command)), cwd=options.timm_src, check=True)
    seconds = time.perf_counter() - began
    with (out / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {"seed": seed, "top1": float(rows[-1]["eval_top1"]) / 100, "seconds": seconds, "command": command[2:]}


def main() -> None:
    """Train what is missing; with `--test`, keep it for the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--timm-src", "--data-dir", "--work"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--px", type=int, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--seeds", default="1")
    parser.add_argument("--test", action="store_true", help="train and score for the page: on test images")
    parser.add_argument("flags", nargs="*", help="further flags of timm's script, after --")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    found = []
    for seed in map(int, options.seeds.split(",")):
        path = options.work / f"{options.px}-{options.epochs}-{seed}-{options.test}.json"
        if not path.exists():
            path.write_text(json.dumps(run(options, seed), default=str))
        found.append(json.loads(path.read_text()))
        print({name: found[-1][name] for name in ("seed", "top1", "seconds")}, flush=True)
    if options.test:
        from seedwise.base import machine

        kept = {"runs": found, "px": options.px, "epochs": options.epochs, "machine": machine.facts()}
        TIMM.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
