"""Everything that docs/performance.md shows, part by part; `make bench`.

    python benchmarks/suite.py [--compiled] [--cifar100 DIR] [--timm-src DIR] [--quick] [--only TEXT] [--fresh]

Parts: training steps and evaluation in alternating pairs against timm (see step.py), with what bounds them; how the
time of a step grows with size and batch, and that of a whole command with images and seeds; augmentation against
torchvision (samples.py); start-up of verbs; a folder of 100,000 JPEGs (folder.py). --compiled: one cell of each model
also against timm under torch.compile. --cifar100 DIR: the real data from the cache (cifar100.py). --timm-src DIR: also
DIR/train.py, timm's own script from a checkout, against `seedwise train`. --quick: a little of everything, to try it.

Each part is written to FILE as soon as it is measured, and parts that are there already are kept (--fresh: are not), so
that a call completes what another began. A part that fails costs the others nothing. Another machine, or other
versions of what is measured, start a new FILE.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import cifar100
import commands
import samples
import step
from bounds import bound, floors, needs, peaks
from interleaved import Side, alternate, spread

LITE, LARGE = "efficientnet_lite0", "efficientnetv2_s"
CELLS = {(LITE, 64): 128, (LITE, 128): 64, (LARGE, 64): 64, (LARGE, 128): 16}
"""Images a step."""
EVALUATED = {LITE: 10_000, LARGE: 1024}
"""How many images are scored in a turn of the evaluation parts."""
SIZES = (32, 64, 128)
BATCHES = (32, 128, 256)
Part = Callable[[], dict[str, Any]]


def parts(options: argparse.Namespace, cores: int, known: dict[str, Any]) -> dict[str, Part]:
    """What there is to measure, by name, the most wanted first; `known` is what was measured so far, and grows."""
    full = 2 if options.quick else options.rounds
    half = (full + 1) // 2

    def at(model: str, size: int, threads: int) -> dict[str, Part]:
        rounds = half if (model, size) == (LARGE, 128) else full
        scoring = half if size == 64 and threads == cores else 0
        more = [*("--threads", threads, "--rounds", rounds, "--evaluations", scoring)]
        before = {} if (size, threads) == (64, cores) else known  # the first cell tries every setting
        return {f"step {model} {size} px {threads} threads": partial(cell, before, model, size, *more)}

    mains = list(CELLS)[: 1 if options.quick else 3]
    made: dict[str, Part] = {}
    for model, size in mains:
        made |= at(model, size, cores)
    made["startup"] = partial(commands.startup, full)
    for size in (224, 64):
        given = samples.parser().parse_args([f"--size={size}", f"--rounds={full}"])
        made[f"samples {size} px"] = partial(samples.compare, given)
    if options.cifar100:
        made["cifar100"] = partial(cifar100.measure, options.cifar100, half)
    for model, size in mains if cores > 1 else ():
        made |= at(model, size, 1)
    for key in ("size", "batch"):
        made[f"growth of a step by {key}"] = partial(growth, key, cores, half)
    for key in ("images", "seeds"):
        made[f"growth of a command by {key}"] = partial(commands.growth, key, 1)
    if options.timm_src:
        made["script"] = partial(commands.against_script, options.timm_src.resolve(), min(half, 2), cores)
    for threads in () if options.quick else sorted({1, cores}, reverse=True):
        made |= at(LARGE, 128, threads)
    for model in (LITE,) if options.quick else (LITE, LARGE):
        scored = 256 if options.quick else EVALUATED[model]
        more = [*("--threads", cores, "--rounds", 1, "--evaluations", half, "--scored", scored)]
        # The target names bf16, though it is hopeless: it is scored once.
        made[f"evaluation {model}"] = partial(cell, {} if model == LITE else known, model, 64, *more)
    for model in (LITE, LARGE) if options.compiled else ():
        more = [*("--threads", cores, "--rounds", half, "--evaluations", 0, "--compiled")]
        made[f"compiled {model}"] = partial(cell, known, model, 64, *more)
    if not options.quick:
        made["folder"] = folder
    return made


HOPELESS = 5.0
"""A setting of timm this many times as slow as its best in a model's first cell is left out of the model's others."""


def hopeless(known: dict[str, Any], model: str) -> list[str]:
    """Sides that need not be measured again."""
    cells = [part["images_per_second"] for name, part in known.items() if name.startswith(f"step {model} 64 px")]
    if not cells:
        return []
    rates = {name: rate for name, rate in cells[0].items() if name != "seedwise"}
    slow = [name for name, rate in rates.items() if HOPELESS * rate < max(rates.values())]
    return [*slow, *(f"{name} compiled" for name in slow)]


def cell(known: dict[str, Any], model: str, size: int, *more: object) -> dict[str, Any]:
    """One comparison against timm, with the bounds of an image."""
    given = ["--model", model, "--size", size, "--batch", CELLS[model, size], *more]
    given += [f"--without={name}" for name in hopeless(known, model)]
    options = step.parser().parse_args(list(map(str, given)))
    result = step.compare(options)
    step.show(result)
    return result | {"bound": bound(options)}


def growth(key: str, threads: int, rounds: int) -> dict[str, Any]:
    """Milliseconds of Lite0's step an image, by size at batch 64 or by batch at 64 px, and what bounds them."""
    peak = peaks(threads)
    grown: dict[str, dict[str, float]] = {}
    with ExitStack() as stack:
        sides: dict[str, Side] = {}
        given: dict[str, argparse.Namespace] = {}
        for value in SIZES if key == "size" else BATCHES:
            size, batch = (value, 64) if key == "size" else (64, value)
            words = [f"--size={size}", f"--batch={batch}", f"--threads={threads}"]
            given[str(value)] = step.parser().parse_args(words)
            sides[str(value)] = stack.enter_context(Side(step.__file__, ["--worker", "seedwise", *words]))
        turns = alternate(sides, "step", rounds, hopeless=math.inf)
    for name, times in turns.items():
        floor = sum(floors({**peak, **needs(given[name])}, "training"))
        grown[name] = {**spread([1000 * sum(t) / given[name].batch for t in times]), "floor": 1000 * floor}
    return {"rounds": rounds, "threads": threads, "milliseconds": grown}


def folder() -> dict[str, Any]:
    """What folder.py measures, of its default 100,000 images."""
    with tempfile.TemporaryDirectory() as place:
        out = Path(place, "folder.json")
        subprocess.run([sys.executable, str(Path(__file__).with_name("folder.py")), "-o", str(out)], check=True)
        found = json.loads(out.read_text(encoding="utf-8"))
    return {key: found[key] for key in ("images", "side", "first", "second")}


def rounded(value: Any) -> Any:
    """Four significant digits are more than the spread allows."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value


def begun(path: Path, surroundings: dict[str, Any]) -> dict[str, Any]:
    """What an earlier call measured, if it was here and of the same versions."""
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if all(found.get(key) == value for key, value in surroundings.items()):
            return found
        print(f"{path}: from another machine or other versions; a new one begins")
    return {**surroundings, "parts": {}}


def main() -> None:
    """Measure what is missing, write JSON."""
    from seedwise.base import files, machine

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a little of everything, into a temporary file")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--compiled", action="store_true", help="also timm under torch.compile: minutes of compiling")
    parser.add_argument("--cifar100", type=Path, metavar="DIR", help="what `--data-dir` of seedwise is")
    parser.add_argument("--timm-src", type=Path, metavar="DIR", help="a checkout of timm")
    parser.add_argument("--only", default="", help="parts whose name contains one of these texts, by commas")
    parser.add_argument("--fresh", action="store_true", help="measure again what FILE holds")
    parser.add_argument("-o", "--out", type=Path)
    options = parser.parse_args()
    quick = Path(tempfile.gettempdir()) / "seedwise-quick.json"
    path = options.out or (quick if options.quick else Path(__file__).with_name("results.json"))
    surroundings = {"machine": machine.facts(), "versions": machine.versions()}
    result = begun(path, surroundings)
    fresh = options.fresh or options.quick
    failed = []
    for name, measure in parts(options, machine.cores(), result["parts"]).items():
        wanted = any(text in name for text in options.only.split(","))
        if not wanted or (name in result["parts"] and not fresh):
            continue
        print(f"== {name}", flush=True)
        load = os.getloadavg()[0]
        try:
            found = measure()
        except (Exception, SystemExit):
            traceback.print_exc()
            failed.append(name)
            continue
        result["parts"][name] = rounded({**found, "load": load, "niceness": os.nice(0)})
        files.write_json(path, result)
    print(f"{path}: {len(result['parts'])} parts")
    if failed:
        sys.exit(f"failed: {'; '.join(failed)}")


if __name__ == "__main__":
    main()
