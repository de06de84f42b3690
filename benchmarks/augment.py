"""What each augmentation costs an image, against torchvision's own v2 transform on the same images.

    python benchmarks/augment.py [--rounds 7] [--images 2000] [-o src/seedwise/recipe/technique_costs.json]

Images as of CIFAR (32 px, smooth with noise), one thread. seedwise augments whole batches with a draw per image;
torchvision's transforms draw once a batch, so a draw per image means a call per image. Each side is a process of its
own, and they take turns; ratios are taken turn by turn. Only the technique is timed, with its draws and what it
measures for the record: not the resize and normalization, which every batch needs.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from interleaved import Side, alternate, ratios, serve
from seedwise.augment.config import TECHNIQUES

SIDE, BATCH, CLASSES = 32, 128, 100
NAMES = [name for name, section in TECHNIQUES.items() if section.on == "default"]
"""Each at its defaults."""
SINGLE_PROCESS = ("alternating_flip",)
"""torchvision has none."""


def pictures(count: int) -> tuple[Tensor, Tensor]:
    """uint8[count, 3, 32, 32] and one-hot targets float32[count, 100], the same on both sides."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    wave, phase = random.uniform(-9, 9, (count, 3, 2, 1, 1)), random.uniform(0, 6, (count, 3, 1, 1))
    smooth = 128 + 110 * np.sin(wave[:, :, 0] * y + wave[:, :, 1] * x + phase)
    pixels = (smooth + random.normal(0, 12, smooth.shape)).round().clip(0, 255).astype(np.uint8)
    return torch.from_numpy(pixels), torch.eye(CLASSES)[torch.arange(count) % CLASSES]


def seedwise_works(count: int) -> dict[str, Callable[[], Any]]:
    """For each technique seconds of all images in batches, its draws included."""
    from seedwise.augment.table import TECHNIQUES, Augmentation
    from seedwise.base import rng
    from seedwise.base.batch import Batch

    images, targets = pictures(count)
    context = {"size": SIDE, "interpolation": "bilinear", "mean": (0.5, 0.5, 0.5), "epoch": 0}
    epoch = 0

    def work(technique: Augmentation) -> Callable[[], list[float]]:
        config = technique.config()
        given = {name: context[name] for name in technique.keywords if name in context}

        def measure() -> list[float]:
            nonlocal epoch
            epoch += 1
            began = time.perf_counter()
            stream = rng.generator(0, "augment", technique.name, epoch)
            draws = torch.from_numpy(stream.random((count, technique.columns), dtype=np.float32))
            for start in range(0, count, BATCH):
                part = slice(start, start + BATCH)
                technique.apply(Batch(images[part], targets[part]), draws[part], config, **given)
            return [time.perf_counter() - began]

        return measure

    return {technique.name: work(technique) for technique in TECHNIQUES if technique.name in NAMES}


def torchvision_works(count: int) -> dict[str, Callable[[], Any]]:
    """The same by torchvision's transforms, image by image; Mixup and CutMix by the pair, as they need a batch."""
    from torchvision.transforms import v2

    images, targets = pictures(count)
    labels, floats = targets.argmax(dim=1), images.float()  # MixUp takes no bytes
    transforms: dict[str, Callable[..., Any]] = {
        "random_resized_crop": v2.RandomResizedCrop(SIDE, antialias=True),
        "random_crop": v2.RandomCrop(SIDE, padding=4, padding_mode="reflect"),
        "horizontal_flip": v2.RandomHorizontalFlip(0.5),
        "vertical_flip": v2.RandomVerticalFlip(0.5),
        "rotation": v2.RandomRotation(15),
        "color_jitter": v2.ColorJitter(0.2, 0.2, 0.2, 0.05),
        "rand_augment": v2.RandAugment(2, 9),
        "trivial_augment_wide": v2.TrivialAugmentWide(),
        "augmix": v2.AugMix(),
        "grayscale": v2.RandomGrayscale(0.1),
        "blur": v2.RandomApply([v2.GaussianBlur(3, (0.1, 2.0))], 0.5),
        "random_erasing": v2.RandomErasing(0.5),
    }
    pairs = {
        "mixup": v2.MixUp(alpha=0.2, num_classes=CLASSES),
        "cutmix": v2.RandomApply([v2.CutMix(alpha=1.0, num_classes=CLASSES)], 0.5),
    }

    def work(name: str) -> Callable[[], list[float]]:
        def measure() -> list[float]:
            began = time.perf_counter()
            if name in pairs:
                for i in range(count):
                    pairs[name](floats[[i, i - 1]], labels[[i, i - 1]])
            else:
                for image in images:
                    transforms[name](image)
            return [time.perf_counter() - began]

        return measure

    return {name: work(name) for name in NAMES if name not in SINGLE_PROCESS}


WORKS = {"seedwise": seedwise_works, "torchvision": torchvision_works}


def compare(rounds: int, count: int) -> dict[str, Any]:
    """Microseconds an image of every technique on both sides, and the ratio turn by turn."""
    sides = {name: Side(__file__, ["--worker", name, "--images", count]) for name in WORKS}
    techniques: dict[str, dict[str, Any]] = {}
    for name in NAMES:
        taking_part = {side: it for side, it in sides.items() if side == "seedwise" or name not in SINGLE_PROCESS}
        took = {side: [t[0] for t in times] for side, times in alternate(taking_part, name, rounds).items()}
        us = {side: 1e6 * median(times) / count for side, times in took.items()}
        techniques[name] = {"us": us["seedwise"]}
        if "torchvision" in us:
            ratio = ratios(took["torchvision"], took["seedwise"])
            techniques[name] |= {"torchvision_us": us["torchvision"], "ratio": ratio}
        print(f"{name:<22}", *(f"{side} {number:.2f} µs" for side, number in us.items()), flush=True)
    for side in sides.values():
        side.end()
    return {"side": SIDE, "batch": BATCH, "images": count, "rounds": rounds, "techniques": techniques}


def main() -> None:
    """Parse, compare, write."""
    from seedwise.base import machine
    from seedwise.recipe import techniques

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("-o", "--out", type=Path, default=techniques.COSTS)
    parser.add_argument("--worker", choices=WORKS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        torch.set_num_threads(1)
        torch.manual_seed(0)
        serve(WORKS[options.worker](options.images))
        return
    import torchvision

    result = compare(options.rounds, options.images)
    versions = machine.versions() | {"torchvision": torchvision.__version__}
    result |= {"machine": machine.facts(), "versions": versions}
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(options.out)


if __name__ == "__main__":
    main()
