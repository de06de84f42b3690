"""A folder of many small JPEGs: seconds and memory of the first start, which decodes them, and of the second.

    python benchmarks/folder.py [--images 100000] [--side 32] [--classes 100] [-o FILE]

The pictures are made in a temporary folder, each a different one. Every start is a process of its own, so that its peak
memory is its own and the second one has nothing but the files; only the file system's cache is warm, as after a
download. `cpu_seconds` tells a slow machine from a busy one.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np


def make(folder: Path, options: argparse.Namespace) -> None:
    """Smooth random pictures with some noise, spread evenly over the classes."""
    from PIL import Image

    draw = np.random.default_rng(0)
    folders = [folder / f"class {number:03}" for number in range(options.classes)]
    for place in folders:
        place.mkdir(parents=True)
    size = (options.side, options.side)
    for number in range(options.images):
        coarse = Image.fromarray(draw.integers(0, 256, (4, 4, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
        noisy = np.asarray(coarse, np.int16) + draw.integers(-8, 9, (*size, 3), np.int16)
        picture = Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
        picture.save(folders[number % options.classes] / f"{number:06}.jpg", quality=90)


def start(folder: Path, cache: Path) -> dict[str, Any]:
    """One start in a process of its own."""
    command = [sys.executable, __file__, "--start", str(folder)]
    done = subprocess.run(command, env=os.environ | {"SEEDWISE_CACHE": str(cache)}, capture_output=True, check=False)
    if done.returncode:
        sys.exit(done.stderr.decode())
    return dict(json.loads(done.stdout))


def work(folder: str) -> None:
    """Open the data, as a run does, and tell what that took."""
    from seedwise.data.config import DataConfig
    from seedwise.data.open import open_data

    began, busy = time.perf_counter(), time.process_time()
    data = open_data(folder, DataConfig(), short_side=64)
    measured = {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - busy,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "splits": data.splits,
        "fingerprint": data.fingerprint,
    }
    print(json.dumps(measured))


def main() -> None:
    """Parse, make, start twice, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("-o", "--out", type=Path)
    parser.add_argument("--start", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.start:
        work(options.start)
        return
    with tempfile.TemporaryDirectory() as place:
        make(Path(place, "images"), options)
        starts = {name: start(Path(place, "images"), Path(place, "cache")) for name in ("first", "second")}
    from seedwise.base import machine

    load = os.getloadavg()[0]
    result: dict[str, Any] = {"images": options.images, "side": options.side, "classes": options.classes, "load": load}
    result |= starts | {"machine": machine.facts(), "versions": machine.versions()}
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(f"{options.images} JPEGs of {options.side} px; {machine.cores()} cores, load {load:.1f}")
    for name, took in starts.items():
        peak = took["peak_bytes"] / 1e6
        print(f"{name:<8}{took['seconds']:>8.2f} s  {took['cpu_seconds']:>8.2f} s of CPU  peak {peak:.0f} MB")


if __name__ == "__main__":
    main()
