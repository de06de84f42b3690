"""Every image is called what leads back to it: its file, an archive's member, or its row of a table."""

import csv
import dataclasses
import io
import sys
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from test_data_published import files10, unpack

from seedwise.data import cifar
from seedwise.data.config import DataConfig
from seedwise.data.dataset import Dataset
from seedwise.data.naming import LONGEST_NAME, within
from seedwise.data.open import open_data

SIDE = 8
FACTORY = """
import numpy as np
PIXELS = np.arange(24).astype(np.uint8)[:, None, None, None] + np.zeros((24, 8, 8, 3), np.uint8)
def load():
    return {"classes": ["a", "b"], "train": (PIXELS, np.arange(24) % 2)}
"""


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEDWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SEEDWISE_DATA", raising=False)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """24 pictures that all differ, some in folders within a class."""
    random = np.random.default_rng(0)
    for number in range(24):
        inside = "deeper" if number % 5 == 0 else "."
        file = tmp_path / "photos" / "ab"[number % 2] / inside / f"été {number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(file)
    return tmp_path / "photos"


def leads_back(data: Dataset, read: Callable[..., Any]) -> None:
    """Every split's names are of the images that stand in its rows, and no name comes twice."""
    seen = []
    for subset in (data.train, data.val, data.test):
        pixels, _ = subset.gather(np.arange(len(subset)))  # type: ignore[arg-type]
        for name, image in zip(subset.files.tolist(), pixels.transpose(0, 2, 3, 1), strict=True):
            assert np.array_equal(read(name), image), name
        seen += subset.files.tolist()
    assert len(set(seen)) == len(seen) == sum(data.splits.values())


def pixels(file: BytesIO | Path) -> np.ndarray:
    return np.asarray(Image.open(file).convert("RGB"))


def opened(path: Path | str, **options: Any) -> Dataset:
    return open_data(str(path), DataConfig(val=6, test=6, limit=8, **options), short_side=SIDE)


def test_of_a_folder_the_path_within_it(photos: Path) -> None:
    leads_back(opened(photos), lambda name: pixels(photos / name))


def test_of_an_archive_its_member(photos: Path) -> None:
    archive = photos.parent / "packed.zip"
    with zipfile.ZipFile(archive, "w") as out:
        for file in sorted(photos.rglob("*.png"), reverse=True):
            out.write(file, f"top/{file.relative_to(photos)}")
    with zipfile.ZipFile(archive) as packed:
        leads_back(opened(archive), lambda name: pixels(io.BytesIO(packed.read(name))))


def test_of_a_csv_the_file_from_the_tables_folder_on_and_else_the_whole_path(photos: Path) -> None:
    files, table = sorted(photos.rglob("*.png")), photos.parent / "tables" / "d.csv"
    for folder, name_of in (
        (table.parent, str),  # an absolute path, of images that lie elsewhere
        (photos.parent, lambda it: str(it.relative_to(photos.parent))),
    ):
        folder.mkdir(exist_ok=True)
        with (folder / "d.csv").open("w", newline="") as out:
            csv.writer(out).writerows([("file", "label"), *((name_of(it), it.parent.name[0]) for it in files)])
        data = opened(folder / "d.csv")
        assert set(data.test.files.tolist()) <= {name_of(it) for it in files}
        leads_back(data, lambda name, folder=folder: pixels(folder / name))


def test_of_parquet_files_the_row_and_its_file(photos: Path) -> None:
    files = sorted(photos.rglob("*.png"))
    folder = photos.parent / "shards"
    folder.mkdir()
    for part, chosen in (("train", files[:18]), ("test", files[18:])):
        columns = {
            "image": [it.read_bytes() for it in chosen],
            "label": [str(it)[len(str(photos)) + 1] for it in chosen],
        }
        pq.write_table(pa.table(columns), folder / f"{part}-00000-of-00001.parquet", row_group_size=5)

    def read(name: str) -> np.ndarray:
        file, row = name.split(": row ")
        return pixels(io.BytesIO(pq.read_table(folder / file)["image"][int(row)].as_py()))

    leads_back(open_data(str(folder), DataConfig(val=6), short_side=SIDE), read)
    alone = folder / "train-00000-of-00001.parquet"
    leads_back(opened(alone), lambda name: read(f"{alone.name}: {name}"))


def test_of_parquet_rows_that_name_files_the_file(photos: Path) -> None:
    files = [str(it.relative_to(photos.parent)) for it in sorted(photos.rglob("*.png"))]
    columns = {"image": files, "label": [name.split("/")[1] for name in files]}
    pq.write_table(pa.table(columns), photos.parent / "d.parquet")
    leads_back(opened(photos.parent / "d.parquet"), lambda name: pixels(photos.parent / name))


def test_of_cifars_archive_the_batch_and_its_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = dataclasses.replace(cifar.PUBLISHED["cifar10"], classes=4)
    monkeypatch.setitem(cifar.PUBLISHED, "cifar10", small)
    files = files10()
    folder = unpack(tmp_path / "cifar-10-batches-py", files)

    def read(name: str) -> np.ndarray:
        batch, row = name.split(": row ")
        return files[batch]["data"][int(row)].reshape(3, 32, 32).transpose(1, 2, 0)

    leads_back(open_data(str(folder), DataConfig(val=8), short_side=32), read)


def test_of_the_digits_their_number() -> None:
    originals = load_digits().images

    def read(name: str) -> np.ndarray:
        gray = np.rint(originals[int(name.removeprefix("image "))] * (255 / 16)).astype(np.uint8)
        return np.asarray(Image.fromarray(gray).resize((32, 32), Image.Resampling.BICUBIC).convert("RGB"))

    leads_back(open_data("digits", DataConfig(), short_side=32), read)


def test_of_own_data_the_part_and_the_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "named_factory.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("named_factory", None)
    data = opened("mine", factory="named_factory:load")
    leads_back(data, lambda name: np.full((SIDE, SIDE, 3), int(name.removeprefix("train image "))))


def test_a_name_is_one_line_of_bounded_length(tmp_path: Path) -> None:
    for number in range(8):
        file = tmp_path / "odd" / "ab"[number % 2] / ("x" * 200) / f"{'y' * 200}\n{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((SIDE, SIDE, 3), number, np.uint8)).save(file)
    names = open_data(str(tmp_path / "odd"), DataConfig(val=0, test=0), short_side=SIDE).train.files.tolist()
    assert {len(name) for name in names} == {LONGEST_NAME}
    assert {name[-7:] for name in names} == {f"\\n{number}.png" for number in range(8)}


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("/a/photos/cat/1.jpg", "cat/1.jpg"),
        ("/a/photos: cat/1.jpg", "cat/1.jpg"),
        ("/a/beside/1.jpg", "beside/1.jpg"),
        ("/a/photos 2/1.jpg", "photos 2/1.jpg"),
        ("/ab/1.jpg", "/ab/1.jpg"),
        ("image 7", "image 7"),
    ],
)
def test_what_lies_beside_is_no_part_of_a_name(where: str, said: str) -> None:
    assert within(where, Path("/a/photos")) == said
