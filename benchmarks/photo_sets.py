"""Small real data sets for docs/photos.md: folders `train/`, `val/` and `test/` of classes, copied by a fixed draw.

    python benchmarks/photo_sets.py --photos DIR --cifar DIR -o SETS

`--photos` holds three public folders: `hands/Dataset` (2,062 photos of hand signs for ten digits, 100 px), `ants` (397
photos of ants and bees, about 500 px, with train/ and val/) and `pets/Data/Train_Data` (1,399 of cats and dogs, all
sizes). `--cifar` holds CIFAR-100 as Parquet files. Val and test have no image of train; where several sets come from
one source, a larger one has the smaller one's training images and both have the same val and test.
"""

import argparse
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

HANDS, CIFAR_CLASSES = ("0", "1", "2"), 10


@dataclass(frozen=True)
class Wanted:
    """A set: its source, its classes (None: all), and images a class to train, validate and test on."""

    source: str
    classes: tuple[str, ...] | int | None
    train: int
    val: int
    test: int


SETS = {
    "hands-120": Wanted("hands", HANDS, 40, 50, 60),
    "hands-1400": Wanted("hands", None, 140, 20, 40),
    "ants-86": Wanted("ants", None, 43, 40, 40),
    "ants-220": Wanted("ants", None, 110, 40, 40),
    "pets-100": Wanted("pets", None, 50, 75, 125),
    "pets-900": Wanted("pets", None, 450, 75, 125),
    "cifar-10x20": Wanted("cifar", CIFAR_CLASSES, 20, 25, 50),
    "cifar-10x100": Wanted("cifar", CIFAR_CLASSES, 100, 25, 50),
    "cifar-10x500": Wanted("cifar", CIFAR_CLASSES, 475, 25, 50),
    "cifar-100x20": Wanted("cifar", None, 20, 4, 10),
}
"""CIFAR's validation images are of its training part, its test images of its test part."""


def _folders(root: Path) -> dict[str, list[tuple[str, bytes]]]:
    """By class, names and contents of the images below a folder whose leaves are classes."""
    found: dict[str, list[tuple[str, bytes]]] = {}
    for path in sorted(path for path in root.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png")):
        found.setdefault(path.parent.name, []).append((path.name, path.read_bytes()))
    return found


def _cifar(root: Path, part: str) -> dict[str, list[tuple[str, bytes]]]:
    import json

    import pyarrow.parquet as pq

    found: dict[str, list[tuple[str, bytes]]] = {}
    for file in sorted(root.glob(f"{part}-*.parquet")):
        table = pq.read_table(file)
        names = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]["fine_label"]["names"]
        for row in table.to_pylist():
            found.setdefault(names[row["fine_label"]], []).append((row["img"]["path"], row["img"]["bytes"]))
    return found


def _drawn(images: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    order = np.random.default_rng(0).permutation(len(images))
    return [images[position] for position in order]


def _parts(wanted: Wanted, options: argparse.Namespace) -> Iterator[tuple[str, str, list[tuple[str, bytes]]]]:
    """(part, class, images). Val and test come first in the order of the draw, and train after them."""
    places = {"hands": "hands/Dataset", "ants": "ants", "pets": "pets/Data/Train_Data"}
    later = None if wanted.source != "cifar" else _cifar(options.cifar, "test")
    images = _folders(options.photos / places[wanted.source]) if later is None else _cifar(options.cifar, "train")
    names = sorted(images)
    if isinstance(wanted.classes, int):
        names = names[3 :: len(names) // wanted.classes]
    for name in wanted.classes if isinstance(wanted.classes, tuple) else names:
        drawn, of_test = _drawn(images[name]), None if later is None else _drawn(later[name])
        start = wanted.val + (wanted.test if of_test is None else 0)
        yield "val", name, drawn[: wanted.val]
        yield "test", name, (of_test[: wanted.test] if of_test is not None else drawn[wanted.val : start])
        yield "train", name, drawn[start : start + wanted.train]


def make(name: str, options: argparse.Namespace) -> None:
    """Write a set, unless it is there."""
    folder = options.out / name
    if folder.exists():
        return
    working = folder.with_name(f".{name}")
    shutil.rmtree(working, ignore_errors=True)
    for part, label, images in _parts(SETS[name], options):
        target = working / part / (label if label != "train" else "train (vehicle)")  # else it looks like a part
        target.mkdir(parents=True)
        for file, content in images:
            (target / file).write_bytes(content)
    working.rename(folder)


def main() -> None:
    """Write all sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--cifar", type=Path, required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    options = parser.parse_args()
    for name in SETS:
        make(name, options)
        counts = {part: sum(1 for _ in (options.out / name / part).rglob("*.*")) for part in ("train", "val", "test")}
        print(name, counts)


if __name__ == "__main__":
    main()
