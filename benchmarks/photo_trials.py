"""Trains the trials of docs/photos.md, one after the other: `photos`, `lite`, timm and a linear probe on each set.

    python benchmarks/photo_trials.py --sets SETS --trials DIR LIST [--seeds 0,1,2]

LIST is a file with a trial a line: `SET METHOD [-s option=value ...]`. METHOD: `timm`, `probe`, or a recipe's name.
Each trial is a JSON file in DIR, failures too; a second call, or a second process beside the first, does what is
missing. A trial computes in one thread, and its time is CPU time, which other work on the machine changes little:
`timm` gets the CPU time that the recipe `photos` took on that set with that seed. Test images are read only with
`--test`.
"""

import argparse
import json
import shlex
import shutil
import time
import traceback
from pathlib import Path
from typing import Any

from photo_peers import probe, timm_run


def train(
    sets: Path, name: str, recipe: str, settings: list[str], seed: int, *, test: bool, where: Path
) -> dict[str, Any]:
    """A run of seedwise: its scores, and the numbers that it was made of."""
    from seedwise.recipe import library
    from seedwise.run.train import train as train_run

    words = ["train.insight=false", "compute.threads=1", *settings, f"train.score_test={str(test).lower()}"]
    began = time.process_time()
    run = train_run(library.read(recipe, words), sets / name, seed=seed, out=where)
    seconds = time.process_time() - began
    final, size = run.record.final, run.recipe.train
    assert final is not None and final.val is not None
    found = {
        "cpu_seconds": seconds,
        "train": final.train.top1,
        "val": final.val.top1,
        "val_loss": final.val.loss,
        "test": None if final.test is None else final.test.top1,
        "epochs": size.epochs,
        "batch_size": size.batch_size,
        "image_size": size.image_size,
        "lr": run.recipe.optim.lr,
        "steps": run.record.epochs[-1].steps,
        "curve": [row.val.top1 for row in run.record.epochs if row.val is not None],
    }
    shutil.rmtree(where)
    return found


def one(sets: Path, trials: Path, line: str, seed: int, *, test: bool) -> bool:
    """Do a trial unless it is done, or is being done; False where it must wait for the one that it is held against."""
    name, method, *rest = shlex.split(line)
    settings = [word for word in rest if word != "-s"]
    words = "_".join(word.replace("/", "_") for word in [name, method, *settings, f"seed={seed}"])
    path = trials / ("test" if test else "val") / f"{words[:200]}.json"
    claim = path.with_suffix(".claim")
    path.parent.mkdir(parents=True, exist_ok=True)
    ours = path.with_name(f"{name}_photos_seed={seed}.json")
    if method == "timm" and "seconds" not in line and not ours.exists():
        return False
    if path.exists():
        return True
    try:
        claim.mkdir()
    except FileExistsError:
        return True
    began = time.time()
    trial: dict[str, Any] = {"set": name, "method": method, "settings": settings, "seed": seed}
    try:
        if method in ("timm", "probe"):
            options = dict(word.split("=", 1) for word in settings)
            plan = json.loads(ours.read_text()) if ours.exists() else {}
            if method == "timm":
                trial |= timm_run(sets / name, plan, options, seed, test=test)
            else:
                trial |= probe(sets / name, options, seed, test=test)
        else:
            trial |= train(sets, name, method, settings, seed, test=test, where=claim / "run")
    except Exception:
        trial["failed"] = traceback.format_exc()[-2000:]
    trial["wall_seconds"] = time.time() - began
    path.write_text(json.dumps(trial, indent=1))
    shutil.rmtree(claim)
    print(
        line,
        seed,
        {key: trial.get(key) for key in ("train", "val", "test", "steps", "cpu_seconds", "failed")},
        flush=True,
    )
    return True


def main() -> None:
    """Do all trials of a list, seed by seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=Path, required=True)
    parser.add_argument("--trials", type=Path, required=True)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--test", action="store_true", help="read the test images too")
    parser.add_argument("list", type=Path)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    waiting = True
    while waiting:
        waiting = False
        for seed in map(int, options.seeds.split(",")):
            position = 0
            while position < len(lines := options.list.read_text().splitlines()):  # lines may be added meanwhile
                if lines[position].strip() and not lines[position].startswith("#"):
                    done = one(options.sets, options.trials, lines[position], seed, test=options.test)
                    waiting = waiting or not done
                position += 1
        time.sleep(20 if waiting else 0)


if __name__ == "__main__":
    main()
