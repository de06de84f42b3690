"""Verdicts of a study onto the techniques' cards: recipe/technique_verdicts.json, which the cards show.

    seedwise ablate studies/fine-tuning.yaml --data-dir DIR -j 2 -o FOLDER
    python benchmarks/verdicts.py FOLDER "seedwise ablate studies/fine-tuning.yaml --data-dir DIR -j 2"
    python benchmarks/catalogue.py

An arm goes to the technique that its name begins with, `no-` aside: `muon`, `muon-fast`, `no-freeze`. Verdicts of the
same command are replaced, those of other studies stay.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from seedwise.base import machine
from seedwise.recipe.techniques import TECHNIQUES, VERDICTS
from seedwise.records.run import read_record
from seedwise.study.progress import trial_folder
from seedwise.study.record import BASE, read_study


def technique_of(arm: str) -> str | None:
    """The technique that an arm's name begins with."""
    name = arm.removeprefix("no-")
    return next((each.name for each in TECHNIQUES if name == each.name or name.startswith(f"{each.name}-")), None)


def verdicts(folder: Path, command: str) -> list[dict[str, Any]]:
    """What the study found of each technique, and where it holds; not its time, for trials ran side by side."""
    study = read_study(folder)
    split = study.primary.split
    first = read_record(folder / trial_folder(BASE, study.seeds[0]))
    found = []
    for arm, patch in ((arm, of.get(split)) for arm, of in study.comparisons.items()):
        if patch is None or (technique := technique_of(arm)) is None:
            continue
        found.append(
            {
                "technique": technique,
                "arm": arm,
                "n": patch["n"],
                **{name: patch[name] for name in ("mean", "ci95", "p_holm", "verdict", "sentence")},
                "setting": patch["holds"]["base"],
                "machine": machine.describe(first.machine),
                "command": command,
            }
        )
    return found


def main() -> None:
    """Read a study, put its verdicts in place of the same command's earlier ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("command", help="the command that made it, as a reader types it")
    options = parser.parse_args()
    before = json.loads(VERDICTS.read_text(encoding="utf-8")) if VERDICTS.exists() else []
    kept = [each for each in before if each["command"] != options.command]
    kept += verdicts(options.study, options.command)
    VERDICTS.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
