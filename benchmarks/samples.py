"""Augmentation a sample: seedwise's whole batches against torchvision v2's transforms, image by image, on one thread.

    python benchmarks/samples.py [--size 224] [--batch 128] [--rounds 6] [-o FILE]

Both apply what the recipe `reference` applies: reflect-padded crop, flip, rotation, nearest resize, normalization and
CutMix at probability 0.5, to the same embedded images of 32 px. torchvision's transforms run on each image, as its
data sets call them, once on tensors and once on Pillow's images; its CutMix runs on the batch. The sides take turns, a
batch each.
"""

import argparse
import json
import math
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bounds import peaks
from interleaved import Side, Work, alternate, ratios, serve, spread

SIDES = ("seedwise", "torchvision, tensors", "torchvision, Pillow")
SOURCE = 32
Batches = Callable[[Any], None]
"""Augments the images at these positions."""


def works(options: argparse.Namespace) -> dict[str, Work]:
    """What a worker can be asked for: `batch`, which answers with its seconds."""
    from seedwise.base.machine import prepare_process

    prepare_process()
    import numpy as np
    import torch

    from contenders import seconds
    from seedwise.data.open import open_data
    from seedwise.recipe import library

    torch.set_num_threads(1)
    recipe = library.read("reference", [f"train.image_size={options.size}"])
    train = open_data("digits", recipe.data, short_side=options.size).train
    positions = np.arange(options.batch)
    make = seedwise_batch if options.worker == "seedwise" else torchvision_batch
    batch = make(recipe, train, options)
    return {"batch": seconds(lambda: batch(positions))}


def seedwise_batch(recipe: Any, train: Any, options: argparse.Namespace) -> Batches:
    """As the training loop does it."""
    import torch

    from seedwise.augment.pipeline import Augmenter

    augmenter = Augmenter(
        recipe.augment, seed=0, rows=train.rows_in_part, mean=(0.5,) * 3, std=(0.5,) * 3, device=torch.device("cpu")
    )

    def batch(positions: Any) -> None:
        pixels, _ = train.gather(positions)
        targets = torch.nn.functional.one_hot(torch.from_numpy(train.targets[positions]), 100).float()
        images = torch.from_numpy(pixels)
        augmenter.train(images, None, targets, train.ids[positions], epoch=0, size=options.size)

    return batch


def torchvision_batch(recipe: Any, train: Any, options: argparse.Namespace) -> Batches:
    """The same list from torchvision.transforms.v2."""
    import torch
    from PIL import Image
    from torchvision.transforms import v2

    given = recipe.augment
    nearest = v2.InterpolationMode.NEAREST
    one = v2.Compose(
        [
            v2.RandomCrop(SOURCE, padding=given.random_crop.padding, padding_mode="reflect"),
            v2.RandomHorizontalFlip(given.horizontal_flip.prob),
            v2.RandomRotation(given.rotation.degrees, nearest),
            v2.Resize(options.size, nearest),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.5] * 3, [0.5] * 3),
        ]
    )
    mix = v2.RandomApply([v2.CutMix(alpha=given.cutmix.alpha, num_classes=100)], given.cutmix.prob)
    pillow = "Pillow" in options.worker

    def batch(positions: Any) -> None:
        pixels, _ = train.gather(positions)
        images = [Image.fromarray(p.transpose(1, 2, 0)) if pillow else torch.from_numpy(p) for p in pixels]
        mix(torch.stack([one(image) for image in images]), torch.from_numpy(train.targets[positions]))

    return batch


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Microseconds an image of each side, ratios, and the floor: reading the image and writing the batch."""
    given = ["--size", options.size, "--batch", options.batch]
    with ExitStack() as stack:
        sides = {name: stack.enter_context(Side(__file__, ["--worker", name, *given])) for name in SIDES}
        answers = alternate(sides, "batch", options.rounds, hopeless=math.inf)
    turns = {name: [t[0] for t in times] for name, times in answers.items()}
    moved = 3 * (SOURCE**2 + 4 * options.size**2)
    return {
        **{key: getattr(options, key) for key in ("size", "batch", "rounds")},
        "microseconds": {name: spread([1e6 * t / options.batch for t in times]) for name, times in turns.items()},
        "ratios": {name: ratios(turns[name], turns["seedwise"]) for name in SIDES[1:]},
        "floor_microseconds": 1e6 * moved / peaks(1)["bytes_per_second"],
    }


def parser() -> argparse.ArgumentParser:
    """Options of one comparison."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--size", type=int, default=224)
    made.add_argument("--batch", type=int, default=128)
    made.add_argument("--rounds", type=int, default=6)
    made.add_argument("-o", "--out", type=Path)
    made.add_argument("--worker", choices=SIDES, help=argparse.SUPPRESS)
    return made


def main() -> None:
    """Parse, compare, print."""
    options = parser().parse_args()
    if options.worker:
        serve(works(options))
        return
    result = compare(options)
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n")
    for name, took in result["microseconds"].items():
        print(f"{name:<24}{took['median']:>8.1f} us [{took['min']:.1f}, {took['max']:.1f}]")
    for name, value in result["ratios"].items():
        print(f"{name} / seedwise: {value['median']:.2f} [{value['min']:.2f}, {value['max']:.2f}]")
    print(f"floor{result['floor_microseconds']:>27.1f} us")


if __name__ == "__main__":
    main()
