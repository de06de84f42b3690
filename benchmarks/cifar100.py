"""CIFAR-100 from the cache, and an epoch of its augmentation on one thread.

    python benchmarks/cifar100.py --data-dir DIR [--rounds 6] [-o FILE]

The first start decodes into a cache of its own; every later one is a new process, as a run is. The epoch: 50,000 images
with crop, flip, rotation, CutMix and a resize to 64 px, in batches of 128, with the samplings of the recipe
`reference` (nearest) and with smooth ones (bilinear rotation, bicubic resize).
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from bounds import peaks
from interleaved import Side, Work, serve, spread

SIZE, BATCH, SOURCE, IMAGES = 64, 128, 32, 50_000
SAMPLINGS = {
    "nearest": [],
    "smooth": ["augment.rotation.interpolation=bilinear", "augment.resize.interpolation=bicubic"],
}


def works(data_dir: Path) -> dict[str, Work]:
    """`open`: seconds from nothing but imported modules to data that can be read; one per sampling: of an epoch."""
    import os

    from seedwise.base.machine import prepare_process

    prepare_process()
    import torch

    from seedwise.data.config import DataConfig
    from seedwise.data.open import open_data

    torch.set_num_threads(1)
    os.environ["SEEDWISE_CACHE"] = str(data_dir / "cache")

    def opened() -> Any:
        return open_data("cifar100", DataConfig(val=0), data_dir=data_dir / "data", short_side=SIZE)

    def ready() -> float:
        began = time.perf_counter()
        opened().train.gather([0])
        return time.perf_counter() - began

    def epoch(overrides: list[str]) -> float:
        import numpy as np

        from samples import seedwise_batch
        from seedwise.recipe import library

        recipe = library.read("reference", [f"train.image_size={SIZE}", *overrides])
        train, options = opened().train, argparse.Namespace(size=SIZE)
        batch = seedwise_batch(recipe, train, options)
        began = time.perf_counter()
        for positions in np.array_split(np.random.default_rng(0).permutation(IMAGES), IMAGES // BATCH):
            batch(positions)
        return time.perf_counter() - began

    return {"open": ready} | {name: lambda given=given: epoch(given) for name, given in SAMPLINGS.items()}


def measure(data_dir: Path, rounds: int) -> dict[str, Any]:
    """Seconds of the first start, of later ones, and of the epochs, which share a process with a start."""
    found: dict[str, list[float]] = {name: [] for name in ("open", *SAMPLINGS)}
    with tempfile.TemporaryDirectory() as place:
        Path(place, "data").symlink_to(data_dir.resolve())
        with Side(__file__, ["--worker", place]) as side:
            first = side.ask("open")
        for _ in range(rounds):
            with Side(__file__, ["--worker", place]) as side:
                for name, times in found.items():
                    times.append(side.ask(name))
    return {
        "images": IMAGES,
        "size": SIZE,
        "rounds": rounds,
        "first_seconds": first,
        "ready_seconds": spread(found["open"]),
        "epoch_seconds": {name: spread(found[name]) for name in SAMPLINGS},
        "floor_seconds": IMAGES * 3 * (SOURCE**2 + 4 * SIZE**2) / peaks(1)["bytes_per_second"],
    }


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("-o", "--out", type=Path)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        serve(works(options.worker))
        return
    text = json.dumps(measure(options.data_dir, options.rounds), indent=2)
    if options.out:
        options.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
