import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from seedwise.base.errors import UserError
from seedwise.data.config import DataConfig
from seedwise.data.open import open_data

ALL = DataConfig(val=0, test=0)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEDWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SEEDWISE_DATA", raising=False)


@pytest.fixture
def photos(tmp_path: Path) -> list[str]:
    """Eight pictures with names that a CSV has to quote."""
    names = [f'deep er/{n}, "q"é.png' for n in range(8)]
    for seed, name in enumerate(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
    return names


def write(file: Path, header: list[str], rows: list[Any], encoding: str = "utf-8", **options: Any) -> str:
    with file.open("w", newline="", encoding=encoding) as out:
        writer = csv.writer(out, **options)
        writer.writerow(header)
        writer.writerows(rows)
    return str(file)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_usual_dialects(tmp_path: Path, photos: list[str], delimiter: str, encoding: str) -> None:
    rows = [(number, name, number % 2) for number, name in enumerate(photos)]
    file = write(tmp_path / "d.csv", ["id", "file_name", "label"], rows, encoding, delimiter=delimiter)
    data = open_data(file, ALL, short_side=64)
    assert data.name == "d" and data.classes == ("0", "1") and data.train.targets.tolist() == [0] * 4 + [1] * 4
    for image, target in zip(data.train.gather(np.arange(8))[0], data.train.targets, strict=True):
        files = [tmp_path / name for number, name in enumerate(photos) if number % 2 == target]
        assert any(np.array_equal(np.asarray(Image.open(file)), image.transpose(1, 2, 0)) for file in files)


def test_splits_absolute_paths_and_numbers_by_value(tmp_path: Path, photos: list[str]) -> None:
    parts = ["train"] * 5 + ["val", "test", "Testing"]
    rows = [(str(tmp_path / name), (2, 10)[n % 2], parts[n]) for n, name in enumerate(photos)]
    data = open_data(write(tmp_path / "d.csv", ["picture", "species", "split"], rows), DataConfig(), short_side=64)
    assert data.classes == ("2", "10") and data.splits == {"train": 5, "val": 1, "test": 2}
    assert data.test.targets.tolist() == [0, 1] and data.val.targets.tolist() == [1]


def test_a_changed_image_or_table_is_noticed(tmp_path: Path, photos: list[str]) -> None:
    file = write(tmp_path / "d.csv", ["path", "label"], [(name, n % 2) for n, name in enumerate(photos)])
    before = open_data(file, ALL, short_side=64).fingerprint
    Image.new("RGB", (8, 8)).save(tmp_path / photos[0])
    changed = open_data(file, ALL, short_side=64).fingerprint
    write(tmp_path / "d.csv", ["path", "label"], [(name, (n + 1) % 2) for n, name in enumerate(photos)])
    assert len({before, changed, open_data(file, ALL, short_side=64).fingerprint}) == 3


@pytest.mark.parametrize(("text", "message"), [
    (b"", "no lines below the header"),
    (b"path,label\n", "no lines below the header"),
    (b"path,label\n{0},a\n{1}\n", r"d\.csv:3: 1 field, but the header has 2"),
    (b"path,label\n{0},a\n{1},\n", r"d\.csv:3: nothing in column 'label'"),
    (b"path,label\n,a\n", r"d\.csv:2: nothing in column 'path'"),
    (b"path,label\n{0},a\nnone.png,b\n", r"none\.png: cannot be read \(No such file"),
    (b"path,label\n{0},a\nx\0y.png,b\n", "cannot be read"),
    (b"path,label\n{0},a\n.,b\n", "not an ordinary file"),
    (b"path,label\n{0},a\nd.csv,b\n", r"d\.csv: not a readable image"),
    (b"path,label\n{0},a\n{1},a\n", "only the class 'a'"),
    (b"path,label\n\xff,a\n", "not UTF-8 text at byte 11"),
    (b'path,label\n"{0},a\n', "not a readable CSV"),
    (b"{0},a\n{1},b\n", r"d\.csv:1: the first line names an image \(0\.png\), .* such as image,label$"),
    (b"path,path\n{0},a\n", "two columns have the same name"),
    (b"path,width,height\n{0},1,2\n", "a label cannot be told from their names: path, width, height"),
    (b"path,label,split\n{0},a,train\n{1},b,holdout\n", r"d\.csv:3: split='holdout' is none of train"),
    (b"path,label,split\n{0},a,test\n{1},b,test\n", "no row belongs to the training part: .*split_column=none"),
    (b"path,label,split\n{0},a,train\n{1},b,train\n{2},c,test\n", "class 'c' is in test but not in train"),
    (b"path,label\n" + b"x" * 300 + b",a\n", "File name too long"),
    (b"path,label\n" + b"x" * 200_000 + b",a\n", "not a readable CSV"),
])  # fmt: skip
def test_bad_tables_are_one_line(tmp_path: Path, text: bytes, message: str) -> None:
    for number in range(3):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / f"{number}.png")
        text = text.replace(b"{%d}" % number, b"%d.png" % number)
    (tmp_path / "d.csv").write_bytes(text)
    with pytest.raises(UserError, match=message) as caught:
        open_data(str(tmp_path / "d.csv"), ALL, short_side=64)
    assert "\n" not in str(caught.value)
