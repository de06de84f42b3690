"""docs/performance.md from what suite.py measured.

python benchmarks/page.py [RESULTS.json] [-o docs/performance.md]
"""

import argparse
import json
from pathlib import Path
from typing import Any

INTRODUCTION = """# Performance

Made by `make bench` (`benchmarks/suite.py`, then `benchmarks/page.py`); no number here was typed by hand.
{machine}; {versions}.

Machines that are shared make seconds worth little, so sides take turns, one step each, and the ratio is taken turn by
turn: median [minimum, maximum]. timm is measured as its users have it: its model, its loader (without workers, which
would take cores from the step), its AdamW, in fp32, fp32 + channels_last, and bf16 autocast + channels_last. *Best*
is the fastest of those.
"""


def ratio(value: dict[str, float]) -> str:
    """median [min, max]."""
    return f"{value['median']:.2f} [{value['min']:.2f}, {value['max']:.2f}]"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows]) + "\n"


def name_of(cell: dict[str, Any]) -> list[str]:
    """The columns that say which cell it is."""
    return [cell["model"], f"{cell['size']} px", str(cell["batch"]), str(cell["threads"])]


WHICH = ["model", "size", "batch", "threads"]


def against_timm(cells: list[dict[str, Any]]) -> str:
    """Ratios of a step, and memory."""
    rows = []
    for cell in cells:
        peak = cell["peak_bytes"]
        memory = f"{peak['seedwise'] / 1e6:.0f} against {peak[cell['best_timm']] / 1e6:.0f} MB"
        ours = cell["images_per_second"]["seedwise"]
        rows.append([*name_of(cell), ratio(cell["step_ratio"]), ratio(cell["model_ratio"]), f"{ours:.0f}",
                     cell["best_timm"].removeprefix("timm "), memory])  # fmt: skip
    head = [*WHICH, "step, times faster", "model alone", "images/s", "timm's best", "peak memory"]
    return "## A training step against timm's best\n\n" + table(head, rows)


def by_setting(cells: list[dict[str, Any]]) -> str:
    """Images a second of every side."""
    sides = list(dict.fromkeys(side for cell in cells for side in cell["images_per_second"]))
    rows = []
    for cell in cells:
        rates = cell["images_per_second"]
        rows.append([*name_of(cell), *(f"{rates[side]:.0f}" if side in rates else "" for side in sides)])
    head = [*WHICH, *(side.removeprefix("timm ") for side in sides)]
    return "## Images a second in training, by setting\n\n" + table(head, rows)


def evaluation(cells: list[dict[str, Any]]) -> str:
    """Ratios of evaluation to timm's model in evaluation mode."""
    sides = [key for key in cells[0] if key.startswith("evaluation_ratio")]
    rows = [[*name_of(cell), *(ratio(cell[key]) for key in sides)] for cell in cells if sides[0] in cell]
    words = (
        "Seedwise's evaluation reads, resizes and scores with BatchNorm folded into the convolutions; on timm's side "
        "only the model runs, in evaluation and inference mode, on tensors that are ready.\n\n"
    )
    head = [*WHICH, *(key.removeprefix("evaluation_ratio to timm ") for key in sides)]
    return "## Evaluation, times faster than\n\n" + words + table(head, rows)


def bounds(cells: list[dict[str, Any]]) -> str:
    """What bounds the steps."""
    rows = []
    for cell in cells:
        bound, rate = cell["bound"], cell["images_per_second"]["seedwise"]
        peak = f"{bound['flops_per_second'] / 1e9:.0f} GFLOP/s, {bound['bytes_per_second'] / 1e9:.0f} GB/s"
        rows.append([*name_of(cell), f"{1000 * cell['batch'] / rate:.0f}", f"{1000 * bound['multiply_seconds']:.0f}",
                     f"{1000 * bound['move_seconds']:.0f}", f"{bound['share']:.0%}", peak])  # fmt: skip
    words = (
        "Two floors of a step in milliseconds: all convolutions at the rate of a large float32 matrix product, and "
        "BatchNorm with its activation at the bandwidth of a copy (8 passes over each map), both measured in the same "
        "run. Their sum is a share of the step; the rest is what narrow layers lose against large matrices.\n\n"
    )
    head = [*WHICH, "step, ms", "to multiply", "to move", "both, of the step", "peaks measured"]
    return "## What bounds a step\n\n" + words + table(head, rows)


def growth(grown: dict[str, Any], commands: dict[str, Any], threads: int) -> str:
    """How time grows."""
    text = f"## How time grows\n\nLite0, {threads} threads, milliseconds of a step for each image.\n\n"
    for key, unit in (("size", "px, batch 64"), ("batch", "images, 64 px")):
        values = grown[key]
        text += table([key, *(f"{value} {unit}" for value in values)], [["ms", *map(ratio, values.values())]]) + "\n"
    text += "Seconds of a whole `seedwise train digits -r demo --epochs 1`, start-up included, n=1 each.\n\n"
    for key, values in commands.items():
        text += table([key, *values], [["seconds", *(f"{took:.1f}" for took in values.values())]]) + "\n"
    return text


def folder(measured: dict[str, Any] | None) -> str:
    """The first and the second start on a large folder."""
    if measured is None:
        return ""
    rows = []
    for start in ("first", "second"):
        took = measured[start]
        rows.append([start, f"{took['seconds']:.1f}", f"{took['cpu_seconds']:.1f}", f"{took['peak_bytes'] / 1e6:.0f}"])
    return (
        f"## A folder of {measured['images']:,} JPEGs\n\n{measured['side']} px, decoded at the first start in parallel "
        f"and kept; n=1, load {measured['load']:.1f} (`benchmarks/folder.py`).\n\n"
        + table(["start", "seconds", "of CPU", "peak memory, MB"], rows)
    )


def script(measured: dict[str, Any] | None) -> str:
    """Whole commands against timm's train.py."""
    if measured is None:
        return ""
    rows = [[side, ratio(took)] for side, took in measured["seconds"].items()]
    return (
        "## Whole commands: `seedwise train` against timm's train.py\n\n"
        f"Lite0, one epoch of {measured['images']} PNG pictures at 64 px, batch 128, fp32 + channels_last, start-up "
        f"included, {measured['rounds']} turns: {ratio(measured['ratio'])} times faster "
        "(`benchmarks/suite.py --timm-src DIR`, a checkout of timm).\n\n" + table(["command", "seconds"], rows)
    )


def page(result: dict[str, Any]) -> str:
    """The whole page."""
    from seedwise import machine

    versions = ", ".join(f"{name} {result['versions'][name]}" for name in ("torch", "timm", "seedwise"))
    cells = result["cells"]
    parts = [
        INTRODUCTION.format(machine=machine.describe(result["machine"]), versions=versions),
        against_timm(cells),
        by_setting(cells),
        evaluation(cells),
        bounds(cells),
        growth(result["growth"], result["commands"], result["machine"]["cores"]),
        folder(result.get("folder")),
        script(result.get("script")),
    ]
    return "\n".join(part for part in parts if part)


def main() -> None:
    """Read, write."""
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="?", default=here / "results.json")
    parser.add_argument("-o", "--out", type=Path, default=here.parent / "docs" / "performance.md")
    options = parser.parse_args()
    options.out.write_text(page(json.loads(options.results.read_text())))
    print(options.out)


if __name__ == "__main__":
    main()
