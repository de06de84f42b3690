"""Each technique alone on the real CIFAR-100: does it train, and does its record show that it acted?

    python benchmarks/techniques.py --data-dir DIR --runs DIR [--only NAME ...] [-o benchmarks/techniques.json]

Lite0 at 64 px on 5,000 images for 2 epochs, as the recipe `lite` but without its augmentation, dropout and smoothing;
then the same with one technique added, as `seedwise techniques ls` writes it unless WITH says otherwise. A technique
passes when its final test loss (plain cross-entropy) is at most 10% above the base's and its block in the record shows
that it did something. Run folders are kept in --runs: a second call completes what is missing. Then
`python benchmarks/catalogue.py` puts the table into docs/techniques.md.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from torch import Tensor

TOLERANCE = 1.1
PLAIN = (
    "data.val=500",
    "augment.random_crop=null",
    "augment.horizontal_flip=null",
    "model.dropout=0.0",
    "loss.smoothing=0.0",
)
"""What the recipe has on, off."""
WITH = {
    "custom": ("augment.custom=techniques:darken",),
    "mix_off_epochs": ("augment.cutmix=default", "augment.mix_off_epochs=1"),
    # 5,000 images are as many of each class: balanced weights would all be 1
    "class_weights": (f"loss.class_weights={[0.8, 1.2] * 50}",),
    # `paper` begins at 24 px, and two epochs are too few for its four stages: see STRONGER
    "progressive": ("progressive=[{size: 0.75}, {}]",),
    "decay_norms_and_biases": ("optim.weight_decay=0.05", "optim.decay_norms_and_biases=false"),
}
"""Arms that need more than their switch, or less than its preset."""
STRONGER = {
    "progressive, paper": ("progressive=paper",),
    "class_weights, 0.5 and 1.5": (f"loss.class_weights={[0.5, 1.5] * 50}",),
    "layer_decay, 0.8": ("optim.layer_decay=0.8",),
}
"""Tried first, and too strong for two epochs: published beside the others."""
TELLING = ("share", "distance", "loss_added", "scale", "least_scale", "tensors_excluded", "layers", "images", "changed")
"""Of a block in the record, the number that shows that the technique acted."""


def darken(images: Tensor, draws: Tensor) -> Tensor:
    """A technique of one's own: each image loses up to a third of its light."""
    import torch

    return (images * (1 - draws[:, :1, None, None] / 3)).to(torch.uint8)


def arms(only: list[str]) -> dict[str, tuple[str, ...]]:
    """What each arm sets besides the base, the base first."""
    from seedwise.recipe.techniques import TECHNIQUES, find

    names = [find(name).name for name in only] or [technique.name for technique in TECHNIQUES]
    return {"base": (), **{name: WITH.get(name, (f"{find(name).path}={find(name).on}",)) for name in names}} | (
        {} if only else STRONGER
    )


def train(options: argparse.Namespace, arm: str, settings: tuple[str, ...]) -> dict[str, Any]:
    """Final losses and top-1, and what the record says, of one run, trained now or found."""
    from seedwise.recipe import library
    from seedwise.run.train import train as train_run

    size = {"data.limit": options.images, "train.epochs": options.epochs, "train.image_size": options.size}
    recipe = library.read("lite", [*PLAIN, *(f"{key}={value}" for key, value in size.items()), *settings])
    folder = options.runs / arm
    record = train_run(recipe, "cifar100", seed=options.seed, out=folder, data_dir=options.data_dir).record
    final, block = record.final, record.techniques.get(arm.partition(",")[0], {})
    assert final is not None and final.test is not None
    number = next((f"{name} {block[name]:.3g}" for name in TELLING if name in block), "")
    return {
        "settings": list(settings),
        "loss": final.test.loss,
        "top1": final.test.top1,
        "train_loss": final.train.loss,
        "acted": "inert" if arm in record.inert else number,
        "block": block,
    }


def main() -> None:
    """Train, compare, print."""
    from seedwise.base.machine import prepare_process

    prepare_process()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="these techniques alone")
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--out", type=Path, default=Path(__file__).with_name("techniques.json"))
    options = parser.parse_args()
    from seedwise.base import machine

    rows: dict[str, Any] = {}
    for arm, settings in arms(options.only).items():
        row = train(options, arm, settings)
        row["loss_ratio"] = row["loss"] / (rows["base"]["loss"] if rows else row["loss"])
        row["passes"] = arm == "base" or (row["loss_ratio"] <= TOLERANCE and row["acted"] not in ("", "inert"))
        rows[arm] = row
        words = f"loss {row['loss']:.3f} ({row['loss_ratio']:.2f} of base's)  top-1 {row['top1']:.3f}  {row['acted']}"
        print(f"{arm:<24}{words}  {'passes' if row['passes'] else 'FAILS'}", flush=True)
    scale = {key: getattr(options, key) for key in ("images", "epochs", "size", "seed")}
    command = "python benchmarks/techniques.py --data-dir DIR --runs DIR"
    result = {"command": command, **scale, "arms": rows, "machine": machine.facts(), "versions": machine.versions()}
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"{sum(row['passes'] for row in rows.values())} of {len(rows)} pass; {options.out}")


if __name__ == "__main__":
    main()
