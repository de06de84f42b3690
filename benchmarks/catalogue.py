"""docs/techniques.md: every technique's card, what it costs and what it does on CIFAR-100.

    python benchmarks/catalogue.py [-o docs/techniques.md]

The cards are the docstrings of src/seedwise; costs are those that augment.py measured
(recipe/technique_costs.json), and the table of runs is that of benchmarks/techniques.py (benchmarks/techniques.json).
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from page import ratio, table

RUNS = Path(__file__).with_name("techniques.json")

INTRODUCTION = """# Techniques

Made by `python benchmarks/catalogue.py` from the docstrings in `src/seedwise`; no number was typed by hand, and a
test compares. The same cards: `seedwise techniques ls`, `seedwise techniques show cutmix`. What a technique did in a
run stands in `record.json` under `techniques.<name>`, measured. One that was on and did nothing, although the chance
of that was below one in a million, stands under `inert`: the run is saved, and the exit code is 3.
"""


def contents() -> str:
    """All techniques in a table."""
    from seedwise.recipe.techniques import TECHNIQUES, card

    rows = [
        [f"[{t.name}](#{t.name})", f"`-s {t.path}={t.on}`", card(t).summary.replace("|", "\\|")] for t in TECHNIQUES
    ]
    return table(["technique", "on", "what it does"], rows)


def cards() -> str:
    """Every card in full."""
    from seedwise.recipe.techniques import TECHNIQUES, card, verdict_line, verdicts

    parts = []
    for technique in TECHNIQUES:
        of = card(technique)
        switch = f"On: `-s {technique.path}={technique.on}`. Off: `-s {technique.path}={technique.off}`."
        lines = [f"## {technique.name}", of.what, f"Helps: {of.helps}", f"Hurts: {of.hurts}", f"Source: {of.source}"]
        options = [o for o in of.options if o.path != technique.path]
        rows = [[f"`{o.path}`", f"`{o.default}`" if o.default else "", o.description] for o in options]
        below = [table(["option", "default", "what"], rows).rstrip()] if rows else []
        found = verdicts(technique.name)
        said = [f"Found: {verdict_line(each)}" for each in found]
        said += [f"`{command}`" for command in dict.fromkeys(each["command"] for each in found)]
        parts.append("\n\n".join([*lines, *said, switch, *below]) + "\n")
    return "\n".join(parts)


WHOLE_STEPS = """
Of a whole step, median [minimum, maximum] of turns taken in pairs; AMD EPYC, 2 cores, AVX2, no AMX, torch 2.14.1:

| what | command | found |
| --- | --- | --- |
| all of augmentation but alternating_flip, augmix and custom at once, with reading, resizing and normalizing, as a \
share of the best stock timm step (Lite0, 64 px, batch 128, 2 threads) | `python benchmarks/step.py --rounds 6 \
--evaluations 0 --set augment.NAME=default …` | 0.081 [0.060, 0.088], n=6 |
| `model.freeze=4`: how many times as fast a step is (Lite0, 64 px, batch 128) | `python benchmarks/freezing.py` | \
1.64 [1.54, 1.72] on 2 threads, 1.64 [1.57, 1.67] on 1, n=8 |
| `progressive=paper` to 96 px: whole time, in times that of 96 px throughout (6,000 images, 4 epochs) | \
`python benchmarks/progressive.py --data-dir DIR --images 6000` | 0.73, n=1 |
"""
"""Printed by the commands beside them."""


def cost_table(costs: dict[str, Any]) -> str:
    """Microseconds an image, and how many times as long torchvision takes."""
    if not costs:
        return ""
    from seedwise.base import machine
    from seedwise.recipe.techniques import TECHNIQUES

    pixels = [t.name for t in TECHNIQUES if t.pixels and t.on == "default"]
    rows = [
        [name, f"{row['us']:.1f}", f"{row['torchvision_us']:.1f}" if "torchvision_us" in row else "",
         ratio(row["ratio"]) if "ratio" in row else ""]
        for name, row in costs["techniques"].items()
    ]  # fmt: skip
    words = (
        f"Microseconds an image on one thread, median over {costs['rounds']} turns, at the technique's defaults: "
        f"{costs['images']:,} images of {costs['side']} px, as batches of {costs['batch']} here and image by image "
        "with torchvision's v2 transform, since its transforms draw once a batch. The sides take turns in processes of "
        "their own; times faster is turn by turn: median [minimum, maximum]. Techniques without a row touch no image."
        f"{unmeasured(pixels, costs['techniques'])} `python benchmarks/augment.py`; "
        f"{machine.describe(costs['machine'])}, torch {costs['versions']['torch']}, "
        f"torchvision {costs['versions']['torchvision']}.\n\n"
    )
    return "## Cost\n\n" + words + table(["technique", "µs", "torchvision, µs", "times faster"], rows) + WHOLE_STEPS


def unmeasured(names: list[str], measured: dict[str, Any]) -> str:
    """A sentence about techniques that came after the measurement."""
    late = [name for name in names if name not in measured]
    return f" Not measured yet: {', '.join(late)}." if late else ""


def run_table(runs: dict[str, Any]) -> str:
    """Each technique alone on CIFAR-100."""
    if not runs:
        return ""
    from seedwise.base import machine
    from seedwise.recipe.techniques import TECHNIQUES

    rows = [
        [
            *(name, f"{row['loss']:.3f}", f"{row['loss_ratio']:.2f}", f"{row['top1']:.3f}", row["acted"]),
            ", ".join(f"`{it if len(it) < 60 else it[:48] + ' …'}`" for it in row["settings"]),
        ]
        for name, row in runs["arms"].items()
    ]
    late = unmeasured([t.name for t in TECHNIQUES], runs["arms"])
    words = (
        f"Each technique alone, added to a base without any: Lite0, {runs['size']} px, {runs['images']:,} images, "
        f"{runs['epochs']} epochs, seed {runs['seed']}, n=1 each, so no row is a verdict; it shows that each trains "
        "and acts. Loss: plain cross-entropy on the test images after the last epoch, and its ratio to the base's; "
        f"*acted*: from the record. The rows named after a setting were tried first and are too strong for so short a "
        f"training; what their techniques pass with was chosen after that.{late}\n\n"
        f"    {runs['command']}\n\n{machine.describe(runs['machine'])}, "
        f"torch {runs['versions']['torch']}.\n\n"
    )
    head = ["technique", "loss", "/ base", "test top-1", "acted", "settings"]
    return "## Each alone on CIFAR-100\n\n" + words + table(head, rows)


def page() -> str:
    """The whole page."""
    from seedwise.recipe.techniques import costs

    measured = costs()
    runs = json.loads(RUNS.read_text(encoding="utf-8")) if RUNS.exists() else {}
    parts = (INTRODUCTION, contents(), cost_table(measured), run_table(runs), cards())
    return "\n".join(part for part in parts if part)


def main() -> None:
    """Make, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", default=str(Path(__file__).parents[1] / "docs" / "techniques.md"))
    options = parser.parse_args()
    text = page()
    if options.out == "-":
        sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
        sys.stdout.write(text)
    else:
        Path(options.out).write_text(text, encoding="utf-8")
        print(options.out)


if __name__ == "__main__":
    main()
