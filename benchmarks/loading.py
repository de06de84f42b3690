"""Measures how fast photos are loaded that do not fit the disk decoded, beside timm's loader and torchvision's.

    python benchmarks/loading.py make FOLDER --photos SOURCE --count 100000
    python benchmarks/loading.py measure FOLDER --side 160 --workers 2 --rounds 5

`make` writes so many different JPEG files of 500 px (each photo of SOURCE with its own comment) into class folders.
`measure` loads in turns, in processes of their own, the same number of images in a shuffled order: seedwise's encoded
storage to uint8 at the short side (crops and flips follow on whole batches), timm's and torchvision's loaders with
RandomResizedCrop and flip to uint8 or float tensors. It prints images/s, the time to the first batch, memory at the
peak (of the process, without its workers), memory at the end with the workers (pages that several share counted once),
and what lies in the cache.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

BATCH = 64


def make(folder: Path, photos: Path, count: int) -> None:
    """Write `count` different files in ten classes: a JPEG comment of its own in each."""
    sources = [path.read_bytes() for path in sorted(photos.rglob("*.jpg"))]
    for number in range(count):
        place = folder / f"class{number % 10}"
        place.mkdir(parents=True, exist_ok=True)
        data, comment = sources[number % len(sources)], b"%010d" % number
        mark = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
        (place / f"{number:07d}.jpg").write_bytes(data[:2] + mark + data[2:])


def _seedwise(folder: Path, side: int, workers: int) -> Iterator[int]:
    import numpy as np

    from seedwise.data.config import DataConfig
    from seedwise.data.open import open_data

    config = DataConfig(storage="encoded", order="listing", workers=workers, val=0, test=0)
    train = open_data(str(folder), config, short_side=side).train
    order = np.random.default_rng(0).permutation(len(train))
    train.expect(order)
    for start in range(0, len(order), BATCH):
        yield len(train.gather(order[start : start + BATCH])[0])


def _torchvision(folder: Path, side: int, workers: int) -> Iterator[int]:
    from torch.utils.data import DataLoader
    from torchvision import datasets, transforms

    steps = [transforms.RandomResizedCrop(side), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    images = datasets.ImageFolder(str(folder), transforms.Compose(steps))
    for batch, _ in DataLoader(images, BATCH, shuffle=True, num_workers=workers):
        yield len(batch)


def _timm(folder: Path, side: int, workers: int) -> Iterator[int]:
    import torch
    from timm.data import create_dataset, create_loader  # type: ignore[attr-defined]

    images = create_dataset("", root=str(folder))
    cpu = torch.device("cpu")
    loader = create_loader(
        images, (3, side, side), BATCH, is_training=True, num_workers=workers, device=cpu, use_prefetcher=False
    )
    for batch, _ in loader:
        yield len(batch)


LOADERS = {"seedwise": _seedwise, "timm": _timm, "torchvision": _torchvision}


def one(name: str, folder: Path, side: int, workers: int, images: int) -> None:
    """Load `images` images once, and print the measurements as JSON."""
    began = time.perf_counter()
    done, first, first_count = 0, 0.0, 0
    for count in LOADERS[name](folder, side, workers):
        if not done:
            first, first_count = time.perf_counter() - began, count
        done += count
        if done >= images:
            break
    seconds = time.perf_counter() - began - first
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rate = (done - first_count) / seconds
    print(json.dumps({"rate": rate, "first": first, "memory_mb": own, "all_mb": _with_workers()}), flush=True)
    os._exit(0)  # the loaders' workers need not be waited for


def _with_workers() -> float:
    """MB of this process and all below it, by Linux's proportional set size."""
    total, waiting = 0.0, [os.getpid()]
    while waiting:
        process = Path("/proc") / str(waiting.pop())
        lines = (process / "smaps_rollup").read_text().splitlines()
        total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
        for task in (process / "task").iterdir():
            waiting += map(int, (task / "children").read_text().split())
    return total


def measure(folder: Path, side: int, workers: int, rounds: int, images: int) -> None:
    """Measure every loader in turns, and print means and ratios with their range."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in LOADERS}
    with tempfile.TemporaryDirectory() as cache:
        for turn in range(rounds):
            names = list(LOADERS) if turn % 2 == 0 else list(reversed(LOADERS))
            for name in names:
                words = [sys.executable, __file__, "one", str(folder), "--loader", name, "--side", str(side)]
                words += ["--workers", str(workers), "--images", str(images)]
                environment = os.environ | {"SEEDWISE_CACHE": cache, "OMP_NUM_THREADS": "1"}
                said = subprocess.run(words, env=environment, check=True, capture_output=True, text=True).stdout
                found[name].append(json.loads(said.splitlines()[-1]))
                print(turn, name, said.splitlines()[-1], flush=True)
        disk = sum(path.stat().st_size for path in Path(cache).rglob("*") if path.is_file()) / 1e6
    for name, turns in found.items():
        rate = statistics.median(it["rate"] for it in turns)
        ratios = sorted(a["rate"] / b["rate"] for a, b in zip(found["seedwise"], turns, strict=True))
        firsts = [it["first"] for it in turns]
        print(
            f"{name:12} {rate:6.0f} images/s; seedwise / it {statistics.median(ratios):.2f} "
            f"({ratios[0]:.2f} to {ratios[-1]:.2f}); first batch {firsts[0]:.1f} s, then {min(firsts):.1f} s; "
            f"{max(it['memory_mb'] for it in turns):.0f} MB, {max(it['all_mb'] for it in turns):.0f} MB with workers"
        )
    print(f"seedwise's cache: {disk:.1f} MB")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("make", "measure", "one"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--loader", choices=LOADERS, default="seedwise")
    parser.add_argument("--side", type=int, default=160)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=2000)
    given = parser.parse_args()
    if given.what == "make":
        make(given.folder, given.photos, given.count)
    elif given.what == "one":
        one(given.loader, given.folder, given.side, given.workers, given.images)
    else:
        measure(given.folder, given.side, given.workers, given.rounds, given.images)


if __name__ == "__main__":
    main()
