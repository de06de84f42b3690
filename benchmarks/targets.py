"""What the project promises of its speed, and what the measurements say of each promise."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bounds import floors

STEPS = {"efficientnet_lite0 64 px": 2.5, "efficientnet_lite0 128 px": 2.5, "efficientnetv2_s 64 px": 1.8}
"""Times as fast as timm's best setting."""
EVALUATION = "evaluation_ratio to timm bf16 channels_last"
YES, MEDIAN, NO = "yes", "by the median", "**no**"


@dataclass(frozen=True)
class Target:
    """A promise beside its measurement."""

    what: str
    wanted: str
    measured: str
    reached: str
    """YES: in every turn; MEDIAN: by the median, but not in every turn; NO."""
    why: str = ""
    """What is known of what keeps it from being reached."""


def targets(parts: dict[str, dict[str, Any]]) -> list[Target]:
    """Those whose part was measured."""
    found = []
    for name, part in parts.items():
        wanted = STEPS.get(" ".join(name.split()[1:4]))
        if name.startswith("step ") and wanted is not None:
            found += list(of_step(part, wanted))
        if name.startswith(("step ", "evaluation ")) and EVALUATION in part:
            what = f"evaluation of {part['scored']:,} images against bf16 autocast, {label(part)}"
            found.append(above(what, 2.0, part[EVALUATION]))
    if data := parts.get("cifar100"):
        found.append(below("CIFAR-100 ready from the cache", 0.5, data["ready_seconds"], " s"))
        for name, took in data["epoch_seconds"].items():
            what = f"{data['images']:,} images augmented, {name} sampling, one thread"
            why = (
                f"moving its bytes takes {data['floor_seconds']:.2f} s, so what the transforms do with them bounds it."
            )
            found.append(below(what, 5.0, took, " s", why))
    for verb, value in parts.get("startup", {}).get("ratios", {}).items():
        found.append(below(f"`seedwise {verb}` against importing typer and rich", 1.5, value, " times"))
    return found


def of_step(cell: dict[str, Any], wanted: float) -> Iterator[Target]:
    """Time and memory of a cell."""
    name = label(cell)
    best, rates = cell["best_timm"], cell["images_per_second"]
    floor = sum(floors(cell["bound"], "training"))
    took = cell["part_seconds"]["seedwise"]
    largest = max(took, key=lambda part: took[part])
    why = (
        f"multiplying and moving at the peaks measured would be {floor * rates['seedwise']:.0%} of the step, and a "
        f"step of nothing else {1 / (floor * rates[best]):.1f} times as fast as timm's best. "
        f"{took[largest] / sum(took.values()):.0%} of the time is in {largest}, which takes "
        f"{took[largest] / cell['part_seconds'][best][largest]:.0%} of what timm's takes."
    )
    yield above(f"step, {name}", wanted, cell["step_ratio"], why)
    ours, theirs = cell["peak_bytes"]["seedwise"] / 1e6, cell["peak_bytes"][best] / 1e6
    yield Target(f"peak memory, {name}", f"at most {theirs:.0f} MB", f"{ours:.0f} MB", YES if ours <= theirs else NO)


def label(cell: dict[str, Any]) -> str:
    """Which cell it is, in words."""
    return f"{cell['model']}, {cell['size']} px, batch {cell['batch']}, threads: {cell['threads']}"


def above(what: str, wanted: float, value: dict[str, float], why: str = "") -> Target:
    """A ratio that is to reach a value."""
    reached = YES if value["min"] >= wanted else MEDIAN if value["median"] >= wanted else NO
    return Target(what, f"{wanted} times as fast", shown(value), reached, why)


def below(what: str, limit: float, value: dict[str, float], unit: str, why: str = "") -> Target:
    """A measurement that is to stay under a limit."""
    reached = YES if value["max"] < limit else MEDIAN if value["median"] < limit else NO
    return Target(what, f"under {limit}{unit}", shown(value), reached, why)


def shown(value: dict[str, float]) -> str:
    """median [min, max]; of a single turn just that."""
    if value["min"] == value["max"]:
        return f"{value['median']:.2f}"
    return f"{value['median']:.2f} [{value['min']:.2f}, {value['max']:.2f}]"
