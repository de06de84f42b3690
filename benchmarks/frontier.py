"""docs/frontier.md: how accurate CIFAR-100 gets on two CPU cores, by the minute, from stored records.

    seedwise train cifar100 -r lite --data-dir DIR --seeds 5 -o RUNS/lite
    python benchmarks/frontier.py gather lite RUNS/lite        # what is published of a recipe's runs
    python benchmarks/frontier.py trial RUNS/some-trial ...    # runs of the tuning, which saw no test image
    python benchmarks/frontier.py time --data-dir DIR lite     # minutes a seed; nothing may run beside it
    python benchmarks/frontier.py page                         # docs/frontier.md and its picture

`gather` takes a study's folder or some runs; it keeps scores, times and machine of each run, whether each test image
was right, in bits, and the soft vote of all. Weights and logits stay where they are.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from frontier_page import KEPT, TIMES, TRIALS, write_page


def runs_in(folders: list[Path]) -> list[Path]:
    """Run folders among these and below them, in order."""
    found = [path.parent for folder in folders for path in sorted(folder.rglob("record.json"))]
    kinds = {folder: json.loads((folder / "record.json").read_text()).get("kind") for folder in found}
    return [folder for folder in found if kinds[folder] == "run"]


def gather(name: str, folders: list[Path]) -> dict[str, Any]:
    """Store the runs of a recipe: scores in NAME.json, the bits of each test image's answer in NAME.npz."""
    from seedwise.ensembles.votes import combine, log_probabilities
    from seedwise.records.predictions import Predictions, read_predictions, write_arrays
    from seedwise.records.run import RECIPE, read_record

    runs: list[dict[str, Any]] = []
    bits: dict[str, Any] = {}
    said: dict[str, list[Any]] = {"test": [], "test_tta": []}
    for folder in runs_in(folders):
        record = read_record(folder)
        assert record.final is not None and record.final.test is not None, f"{folder}: not scored on test"
        stored = read_predictions(folder, record)
        for part, logits in said.items():
            if part in stored:
                logits.append(log_probabilities(stored[part].logits))
                bits[f"{part}_{record.seed}"] = np.packbits(stored[part].correct())
        test = stored["test"]
        tta = record.tta and record.tta.test
        runs.append(
            {
                "seed": record.seed,
                "top1": record.final.test.top1,
                "top1_flip": tta and tta.top1,
                "val": record.final.val and record.final.val.top1,
                "epochs": len(record.epochs),
                "images": record.data.splits["train"],
                "size": record.epochs[-1].image_size,
                "model": record.model.name,
                "seconds": record.seconds,
                "test_evaluations": record.test_evaluations,
                "machine": record.machine,
                "versions": record.versions,
            }
        )
        recipe = (folder / RECIPE).read_text()
    votes = {}
    for part, logits in said.items():
        if len(logits) == len(runs) > 1:
            vote = combine(np.stack(logits), [1.0] * len(logits), "soft").astype(np.float32)
            right = Predictions(test.ids, test.targets, vote).correct()
            votes[part] = float(right.mean())
            bits[f"{part}_vote"] = np.packbits(right)
    KEPT.mkdir(parents=True, exist_ok=True)
    write_arrays(KEPT / f"{name}.npz", bits)
    kept = {"name": name, "runs": sorted(runs, key=lambda run: run["seed"]), "votes": votes, "recipe": recipe}
    (KEPT / f"{name}.json").write_text(json.dumps(kept, indent=1) + "\n")
    return kept


def trials(folders: list[Path]) -> None:
    """Store runs of the tuning, each a line: its settings and its validation accuracy by epoch."""
    from seedwise.records.run import RECIPE, read_record

    known = {json.loads(line)["name"]: line for line in TRIALS.read_text().splitlines()} if TRIALS.exists() else {}
    for folder in runs_in(folders):
        record = read_record(folder)
        assert record.final is None or record.final.test is None, f"{folder}: has seen the test images"
        trial = {
            "name": folder.name,
            "seed": record.seed,
            "status": record.status,
            "val": [row.val.top1 for row in record.epochs if row.val is not None],
            "val_flip": record.tta and record.tta.val and record.tta.val.top1,
            "seconds": record.seconds.get("total"),
            "recipe": (folder / RECIPE).read_text(),
        }
        known[folder.name] = json.dumps(trial)
    TRIALS.write_text("\n".join(known.values()) + "\n")


def time(recipes: list[str], data_dir: Path, turns: int) -> None:
    """Measure what `train --dry-run` says of each recipe, in turns, and store it with the machine."""
    from seedwise.base import machine

    found: dict[str, list[float]] = {recipe: [] for recipe in recipes}
    for _ in range(turns):
        for recipe, seconds in found.items():
            words = ["train", "cifar100", "-r", recipe, "--data-dir", str(data_dir), "--dry-run", "--json"]
            said = subprocess.run(
                [sys.executable, "-m", "seedwise", *words], check=True, capture_output=True, text=True
            )
            seconds.append(json.loads(said.stdout)["seconds"])
            print(recipe, f"{seconds[-1] / 60:.1f} minutes a seed", flush=True)
    stored = json.loads(TIMES.read_text()) if TIMES.exists() else {}
    stored |= {recipe: {"seconds": seconds, "machine": machine.facts()} for recipe, seconds in found.items()}
    TIMES.write_text(json.dumps(stored, indent=1) + "\n")


def main() -> None:
    """Parse and do one of the four."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    made = verbs.add_parser("gather")
    made.add_argument("name")
    made.add_argument("folders", type=Path, nargs="+")
    verbs.add_parser("trial").add_argument("folders", type=Path, nargs="+")
    made = verbs.add_parser("time")
    made.add_argument("recipes", nargs="+")
    made.add_argument("--data-dir", type=Path, required=True)
    made.add_argument("--turns", type=int, default=4)
    verbs.add_parser("page")
    options = parser.parse_args()
    if options.verb == "gather":
        print(json.dumps(gather(options.name, options.folders)["votes"]))
    elif options.verb == "trial":
        trials(options.folders)
    elif options.verb == "time":
        time(options.recipes, options.data_dir, options.turns)
    else:
        write_page()


if __name__ == "__main__":
    main()
