"""docs/photos.md: the recipe `photos` beside `lite`, timm and a linear probe on small real data sets, from records.

    python benchmarks/photo_sets.py --photos DIR --cifar DIR -o SETS
    python benchmarks/photo_trials.py --sets SETS --trials TRIALS benchmarks/photo_tuning.txt
    python benchmarks/photo_trials.py --sets SETS --trials TRIALS --test --seeds 0,1,2 benchmarks/photo_final.txt
    python benchmarks/photos.py [--trials TRIALS]

`--trials` gathers what the trials left into benchmarks/photos.json first; the page is made from that file alone.
"""

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from photo_sets import SETS
from seedwise.base import machine
from seedwise.run import sizing
from seedwise.run.convergence import FEW_STEPS, LEARNED

RECORDS = Path(__file__).with_name("photos.json")
OUT = Path(__file__).parent.parent / "docs" / "photos.md"
METHODS = ("photos", "lite", "timm", "probe")
EXAMPLES = (
    (40, 2, 400),
    (86, 2, 400),
    (120, 3, 100),
    (400, 5, 300),
    (1200, 4, 500),
    (1400, 10, 100),
    (2000, 100, 32),
    (45_000, 100, 32),
)

HEAD = """# Your own photos: what the recipe `photos` chooses, and what it is worth

Made by `python benchmarks/photos.py` from `benchmarks/photos.json`; no number here was typed by hand. `photos` is the
recipe of `train`, `ablate`, `sweep` and `lr-find` for all data but `digits`, `cifar10` and `cifar100`. What it chose is
said before training and stands as numbers in the run's recipe.yaml, so that a repetition, or a `resume`, chooses
nothing. All trials of a study share the numbers of its base.

```
seedwise train DIR               # epochs, batch and image size by the rule below
seedwise train DIR --time 10m    # at most ten minutes, scoring included; --seeds 5: all five in ten minutes
seedwise train DIR --dry-run     # what would be chosen, and how long it would take here
```

## The rule

"""
TIME = """
`--time` measures a step of this network on this machine, takes 80% of what is left for the plan, and buys epochs
first: up to twice the rule's, then larger images (up to the photos' own size), and with too little time fewer
epochs, down to half, then smaller images. What it cut is said before training and behind the scores, and stands as
`timed` in the record. Where not even {least} optimizer steps fit, or too few beside decoding, by the pace of its first
images, it says at once what would: steps are measured on noise of the photos' size, before any is decoded.
"""
SHORT = """## When a run was too short

The last lines of a run, its report and `convergence` in its record say **not converged** when, with less than
{learned}% of the training images right,

- it made fewer than {few} optimizer steps, or
- validation top-1 of the last epoch (of the last tenth of the epochs, where that is more) lies above the best one
  before by more than two standard errors of such a difference between independent binomials. In the last tenth of a
  one-cycle or cosine schedule the rate is below 4% of its peak, so what annealing brings is there by then. On curves
  that are flat but for noise, fewer than 3 of 100 runs are called rising (`tests/unit/test_convergence.py`); with few
  validation images hardly any run is.

The gap between training and test images is called overfitting when it exceeds the noise of so many images, measured
likewise, and BatchNorm's running statistics have settled: training images are scored without augmentation and with
these statistics, of which (1 - momentum)^batches is still that of before training (36 steps: 2%, 3 steps: 73%).
"""
TRIALS = """## How it was measured

{sets} sets, made by `benchmarks/photo_sets.py`: from three public folders (hand signs of ten digits, ants and bees,
cats and dogs) and CIFAR-100 (`cifar-10x20`: 10 classes, 20 images each). The validation and test images of a source are
the same for its small and its large set, and none is trained on. The rule, the rate and the frozen stages were
chosen on validation images alone (last table: every trial, also the failed ones); test images were read once by each
run of the table above.

**What this does not show.** With one to three seeds, and 80 to 500 test images, differences of a few points mean
nothing. timm has its own defaults, which were not tuned for so few images. **Where photos are few and like ImageNet's
(ants and bees, cats and dogs), the probe is as good or a point or two better**, in half the time: a hundred such photos
teach the last layer, and hardly more. With other pictures (hand signs), or a hundred and more of a class, fine-tuning
is ahead. The rule's cube root, its bounds and its sizes for 1,000 photos and more are extrapolated from the small sets
and from what a run may take, not tuned one by one.

- `photos`, `lite`: these recipes. `lite` is what every folder got before, {lite}.
- `timm`: timm's own Lite0 with the same weights, its loader, augmentation, AdamW, cosine schedule and label smoothing,
  as in its train.py, with batch and image size of `photos` and **as much CPU time** as `photos` took with that seed.
- `probe`: logistic regression on the features of the frozen network at 224 px, its decay chosen on validation.

Each trial had one thread of {machine}, which other work shared; so
times are CPU minutes (one core), not wall minutes. *Not run* is what there was no time for; the commands complete it.

```
{commands}
```
"""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines) + "\n"


def gather(folder: Path) -> dict[str, Any]:
    """What the trials left: validation trials (tuning) and those that read test."""
    kinds = ("val", "test")
    found = {kind: [json.loads(path.read_text()) for path in sorted((folder / kind).glob("*.json"))] for kind in kinds}
    for trial in (trial for trials in found.values() for trial in trials):
        trial.pop("curve", None)
        if "failed" in trial:
            trial["failed"] = trial["failed"].strip().splitlines()[-1]
    return {"machine": machine.facts() | machine.versions(), **found}


def cell(trials: Sequence[dict[str, Any]]) -> str:
    """Mean ± SD of test top-1 in percent, n, and CPU minutes."""
    done = [trial for trial in trials if "failed" not in trial]
    failed = len(trials) - len(done)
    words = [f"{failed} failed"] if failed else []
    if done:
        tops = [100 * trial["test"] for trial in done]
        spread = f" ± {stdev(tops):.1f}" if len(tops) > 1 else ""
        minutes = mean(trial["cpu_seconds"] for trial in done) / 60
        words.insert(0, f"{mean(tops):.1f}{spread} (n={len(tops)}), {minutes:.1f} min")
    return "; ".join(words) or "not run"


def results(trials: Sequence[dict[str, Any]]) -> str:
    """Data set × method."""
    rows = []
    for name, wanted in SETS.items():
        of = {m: [t for t in trials if (t["set"], t["method"]) == (name, m) and not t["settings"]] for m in METHODS}
        if not any(of.values()):
            continue
        numbers = [f"{t['epochs']} × {t['batch_size']}, {t['image_size']} px" for t in of["photos"] if "steps" in t]
        rows.append([name, f"{wanted.train}", next(iter(numbers), ""), *(cell(of[method]) for method in METHODS)])
    head = ("set", "photos a class", "epochs × batch, size", *(f"`{method}`" for method in METHODS))
    return table(head, rows)


def tuning(trials: Sequence[dict[str, Any]]) -> str:
    """Every validation trial."""
    rows = []
    for trial in sorted(trials, key=lambda t: (list(SETS).index(t["set"]), t["method"], t["settings"])):
        settings = " ".join(word.removeprefix("train.") for word in trial["settings"]) or "as it is"
        said = trial.get("failed") or f"{100 * trial['val']:.1f}"
        minutes = f"{trial['cpu_seconds'] / 60:.1f}" if "cpu_seconds" in trial else ""
        rows.append(
            [trial["set"], trial["method"], settings, f"{trial['seed']}", f"{trial.get('steps') or ''}", said, minutes]
        )
    return table(("set", "method", "settings", "seed", "steps", "val top-1 (%)", "CPU min"), rows)


def page(records: dict[str, Any]) -> str:
    """The whole page."""
    examples = []
    for images, classes, side in EXAMPLES:
        it = sizing.rule(images, classes, side)
        steps = it.epochs * -(-images // it.batch_size)
        numbers = (images, classes, side, it.epochs, it.batch_size, it.image_size, sizing.frozen_stages(images), steps)
        examples.append([f"{number:,}" for number in numbers])
    rule = " ".join((sizing.rule.__doc__ or "").split()).partition("Source:")[0]
    rule += "Frozen: " + " ".join((sizing.frozen_stages.__doc__ or "").split()) + "\n"
    facts = records["machine"]
    where = f"{facts['cpu']}, {facts['cpu_capability']}, torch {facts['torch']}, timm {facts['timm']}"
    commands = (__doc__ or "").split("\n\n")[1]
    said = TRIALS.format(
        sets=len({trial["set"] for trial in records["test"]}),
        lite="3 epochs of batch 128 at 88 px",
        machine=where,
        commands="\n".join(line.strip() for line in commands.splitlines()),
    )
    return "\n".join(
        [
            HEAD + rule + "\n",
            table(
                (
                    "photos to train on",
                    "classes",
                    "their short side",
                    "epochs",
                    "batch",
                    "px",
                    "frozen stages",
                    "steps",
                ),
                examples,
            ),
            TIME.format(least=sizing.LEAST_STEPS),
            "## What it reaches\n\nTest top-1 in percent, mean ± SD over seeds, and CPU minutes of a run.\n",
            results(records["test"]),
            said,
            SHORT.format(learned=round(100 * LEARNED), few=FEW_STEPS),
            "## Every trial of the tuning, on validation images\n",
            tuning(records["val"]),
        ]
    )


def main() -> None:
    """Gather if asked to, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=Path)
    parser.add_argument("-o", "--out", type=Path, default=OUT)
    options = parser.parse_args()
    if options.trials is not None:
        RECORDS.write_text(json.dumps(gather(options.trials), indent=1) + "\n")
    options.out.write_text(page(json.loads(RECORDS.read_text())))


if __name__ == "__main__":
    main()
