"""docs/performance.md from what suite.py and kernels.py measured.

python benchmarks/page.py [RESULTS.json] [-o docs/performance.md]
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import linear_regression
from typing import Any

from bounds import floors
from kernels_page import section
from targets import MEDIAN, NO, YES, targets

Parts = dict[str, dict[str, Any]]

INTRODUCTION = """# Performance

{machine}; {versions}. Made by

```
{command}
python benchmarks/page.py
```

from `benchmarks/results.json`; no number here was typed by hand. What the command measures and is not here was not
measured yet: the same command adds it.

Seconds of a shared machine are worth little, so sides take turns, one piece of work each, and ratios are taken turn by
turn: median [minimum, maximum], n turns. {priority}

timm is measured as its users have it: its model, its loader (without workers, which would take cores from the step),
its AdamW, in fp32, fp32 + channels_last, and bf16 autocast +
channels_last. *Best* is the fastest of those. A side that takes five times as long as the fastest gets one turn, and
a setting of timm that is five times as slow as its best is measured in a model's first cell only.
"""

PARTS = ("data", "forward", "backward", "optimizer")
ROUNDS = 6
"""Turns of a step unless the suite is told otherwise."""
WHICH = ["model", "size", "batch", "threads"]


def ratio(value: dict[str, float], digits: int = 2) -> str:
    """median [min, max]; of a single turn just that."""
    if value["min"] == value["max"]:
        return f"{value['median']:.{digits}f}"
    return f"{value['median']:.{digits}f} [{value['min']:.{digits}f}, {value['max']:.{digits}f}]"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows]) + "\n"


def named(parts: Parts, prefix: str) -> list[dict[str, Any]]:
    """The parts whose name begins so."""
    return [part for name, part in parts.items() if name.startswith(prefix)]


def which(cell: dict[str, Any]) -> list[str]:
    """The columns that say which cell it is."""
    return [cell["model"], f"{cell['size']} px", str(cell["batch"]), str(cell["threads"])]


def side_name(side: str) -> str:
    """Of timm's settings, without timm."""
    return side.removeprefix("timm ")


def introduction(result: dict[str, Any]) -> str:
    """The machine, the command that measures exactly the parts that are here, and how busy it was."""
    from seedwise.base import machine

    parts: Parts = result["parts"]
    flags = {"compiled": "--compiled", "cifar100": "--cifar100 DIR", "script": "--timm-src DIR"}
    command = ["python benchmarks/suite.py", *(flag for prefix, flag in flags.items() if named(parts, prefix))]
    rounds = max((cell["rounds"] for cell in named(parts, "step ")), default=ROUNDS)
    command += [] if rounds == ROUNDS else [f"--rounds {rounds}"]
    loads = [part["load"] for part in parts.values()]
    raised = {part["niceness"] for part in parts.values()}
    return INTRODUCTION.format(
        machine=machine.describe(result["machine"]),
        versions=", ".join(f"{name} {result['versions'][name]}" for name in ("python", "torch", "timm", "seedwise")),
        command=" ".join(command),
        priority=f"The load when parts began was {min(loads):.1f} to {max(loads):.1f}, on "
        f"{result['machine']['cores']} cores; niceness {', '.join(map(str, sorted(raised)))}: "
        "seconds and peaks of one part can't be held against another's.",
    )


def aims(parts: Parts) -> str:
    """What issue 4 promises, and whether it holds."""
    found = targets(parts)
    if not found:
        return ""
    rows = [[t.what, t.wanted, t.measured, t.reached] for t in found]
    missed = [f"- {t.what}: {t.why or 'see its section.'}\n" for t in found if t.reached == NO]
    words = f"\n{YES}: in every turn. {MEDIAN}: not in every turn. Of those that are not reached:\n\n"
    return (
        "## Targets\n\n"
        + table(["what", "target", "measured", "reached"], rows)
        + (words if missed else "")
        + "".join(missed)
    )


def against_timm(parts: Parts) -> str:
    """Ratios of a step, and memory."""
    rows = []
    for cell in named(parts, "step "):
        peak = cell["peak_bytes"]
        rows.append([*which(cell), str(cell["rounds"]), ratio(cell["step_ratio"]), ratio(cell["model_ratio"]),
                     f"{cell['images_per_second']['seedwise']:.1f}", side_name(cell["best_timm"]),
                     f"{peak['seedwise'] / 1e6:.0f}", f"{peak[cell['best_timm']] / 1e6:.0f}",
                     f"{cell['batch'] * cell['bound']['map_bytes'] / 1e6:.0f}"])  # fmt: skip
    if not rows:
        return ""
    words = (
        "\n*Model alone*: forward, backward and optimizer. MB are each process's peak, with Python and torch. What "
        "bounds memory: backward needs the maps; the last column is one float32 copy of those that enter a BatchNorm.\n"
    )
    words += second_core(named(parts, "step "))
    head = [*WHICH, "n", "step, times faster", "model alone", "images/s", "timm's best", "peak MB", "best's", "maps"]
    return "## A training step against timm's best\n\n" + table(head, rows) + words


def second_core(cells: list[dict[str, Any]]) -> str:
    """How much of the second core was there."""
    alone = {(c["model"], c["size"]): c for c in cells if c["threads"] == 1}
    gains = []
    for cell in cells:
        other = alone.get((cell["model"], cell["size"]))
        if cell["threads"] > 1 and other:
            gain = cell["images_per_second"]["seedwise"] / other["images_per_second"]["seedwise"]
            gains.append(f"{cell['model']} at {cell['size']} px {gain:.2f}")
    if not gains:
        return ""
    return (
        f"\nAll threads against one, seedwise's images a second: {', '.join(gains)}. Near 1 the other cores were taken "
        "by other programs, which the ratios bear and the seconds do not.\n"
    )


def by_part(parts: Parts) -> str:
    """Where the time of a step goes."""
    rows = []
    for cell in named(parts, "step "):
        for side in ("seedwise", cell["best_timm"]):
            took = cell["part_seconds"][side]
            rows.append([*which(cell), side, *(f"{1000 * took[part]:.1f}" for part in PARTS)])
    if not rows:
        return ""
    words = "Milliseconds, medians; `data` reads, augments and resizes, `backward` includes the loss.\n\n"
    return "## A step by its parts\n\n" + words + table([*WHICH, "side", *PARTS], rows)


def bounds(parts: Parts) -> str:
    """What bounds the steps."""
    rows = []
    for cell in named(parts, "step "):
        bound, batch = cell["bound"], cell["batch"]
        took = batch / cell["images_per_second"]["seedwise"]
        multiply, move = (batch * floor for floor in floors(bound, "training"))
        timm = batch / cell["images_per_second"][cell["best_timm"]]
        rows.append([*which(cell), f"{1000 * took:.0f}", f"{1000 * multiply:.0f}", f"{1000 * move:.0f}",
                     f"{(multiply + move) / took:.0%}", f"{timm / (multiply + move):.1f}",
                     f"{bound['flops_per_second'] / 1e9:.0f} GFLOP/s",
                     f"{bound['bytes_per_second'] / 1e9:.1f} GB/s"])  # fmt: skip
    if not rows:
        return ""
    words = (
        "Two floors of a step layer by layer, in milliseconds: all convolutions at the rate of a large float32 matrix "
        "product, and BatchNorm with its activation at the bandwidth of a copy (8 passes over each map), both measured "
        "after each cell (`benchmarks/bounds.py`). *At the floors*: how many times as fast as timm's best a step would "
        "be that took nothing but them. What is above them: depthwise convolutions and narrow layers, which multiply "
        "far below that rate, and the batch's augmentation. What goes below them: BatchNorms computed in a depthwise "
        "convolution's own passes, and 3x3 convolutions by Winograd's method, which multiplies less.\n\n"
    )
    head = [*WHICH, "step, ms", "to multiply", "to move", "both, of the step", "at the floors", "peak", "bandwidth"]
    return "## What bounds a step\n\n" + words + table(head, rows)


def by_setting(cells: list[dict[str, Any]], title: str, words: str = "") -> str:
    """Images a second of every side."""
    sides = list(dict.fromkeys(side for cell in cells for side in cell["images_per_second"]))
    rows = []
    for cell in cells:
        rates = cell["images_per_second"]
        versus = [ratio(cell["step_ratio"])] if words else []
        rows.append([*which(cell), *(f"{rates[side]:.1f}" if side in rates else "" for side in sides), *versus])
    head = [*WHICH, *(side_name(side) for side in sides), *(["times the fastest"] if words else [])]
    return f"## {title}\n\n{words}" + table(head, rows) if rows else ""


def evaluation(parts: Parts) -> str:
    """Ratios of evaluation to timm's model in evaluation mode."""
    rows = []
    cells = [cell for cell in named(parts, "step ") + named(parts, "evaluation ") if "scored" in cell]
    sides = list(dict.fromkeys(key for cell in cells for key in cell if key.startswith("evaluation_ratio")))
    for cell in cells:
        rate = cell["evaluated_per_second"]["seedwise"]
        floor = sum(floors(cell["bound"], "evaluation"))
        faster = [ratio(cell[key]) if key in cell else "" for key in sides]
        rows.append([cell["model"], f"{cell['size']} px", str(cell["threads"]), str(cell["scored"]),
                     str(cell["evaluations"]), f"{rate:.0f}", *faster, f"{rate * floor:.0%}"])  # fmt: skip
    if not rows:
        return ""
    words = (
        "Seedwise's evaluation reads, resizes, folds BatchNorm into the convolutions and scores; on timm's side only "
        "the model runs, in evaluation and inference mode, on tensors that are ready. Folding is done once, so it "
        "weighs more in a few images than in 10,000. *Floors*: all convolutions at "
        "peak rate, and each map written once and read once, as a share of seedwise's time.\n\n"
    )
    faster = [key.removeprefix("evaluation_ratio to timm ") for key in sides]
    head = ["model", "size", "threads", "images a turn", "n", "images/s", *faster, "floors"]
    return "## Evaluation, times faster than timm in\n\n" + words + table(head, rows)


def samples(parts: Parts) -> str:
    """Augmentation against torchvision."""
    rows = []
    for part in named(parts, "samples "):
        for side, took in part["microseconds"].items():
            faster = ratio(part["ratios"][side]) if side in part["ratios"] else ""
            share = part["floor_microseconds"] / took["median"]
            rows.append([f"{part['size']} px", side, str(part["rounds"]), ratio(took, 1), faster, f"{share:.0%}"])
    if not rows:
        return ""
    words = (
        "Microseconds an image on one thread, batches of 128, for all that the recipe `reference` applies to 32 px: "
        "reflect-padded crop, flip, rotation, resize, normalization, CutMix (`benchmarks/samples.py`). *Floor*: "
        "reading the bytes and writing the floats at the bandwidth of a copy, as a share of the time.\n\n"
    )
    head = ["size", "side", "n", "microseconds", "seedwise is faster", "floor"]
    return "## Augmentation against torchvision v2\n\n" + words + table(head, rows)


def real_data(parts: Parts) -> str:
    """CIFAR-100 from the cache, and an epoch's augmentation."""
    rows = []
    for part in named(parts, "cifar100"):
        rows.append(["ready from the cache, in a new process", ratio(part["ready_seconds"], 3), ""])
        for name, took in part["epoch_seconds"].items():
            what = f"{part['images']:,} images augmented to {part['size']} px, {name} sampling, one thread"
            rows.append([what, ratio(took), f"{part['floor_seconds'] / took['median']:.0%}"])
        rows.append([f"first start, which decodes (n=1); the others n={part['rounds']}",
                     f"{part['first_seconds']:.1f}", ""])  # fmt: skip
    if not rows:
        return ""
    words = (
        "Crop, flip, rotation, CutMix and resize, as `benchmarks/cifar100.py` says. A start reads labels and maps the "
        "pixels, so nothing but the labels and the splits bounds it; the epoch's floor is reading bytes and writing "
        "floats at the bandwidth of a copy.\n\n"
    )
    return "## CIFAR-100\n\n" + words + table(["what", "seconds", "floor"], rows)


def startup(parts: Parts) -> str:
    """How quickly verbs start."""
    rows = []
    for part in named(parts, "startup"):
        for name, took in part["seconds"].items():
            shown = f"`seedwise {name}`" if name in part["ratios"] else f'`python -c "{name}"`'
            rows.append([shown, str(part["rounds"]), ratio(took, 3), ratio(part["ratios"].get(name, UNIT))])
    words = "What bounds a start is importing the libraries that print: the first line.\n\n"
    head = ["command", "n", "seconds", "times the first"]
    return "## Start-up\n\n" + words + table(head, rows) if rows else ""


UNIT = {"median": 1.0, "min": 1.0, "max": 1.0}


def growth(parts: Parts) -> str:
    """How time grows."""
    text = ""
    for key, unit in (("size", "px, batch 64"), ("batch", "images, 64 px")):
        for part in named(parts, f"growth of a step by {key}"):
            values = part["milliseconds"]
            text += (
                f"Lite0, {part['threads']} threads, n={part['rounds']}, milliseconds of a step an image, in turns; "
                f"load {part['load']:.0f}, niceness {part['niceness']}, which the floors' peaks bear too.\n\n"
            )
            rows = [["ms", *map(ratio, values.values())], ["floor", *(f"{v['floor']:.2f}" for v in values.values())]]
            text += table([key, *(f"{value} {unit}" for value in values)], rows) + "\n"
    for key in ("images", "seeds"):
        for part in named(parts, f"growth of a command by {key}"):
            values = part["seconds"]
            line = linear_regression([float(n) for n in values], [took["median"] for took in values.values()])
            text += (
                f"Seconds of a whole `seedwise train digits -r demo --epochs 1`, n={part['rounds']}: about "
                f"{line.intercept:.1f} s and {line.slope:.3g} s for each of the {key}; what is fixed is imports, data "
                "and model.\n\n"
            )
            text += table([key, *values], [["seconds", *(ratio(took, 1) for took in values.values())]]) + "\n"
    return "## How time grows\n\n" + text.rstrip("\n") + "\n" if text else ""


def folder(parts: Parts) -> str:
    """The first and the second start on a large folder."""
    text = ""
    for part in named(parts, "folder"):
        rows = []
        for start in ("first", "second"):
            took, peak = part[start], part[start]["peak_bytes"] / 1e6
            rows.append([start, f"{took['seconds']:.1f}", f"{took['cpu_seconds']:.1f}", f"{peak:.0f}"])
        text += (
            f"## A folder of {part['images']:,} JPEGs\n\n{part['side']} px, decoded at the first start in parallel and "
            "kept; n=1 (`benchmarks/folder.py`). Decoding bounds the first start, listing the files the second.\n\n"
        )
        text += table(["start", "seconds", "of CPU", "peak memory, MB"], rows)
    return text


def script(parts: Parts) -> str:
    """Whole commands against timm's train.py."""
    text = ""
    for part in named(parts, "script"):
        rows = [[side, ratio(took, 1)] for side, took in part["seconds"].items()]
        text += (
            "## Whole commands: `seedwise train` against timm's train.py\n\n"
            f"Lite0, one epoch of {part['images']} PNG pictures at 64 px, batch 128, fp32 + channels_last, one loader "
            f"worker for timm's, start-up and validation included, n={part['rounds']}: {ratio(part['ratio'])} times as "
            "fast (`benchmarks/suite.py --timm-src DIR`, a checkout of timm).\n\n" + table(["command", "seconds"], rows)
        )
    return text


COMPILED = (
    "torch.compile's seconds of compiling are not counted; n={rounds}, a run of its own. *Times the fastest*: how many "
    "times as fast as timm's best of all these.\n\n"
)


def page(result: dict[str, Any]) -> str:
    """The whole page."""
    parts: Parts = result["parts"]
    compiled = named(parts, "compiled ")
    words = COMPILED.format(rounds=compiled[0]["rounds"]) if compiled else ""
    sections = [
        *(introduction(result), aims(parts), against_timm(parts), by_part(parts), bounds(parts)),
        by_setting(named(parts, "step "), "Images a second in training, by setting"),
        by_setting(compiled, "Against timm under torch.compile", words),
        *(evaluation(parts), samples(parts), real_data(parts), startup(parts), growth(parts)),
        *(folder(parts), script(parts)),
    ]
    return "\n".join(section for section in sections if section)


def main() -> None:
    """Read, write."""
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="?", default=here / "results.json")
    parser.add_argument("-o", "--out", type=Path, default=here.parent / "docs" / "performance.md")
    options = parser.parse_args()
    of_kernels = json.loads((here / "kernels.json").read_text())
    options.out.write_text(page(json.loads(options.results.read_text())) + "\n" + section(of_kernels, table))
    print(options.out)


if __name__ == "__main__":
    main()
