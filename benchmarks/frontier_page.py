"""docs/frontier.md and its picture from what `frontier.py` has stored; no number in them is typed by hand."""

import json
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from page import table

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "docs" / "results" / "frontier"
TIMES, TRIALS, TIMM = KEPT / "times.json", KEPT / "trials.jsonl", KEPT / "timm.json"
PAGE, PICTURE = ROOT / "docs" / "frontier.md", ROOT / "docs" / "results" / "frontier.png"
TEAM = 0.8667
"""The student team's mean of five runs: EfficientNetV2 on a GPU."""
ORDER = ("lite", "lite-hour", "lite-night", "lite-distilled")
IGNORED = ("name", "seed", "compute", "data", "train.score_test", "train.insight", "train.checkpoint_every")
"""Options that make no difference between two trials' accuracy."""

HEAD = """# CIFAR-100 on two CPU cores: accuracy by the minute

![Test top-1 against minutes a seed](results/frontier.png)

Made by `python benchmarks/frontier.py page` from the records in `docs/results/frontier`; no number here was typed by
hand. Data: CIFAR-100's 50,000 training images, less those held out for validation, and its 10,000 test images. The
student team's 0.8667 (mean of five runs, EfficientNetV2 on a GPU) was reached with another network and on another
machine, on the same data and test set.

"""
NOTES = """
*Top-1*: mean over seeds ± standard deviation (n), with Student's 95% interval of the mean: other seeds, the same split
and test images. *Flip*: probabilities averaged over an image and its mirror image. *Vote*: mean probability of all
seeds, one number without a spread. *Minutes a seed*: what `--dry-run` measures with nothing beside it, median
[minimum, maximum] of n turns; a run of the background is not timed.

"""
TUNING = """## Every trial

Settings were chosen on 5,000 validation images that no trial trained on (seed 77 unless the row says otherwise); the
test images were not read. A trial that did not end says so. Settings: what differs from the first row's.

"""


def kept() -> list[dict[str, Any]]:
    """The stored recipes, in the page's order."""
    known = {path.stem: json.loads(path.read_text()) for path in KEPT.glob("*.json") if path not in (TIMES, TIMM)}
    rank = {name: number for number, name in enumerate(ORDER)}
    return sorted(known.values(), key=lambda entry: (rank.get(entry["name"], len(ORDER)), entry["name"]))


def minutes(name: str) -> tuple[float, str] | None:
    """Median minutes a seed on a quiet machine, and how they are written; None where they were not measured."""
    times = json.loads(TIMES.read_text()) if TIMES.exists() else {}
    if name not in times:
        return None
    each = [seconds / 60 for seconds in times[name]["seconds"]]
    return median(each), f"{median(each):.1f} [{min(each):.1f}, {max(each):.1f}] (n={len(each)})"


def spread(values: list[float]) -> str:
    """Mean ± SD (n) and the interval of the mean."""
    from seedwise.stats import summarize

    return str(summarize(values, (0.0, 1.0)))


def row(entry: Mapping[str, Any]) -> list[str]:
    """A recipe's line of the table."""
    runs, votes, timed = entry["runs"], entry["votes"], minutes(entry["name"])
    first = runs[0]
    flips = [run["top1_flip"] for run in runs if run["top1_flip"] is not None]
    return [
        f"`{entry['name']}`",
        first["model"].removeprefix("efficientnet_"),
        str(first["size"]),
        str(first["epochs"]),
        timed[1] if timed else "not measured",
        spread([run["top1"] for run in runs]),
        spread(flips) if len(flips) == len(runs) else "-",
        " / ".join(f"{votes[part]:.4f}" for part in ("test", "test_tta") if part in votes) or "-",
    ]


def timm_row() -> list[str]:
    """The line of timm's train.py; its minutes are of the runs themselves, image decoding and all."""
    stored = json.loads(TIMM.read_text())
    each = [run["seconds"] / 60 for run in stored["runs"]]
    took = f"{median(each):.1f} [{min(each):.1f}, {max(each):.1f}] (n={len(each)})"
    scores = spread([run["top1"] for run in stored["runs"]])
    return ["timm's train.py", "lite0", str(stored["px"]), str(stored["epochs"]), took, scores, "-", "-"]


def flat(recipe: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """The recipe's options by dotted name; a technique that is off has none below it."""
    found: dict[str, Any] = {}
    for key, value in recipe.items():
        name = f"{before}{key}"
        found |= flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return {name: value for name, value in found.items() if not name.startswith(IGNORED)}


def tuning() -> str:
    """Every trial of the tuning, in the order in which they were made."""
    trials = [json.loads(line) for line in TRIALS.read_text().splitlines()] if TRIALS.exists() else []
    if not trials:
        return ""
    base = flat(yaml.safe_load(trials[0]["recipe"]))
    rows = []
    for trial in trials:
        own = flat(yaml.safe_load(trial["recipe"]))
        changed = [f"{name}={value}" for name, value in own.items() if value is not None and base.get(name) != value]
        changed += [f"{name}=null" for name, value in own.items() if value is None and base.get(name) is not None]
        ended = "" if trial["status"] == "finished" else f" ({trial['status']})"
        val = ", ".join(f"{value:.4f}" for value in trial["val"][-3:]) or "-"
        flip = "-" if trial["val_flip"] is None else f"{trial['val_flip']:.4f}"
        seed = "" if trial["seed"] == trials[0]["seed"] else f" (seed {trial['seed']})"
        rows.append([f"`{trial['name']}`{ended}{seed}", ", ".join(f"`{it}`" for it in changed) or "-", val, flip])
    return TUNING + table(["trial", "settings", "validation top-1, last three epochs", "flip"], rows)


def draw(entries: list[dict[str, Any]]) -> None:
    """Test top-1 against minutes a seed: each seed, the mean with its interval, and the votes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    from seedwise.stats import summarize

    figure, axes = pyplot.subplots(figsize=(8, 4.5), dpi=150)
    for entry in entries:
        timed = minutes(entry["name"])
        if timed is None:
            continue
        x, values = timed[0], [run["top1"] for run in entry["runs"]]
        axes.plot([x] * len(values), values, "o", color="#8aa", markersize=3)
        found = summarize(values, (0.0, 1.0))
        if found.ci95 is not None:
            low, high = found.ci95
            axes.errorbar(x, found.mean, [[found.mean - low], [high - found.mean]], fmt="s", color="#146")
        label = f"{entry['name']} {found.mean:.3f}"
        axes.annotate(label, (x, found.mean), (8, -12), textcoords="offset points", fontsize=8)
        best = entry["votes"].get("test_tta", entry["votes"].get("test"))
        if best is not None:
            axes.plot(x * len(values), best, "^", color="#a40")
            axes.annotate(
                f"vote of {len(values)}: {best:.3f}",
                (x * len(values), best),
                (6, 4),
                textcoords="offset points",
                fontsize=8,
            )
    axes.axhline(TEAM, color="#777", linestyle="--", linewidth=1)
    axes.annotate(
        "the team's mean, EfficientNetV2 on a GPU: 0.8667",
        (0.02, TEAM),
        (0, 3),
        ("axes fraction", "data"),
        "offset points",
        fontsize=8,
    )
    axes.set_xscale("log")
    axes.set_xlim(10, 1000)
    axes.set_xticks([10, 15, 30, 60, 120, 300, 600, 1000], labels=["10", "15", "30", "60", "120", "300", "600", "1000"])
    axes.minorticks_off()
    axes.set_xlabel("minutes on two CPU cores (of all seeds, for a vote)")
    axes.set_ylabel("test top-1")
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(PICTURE)


def write_page() -> None:
    """Write the page and its picture."""
    entries = kept()
    head = [
        "recipe",
        "model",
        "px",
        "epochs",
        "minutes a seed",
        "test top-1",
        "with flip",
        "vote of the seeds / with flip",
    ]
    rows = [row(entry) for entry in entries] + ([timm_row()] if TIMM.exists() else [])
    text = HEAD + table(head, rows) + NOTES
    text += (
        "```\n"
        + "".join(
            f"seedwise train cifar100 -r {entry['name']} --data-dir DIR --seeds {len(entry['runs'])}\n"
            for entry in entries
            if entry["name"] in ORDER[:3]
        )
        + "```\n\n"
    )
    machines = sorted(
        {f"{run['machine']['cpu']}, {run['machine']['cores']} cores" for entry in entries for run in entry["runs"]}
    )
    text += f"Trained on: {'; '.join(machines)}.\n\n" + tuning()
    PAGE.write_text(text.rstrip() + "\n")
    draw(entries)
