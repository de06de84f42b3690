"""Whole commands: how quickly verbs start, how a training's time grows, and timm's train.py beside it."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from interleaved import ratios, spread

BASE = [sys.executable, "-c", "import typer, rich.console"]
SEEDWISE = [sys.executable, "-c", "from seedwise.cli import main; main()"]
VERBS = ("--help", "recipes ls", "status STUDY", "report --help")
STUDY = ("digits", "-m", "small", "-s", "data.limit=60", "--epochs", 1, "--img-size", 16, "--seeds", 2)
"""What `status` shows."""
PICTURES = 1200


def seconds(command: Sequence[object], *, where: Path | None = None, threads: int | None = None) -> float:
    """How long a command takes; if it fails, its last words are an error."""
    surroundings = os.environ | ({} if threads is None else {"OMP_NUM_THREADS": str(threads)})
    began = time.perf_counter()
    done = subprocess.run(
        list(map(str, command)), cwd=where, env=surroundings, capture_output=True, text=True, check=False
    )
    took = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stderr[-2000:]}")
    return took


def train(*arguments: object) -> float:
    """Seconds of a whole `seedwise train` into a folder of its own."""
    with tempfile.TemporaryDirectory() as place:
        return seconds([*SEEDWISE, "train", *arguments, "-o", f"{place}/run"])


def startup(rounds: int) -> dict[str, Any]:
    """Verbs that need no tensors against importing the libraries they need, in turns; the first turn is not counted."""
    times: dict[str, list[float]] = {"import typer, rich.console": [], **{verb: [] for verb in VERBS}}
    with tempfile.TemporaryDirectory() as place:
        seconds([*SEEDWISE, "train", *STUDY, "-o", "STUDY"], where=Path(place))
        for turn in range(rounds + 1):
            for name, found in times.items():
                took = seconds([*SEEDWISE, *name.split()] if name in VERBS else BASE, where=Path(place))
                if turn:
                    found.append(took)
    base = times["import typer, rich.console"]
    return {
        "rounds": rounds,
        "seconds": {name: spread(found) for name, found in times.items()},
        "ratios": {verb: ratios(times[verb], base) for verb in VERBS},
    }


def growth(key: str, rounds: int) -> dict[str, Any]:
    """Seconds of `seedwise train digits -r demo --epochs 1` by number of images, or of seeds at 300 images."""
    common = ["digits", "-r", "demo", "--epochs", 1, "-s"]
    points = {
        "images": {n: [*common, f"data.limit={n}", "--seed", 0] for n in (300, 600, 1200)},
        "seeds": {n: [*common, "data.limit=300", "--seeds", n] for n in (1, 2, 4)},
    }[key]
    times: dict[int, list[float]] = {n: [] for n in points}
    for _ in range(rounds):
        for n, arguments in points.items():
            times[n].append(train(*arguments))
    return {"rounds": rounds, "seconds": {str(n): spread(took) for n, took in times.items()}}


def picture_folder(place: Path, count: int) -> Path:
    """An ImageFolder of embedded pictures, over and over, as timm's train.py reads it: train/ and validation/."""
    import numpy as np
    from PIL import Image

    from seedwise.data.config import DataConfig
    from seedwise.data.open import open_data

    train = open_data("digits", DataConfig(), short_side=32).train
    positions = np.arange(count) % len(train)
    pixels, _ = train.gather(positions)
    for number, (image, label) in enumerate(zip(pixels, train.targets[positions], strict=True)):
        folder = place / ("validation" if number % 8 == 0 else "train") / f"class{label}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.transpose(1, 2, 0)).save(folder / f"{number}.png")
    return place


def against_script(source: Path, rounds: int, threads: int) -> dict[str, Any]:
    """timm's train.py of a checkout and `seedwise train`, in turns: one epoch of Lite0 at 64 px on the same pictures.

    One loader worker: train.py can't do without, because timm's loader keeps its workers between epochs.
    """
    times: dict[str, list[float]] = {"seedwise train": [], "timm train.py": []}
    with tempfile.TemporaryDirectory() as temporary:
        data = picture_folder(Path(temporary, "pictures"), PICTURES)
        ours = [data, "-m", "efficientnet_lite0", "--weights", "none", "--epochs", 1, "--img-size", 64, "-b", 128]
        theirs = [sys.executable, source / "train.py", "--data-dir", data, "--model", "tf_efficientnet_lite0"]
        theirs += ["--num-classes", 10, "--img-size", 64, "-b", 128, "--epochs", 1, "--warmup-epochs", 0]
        theirs += ["--opt", "adamw", "--lr", "1e-3", "--device", "cpu", "--workers", 1, "--channels-last"]
        theirs += ["--train-crop-mode", "rkrc", "--output", Path(temporary, "timm"), "--no-prefetcher"]
        for _ in range(rounds):
            times["seedwise train"].append(train(*ours, "--threads", threads, "--seed", 0))
            times["timm train.py"].append(seconds(theirs, where=source, threads=threads))
    return {
        "images": PICTURES,
        "rounds": rounds,
        "threads": threads,
        "seconds": {name: spread(took) for name, took in times.items()},
        "ratio": ratios(times["timm train.py"], times["seedwise train"]),
    }
