"""The section of docs/performance.md on what each kernel buys, from what kernels.py measured."""

from collections.abc import Callable, Sequence
from typing import Any

Table = Callable[[Sequence[str], Sequence[Sequence[str]]], str]

WORDS = """## What each kernel buys

How many times as long a training step or an evaluation takes without one kernel, fused block or implementation that the
rule may choose, on one thread: geometric mean [95% interval of the paired t-test] of n rounds. In a round all take
turns, one step each, in an order drawn anew. What depends on a kernel is off with it. {settings}.

Seconds are the process's own (CPU time), since others used the machine meanwhile (load {load:.0f} on {cores} cores when
the last part ended).
What is off though the network has nothing of it ({nothing}) came out within {step:.1%} of 1 in a step and within
{evaluation:.1%} in an evaluation: nearer to 1 than that a ratio says nothing. Made by

```
python benchmarks/kernels.py --rounds {rounds} -o benchmarks/kernels.json
```

network by network, on {machine}, kernels for {target}; commits: {commits}.

"""
GONE = """
What bought less than 3% of a step of either network is gone: the fused depthwise block for wide expansions, and all
choice of depthwise gradients; the choice of the forward stays. Measured as above at {commit}, before they went:

"""
KEPT = """
Kept although it buys less: the pixels of augmentation, which have a target of their own (CIFAR-100, above), and the
implementations of a 1x1 convolution and of a depthwise forward, each of which is the fastest for some shapes and
processors (`benchmarks/dispatch.csv`).
"""
NOTHING = {
    "efficientnet_lite0": ("squeeze-and-excitation", "3x3 convolution (Winograd)", "Winograd"),
    "efficientnetv2_s": ("fused depthwise block", "block in one pass"),
}
"""What a network has none of."""


def section(result: dict[str, Any], table: Table) -> str:
    """The section as Markdown; `table` makes a table of a head and rows."""
    from seedwise.base import machine

    models = list(result["batches"])
    off = {
        kind: max(abs(row["ratio"] - 1) for row in nothings(result["rows"], kind)) for kind in ("step", "evaluation")
    }
    words = WORDS.format(
        nothing="; ".join(f"{model}: {', '.join(names)}" for model, names in NOTHING.items()),
        commits=", ".join(f"{what} {commit}" for what, commit in result["commits"].items()),
        **off,
        rounds=result["rounds"],
        load=result["load"],
        cores=result["machine"]["cores"],
        settings=", ".join(f"{name} at {result['size']} px, batch {n}" for name, n in result["batches"].items()),
        machine=machine.describe(result["machine"]),
        target=result["target"],
    )
    head = ["work", "without", *(f"{model}, n={rounds_of(result['rows'], model)}" for model in models)]
    text = words + table(head, lines(result["rows"], models)) + KEPT
    gone = result["gone"]
    if not gone:
        return text
    head[2:] = [f"{model}, n={rounds_of(gone, model)}" for model in models]
    return text + GONE.format(commit=gone[0]["commit"]) + table(head, lines(gone, models))


def nothings(rows: Sequence[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """Rows of a kind of work in which nothing was off that the network has."""
    return [row for row in rows if row["kind"] == kind and row["off"] in NOTHING[row["model"]]]


def rounds_of(rows: Sequence[dict[str, Any]], model: str) -> str:
    """How many rounds a network's rows are of."""
    return " or ".join(map(str, sorted({row["n"] for row in rows if row["model"] == model})))


def lines(rows: Sequence[dict[str, Any]], models: Sequence[str]) -> list[list[str]]:
    """A line for each thing that was off, with a column a network."""
    cells = {(row["kind"], row["off"], row["model"]): row for row in rows}
    whats = dict.fromkeys((row["kind"], row["off"]) for row in rows)
    return [
        [*what, *(interval(cells[*what, model]) if (*what, model) in cells else "" for model in models)]
        for what in whats
    ]


def interval(row: dict[str, Any]) -> str:
    """A ratio with its interval."""
    low, high = row["ci95"]
    return f"{row['ratio']:.3f} [{low:.3f}, {high:.3f}]"
