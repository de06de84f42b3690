"""The same images in a folder, a Parquet file, a CSV and archives train to the same weights, bit for bit."""

import csv
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import call
from PIL import Image

from seedwise.base.files import sha256_of
from seedwise.records.run import read_record


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three classes of 20 JPEGs of CIFAR's size."""
    random = np.random.default_rng(0)
    for color, name in enumerate(("ant", "bee", "cow")):
        (tmp_path / "folder" / name).mkdir(parents=True)
        for number in range(20):
            pixels = random.integers(0, 150, (32, 32, 3), np.uint8)
            pixels[..., color] += 100
            Image.fromarray(pixels).save(tmp_path / "folder" / name / f"{number}.jpg", quality=90)
    return tmp_path / "folder"


def parquet(folder: Path, files: list[Path]) -> Path:
    """Encoded bytes, with the label's name."""
    table = pa.table({"image": [file.read_bytes() for file in files], "label": [file.parent.name for file in files]})
    pq.write_table(table, folder.parent / "images.parquet", row_group_size=7)
    return folder.parent / "images.parquet"


def table(folder: Path, files: list[Path]) -> Path:
    """Paths relative to the CSV."""
    with (folder.parent / "images.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [("file", "label"), *((f"folder/{it.parent.name}/{it.name}", it.parent.name) for it in files)]
        )
    return folder.parent / "images.csv"


def zipped(folder: Path, files: list[Path]) -> Path:
    with zipfile.ZipFile(folder.parent / "images.zip", "w") as archive:
        for file in files:
            archive.write(file, file.relative_to(folder.parent))
    return folder.parent / "images.zip"


def tarred(folder: Path, files: list[Path]) -> Path:
    with tarfile.open(folder.parent / "images.tar.gz", "w:gz") as archive:
        for file in files:
            archive.add(file, file.relative_to(folder.parent))
    return folder.parent / "images.tar.gz"


@pytest.mark.slow
def test_every_container_trains_to_the_same_weights(folder: Path, tmp_path: Path) -> None:
    files = sorted(folder.glob("*/*.jpg"))
    mixed = [files[i] for i in np.random.default_rng(1).permutation(len(files))]  # the order must not matter
    doors = {"folder": folder}
    doors |= {make.__name__: make(folder, mixed) for make in (parquet, table, zipped, tarred)}
    runs = {}
    for name, data in doors.items():
        run = tmp_path / "runs" / name
        assert call("train", data, "-m", "small", "--epochs", 2, "--img-size", 16, "-b", 8, "--seed", 5, "-s",
                    "augment.cutmix=default", "--threads", 1, "-o", run) == 0  # fmt: skip
        runs[name] = (sha256_of(run / "model.safetensors"), read_record(run).data.fingerprint, read_record(run).final)
    assert len({weights for weights, _, _ in runs.values()}) == 1, runs
    assert len({fingerprint for _, fingerprint, _ in runs.values()}) == 1
    assert all(final == runs["folder"][2] for _, _, final in runs.values())
