"""Everything that docs/performance.md shows, measured in one go; `make bench`.

    python benchmarks/suite.py [--quick] [--compiled] [--cells TEXT] [--timm-src DIR] [-o FILE]

Cells (model x size x threads), each in alternating pairs against timm (see step.py), with the bound of its step; how
the time of a step grows with size and batch, and that of a whole command with images and seeds; a folder of 100,000
JPEGs. --compiled: one cell of each model also against timm under torch.compile. --cells keeps those whose name, such as
"efficientnet_lite0 64 2", contains one of these texts, separated by commas. --timm-src DIR also runs DIR/train.py,
timm's own script from a checkout, against `seedwise train` on the same folder of images, whole commands in turns.
--quick: one small cell of each kind.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import step
from bounds import bound
from turns import Side, alternate, ratios, spread

CELLS = [
    ("efficientnet_lite0", 64, 128),
    ("efficientnet_lite0", 128, 64),
    ("efficientnetv2_s", 64, 64),
    ("efficientnetv2_s", 128, 32),
]
SIZES = (32, 64, 96, 128)
BATCHES = (16, 32, 64, 128, 256)
STEP = str(Path(__file__).with_name("step.py"))


def cell(model: str, size: int, batch: int, threads: int, *more: str) -> dict[str, Any]:
    """One comparison against timm, with the bound of seedwise's step."""
    given = ["--model", model, "--size", str(size), "--batch", str(batch), "--threads", str(threads), *more]
    options = step.parser().parse_args(given)
    result = step.compare(options)
    step.show(result)
    return result | {"bound": bound(options, batch / result["images_per_second"]["seedwise"])}


def growth(threads: int, rounds: int) -> dict[str, dict[str, dict[str, float]]]:
    """Milliseconds of seedwise's step an image, by size at batch 64 and by batch at 64 px; minimum, median, maximum."""
    grown: dict[str, dict[str, dict[str, float]]] = {"size": {}, "batch": {}}
    for key, values in (("size", SIZES), ("batch", BATCHES)):
        for value in values:
            size, batch = (value, 64) if key == "size" else (64, value)
            side = Side(STEP, ["--worker", "seedwise", f"--size={size}", f"--batch={batch}", f"--threads={threads}"])
            took = alternate({"seedwise": side}, "step", rounds)["seedwise"]
            side.end()
            grown[key][str(value)] = spread([1000 * sum(times) / batch for times in took])
    return grown


def seedwise(*arguments: object) -> float:
    """Seconds of a whole `seedwise` command in a folder of its own."""
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, "-c", "from seedwise.cli import main; main()", *map(str, arguments)]
        began = time.perf_counter()
        subprocess.run([*command, "-o", f"{place}/run"], check=True, capture_output=True)
        return time.perf_counter() - began


def whole_commands() -> dict[str, dict[str, float]]:
    """Seconds of `seedwise train digits` by number of images and of seeds, start-up included; n=1 each."""
    common = ["train", "digits", "-r", "demo", "--epochs", 1]
    images = {str(n): seedwise(*common, "-s", f"data.limit={n}", "--seed", 0) for n in (300, 600, 1200)}
    seeds = {str(n): seedwise(*common, "-s", "data.limit=300", "--seeds", n) for n in (1, 2, 4)}
    return {"images": images, "seeds": seeds}


def picture_folder(place: Path, count: int) -> Path:
    """An ImageFolder of embedded pictures, as timm's train.py reads it: train/ and validation/."""
    import numpy as np
    from PIL import Image

    from seedwise.data.config import DataConfig
    from seedwise.data.open import open_data

    train = open_data("digits", DataConfig(), short_side=32).train
    pixels, _ = train.gather(np.arange(count))
    for number, (image, label) in enumerate(zip(pixels, train.targets, strict=False)):
        folder = place / ("validation" if number % 8 == 0 else "train") / f"class{label}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.transpose(1, 2, 0)).save(folder / f"{number}.png")
    return place


def against_script(source: Path, rounds: int, threads: int) -> dict[str, Any]:
    """Whole commands in turns: timm's train.py of a checkout, and `seedwise train`, one epoch at 64 px."""
    times: dict[str, list[float]] = {"seedwise": [], "timm train.py": []}
    with tempfile.TemporaryDirectory() as temporary:
        data = picture_folder(Path(temporary, "pictures"), 1200)
        ours = ["train", data, "-m", "efficientnet_lite0", "--weights", "none", "--epochs", 1, "--img-size", 64]
        theirs = [sys.executable, source / "train.py", "--data-dir", data, "--model", "tf_efficientnet_lite0"]
        theirs += ["--num-classes", 10, "--img-size", 64, "-b", 128, "--epochs", 1, "--warmup-epochs", 0]
        theirs += ["--opt", "adamw", "--lr", "1e-3", "--device", "cpu", "--workers", 0, "--channels-last"]
        theirs += ["--train-crop-mode", "rkrc", "--output", Path(temporary, "timm"), "--no-prefetcher"]
        for _ in range(rounds):
            times["seedwise"].append(seedwise(*ours, "-b", 128, "--threads", threads, "--seed", 0))
            began = time.perf_counter()
            subprocess.run(list(map(str, theirs)), cwd=source, check=True, capture_output=True)
            times["timm train.py"].append(time.perf_counter() - began)
    return {
        "images": 1200,
        "rounds": rounds,
        "seconds": {name: spread(took) for name, took in times.items()},
        "ratio": ratios(times["timm train.py"], times["seedwise"]),
    }


def first_starts() -> dict[str, Any]:
    """What folder.py measures, of its default 100,000 images."""
    with tempfile.TemporaryDirectory() as place:
        out = Path(place, "folder.json")
        subprocess.run([sys.executable, str(Path(__file__).with_name("folder.py")), "-o", str(out)], check=True)
        return dict(json.loads(out.read_text()))


def main() -> None:
    """Measure all, write JSON."""
    from seedwise import machine

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--compiled", action="store_true", help="also timm under torch.compile: minutes of compiling")
    parser.add_argument("--cells", default="", help="only cells whose name contains one of these, by commas")
    parser.add_argument("--timm-src", type=Path)
    parser.add_argument("-o", "--out", type=Path, default=Path(__file__).with_name("results.json"))
    options = parser.parse_args()
    cores = machine.cores()
    rounds = 3 if options.quick else options.rounds
    cells = []
    for model, size, batch in CELLS[:1] if options.quick else CELLS:
        for threads in sorted({1, cores}):
            if not any(text in f"{model} {size} {threads}" for text in options.cells.split(",")):
                continue
            # scoring with a large model in bf16 takes minutes where the hardware has none
            more = [] if model == CELLS[0][0] else ["--evaluations", "0"]
            more += ["--compiled"] if options.compiled and size == CELLS[0][1] and threads == cores else []
            cells.append(cell(model, size, batch, threads, "--rounds", str(rounds), *more))
    result: dict[str, Any] = {"cells": cells, "growth": growth(cores, rounds), "commands": whole_commands()}
    if options.timm_src:
        result["script"] = against_script(options.timm_src.resolve(), min(rounds, 4), cores)
    if not options.quick:
        result["folder"] = first_starts()
    result |= {"machine": machine.facts(), "versions": machine.versions()}
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    headline = median([c["step_ratio"]["median"] for c in cells])
    print(f"{options.out}: {len(cells)} cells, median ratio {headline:.2f}")


if __name__ == "__main__":
    main()
