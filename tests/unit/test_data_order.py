"""The same images are the same data, whatever holds them, in whatever order, under whatever names."""

import csv
import io
import random
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from seedwise.data.config import DataConfig
from seedwise.data.open import open_data

CLASSES = ("10", "9", "100")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEDWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SEEDWISE_DATA", raising=False)


def jpegs(uniform: bool) -> list[tuple[str, bytes]]:
    """(class, JPEG) of 90 pictures, two of which are equal."""
    draw = np.random.default_rng(0)
    rows = []
    for number in range(90):
        height, width = (32, 32) if uniform else draw.integers(20, 60, 2)
        buffer = io.BytesIO()
        Image.fromarray(draw.integers(0, 256, (height, width, 3), np.uint8)).save(buffer, "JPEG", quality=95)
        rows.append((CLASSES[number % 3], buffer.getvalue()))
    rows[3] = rows[0]
    return rows


def write_all(root: Path, rows: list[tuple[str, bytes]]) -> list[Path]:
    """One path for each way to hold these rows, each with names and an order of its own."""
    shuffle = random.Random(0).sample
    for number, (name, data) in enumerate(rows):
        for kind, stem in (("folder", number), ("renamed", 997 * (number + 1) % 1009)):
            (root / kind / name).mkdir(parents=True, exist_ok=True)
            (root / kind / name / f"{stem}.jpg").write_bytes(data)
    files = [(str(file.relative_to(root)), file.parent.name) for file in (root / "folder").rglob("*.jpg")]
    with (root / "table.csv").open("w", newline="") as out:
        csv.writer(out).writerows([("path", "label"), *shuffle(files, 90)])
    pq.write_table(pa.table(dict(zip(("label", "image"), zip(*shuffle(rows, 90))))), root / "text.parquet")
    numbers = [(int(name), data) for name, data in shuffle(rows, 90)]
    pq.write_table(pa.table(dict(zip(("label", "image"), zip(*numbers)))), root / "numbers.parquet", row_group_size=7)
    with tarfile.open(root / "packed.tar.gz", "w:gz") as tar:
        tar.add(root / "renamed", "some/where")
    with zipfile.ZipFile(root / "packed.zip", "w") as out:
        for file, _ in shuffle(files, 90):
            out.write(root / file, file)
    return sorted(path for path in root.iterdir() if path.name != "cache")


@pytest.mark.parametrize("uniform", [True, False], ids=["one size", "many sizes"])
def test_all_ways_in_give_the_same_rows(tmp_path: Path, uniform: bool) -> None:
    (tmp_path / "in").mkdir()
    paths = write_all(tmp_path / "in", jpegs(uniform))
    assert len(paths) == 7
    opened = [open_data(str(path), DataConfig(limit=50), short_side=40) for path in paths]
    assert {data.fingerprint for data in opened} == {opened[0].fingerprint}
    for data in opened:
        assert data.classes == ("9", "10", "100")
        for split in ("train", "val", "test"):
            one, other = getattr(data, split), getattr(opened[0], split)
            assert np.array_equal(one.ids, other.ids) and np.array_equal(one.targets, other.targets)
            for left, right in zip(one.gather(np.arange(len(one))), other.gather(np.arange(len(one))), strict=True):
                assert np.array_equal(left, right)


def test_an_image_keeps_its_row_at_every_stored_size(tmp_path: Path) -> None:
    """So that runs at several image sizes hold out the same images."""
    (tmp_path / "in").mkdir()
    write_all(tmp_path / "in", jpegs(uniform=False))
    small, large = (open_data(str(tmp_path / "in/folder"), DataConfig(), short_side=side) for side in (24, 48))
    assert small.fingerprint != large.fingerprint and small.originals == large.originals
    assert np.array_equal(small.val.ids, large.val.ids)
    for row in range(len(small.val)):  # type: ignore[arg-type]
        pair = []
        for data in (small, large):
            image, ((height, width),) = data.val.gather(np.array([row]))  # type: ignore[misc]
            picture = Image.fromarray(np.ascontiguousarray(image[0, :, :height, :width].transpose(1, 2, 0)))
            pair.append(np.asarray(picture.resize((8, 8), Image.Resampling.BOX), float).ravel())
        assert np.corrcoef(*pair)[0, 1] > 0.9  # type: ignore[call-overload]
