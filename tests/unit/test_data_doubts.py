"""One picture under two labels, and held-out images that are in train."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from seedwise.data.config import DataConfig
from seedwise.data.open import open_data


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEDWISE_CACHE", str(tmp_path / "cache"))


def draw(root: Path, pictures: dict[str, Any]) -> None:
    """Image files, each given by the number of the picture that it shows."""
    for name, number in pictures.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (12, 12, 3), np.uint8)
        Image.fromarray(pixels).save(file)


def said(root: Path, pictures: dict[str, Any], side: int = 64, **options: Any) -> tuple[str, ...]:
    """The doubts about a folder with these files."""
    draw(root, pictures)
    return open_data(str(root), DataConfig(**{"val": 0, "test": 0, **options}), short_side=side).survey.doubts


def test_nothing_to_say(tmp_path: Path) -> None:
    assert said(tmp_path / "d", {"a/1.png": 1, "a/2.png": 1, "b/3.png": 2}) == ()  # twice in one class is no doubt


def test_one_picture_under_two_labels(tmp_path: Path) -> None:
    pictures = {"a/1.png": 1, "a/2.png": 2, "a/3.bmp": 3, "b/7.bmp": 1, "b/8.png": 4}
    assert said(tmp_path / "d", pictures) == ("1 picture stands under two labels (a/1.png, b/7.bmp)",)
    more = pictures | {"b/9.tif": 3, "c/1.png": 3, "c/2.png": 5}
    assert said(tmp_path / "e", more) == ("2 pictures stand under two labels (a/1.png, b/7.bmp)",)
    assert said(tmp_path / "e", {}, side=8) == ("2 pictures stand under two labels (a/1.png, b/7.bmp)",)


def test_across_parts(tmp_path: Path) -> None:
    pictures = {f"train/{name}/{number}.png": number for number, name in enumerate("aabb")}
    test = {"test/a/x.png": 0, "test/b/y.png": 2, "test/b/z.png": 1, "test/a/w.png": 9}
    assert said(tmp_path / "d", pictures | test, test=0.2) == (
        "1 picture stands under two labels (test/b/z.png, train/a/1.png)",
        "3 of 4 test images are in train too, equal in every pixel (test/a/x.png, train/a/0.png)",
    )
    val = {"val/a/x.png": 0, "val/b/y.png": 8}
    assert said(tmp_path / "e", pictures | val, val=0.1) == (
        "1 of 2 val images is in train too, equal in every pixel (val/a/x.png, train/a/0.png)",
    )


def test_a_file_in_two_parts_is_for_its_table_to_say(tmp_path: Path) -> None:
    draw(tmp_path, {"1.png": 1, "2.png": 2, "3.png": 1, "4.png": 3, "5.png": 4})
    rows = ["1.png,a,train", "2.png,b,train", "4.png,a,train", "./1.png,a,test", "2.png,b,test"]
    (tmp_path / "d.csv").write_text("\n".join(["image,label,split", *rows]) + "\n")
    options = DataConfig(val=0)
    doubts = open_data(str(tmp_path / "d.csv"), options, short_side=8).survey.doubts
    assert doubts == ("2 images in two parts: 1.png, 2.png",)
    (tmp_path / "d.csv").write_text("\n".join(["image,label,split", *rows, "3.png,a,test"]) + "\n")
    doubts = open_data(str(tmp_path / "d.csv"), options, short_side=8).survey.doubts
    assert doubts[1:] == ("1 of 3 test images is in train too, equal in every pixel (3.png, 1.png)",)
    names = ["1.png", "2.png", "4.png", "./1.png", "5.png"]
    table = {"image": names, "label": list("abaab"), "split": ["train"] * 3 + ["test"] * 2}
    pq.write_table(pa.table(table), tmp_path / "d.parquet")
    doubts = open_data(str(tmp_path / "d.parquet"), options, short_side=8).survey.doubts
    assert doubts == ("1 image in two parts: 1.png",)


def test_names_in_an_archive(tmp_path: Path) -> None:
    import shutil

    said(tmp_path / "d", {"a/1.png": 1, "a/2.png": 2, "b/7.png": 1})
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "d")
    assert said(tmp_path / archive, {}) == ("1 picture stands under two labels (a/1.png, b/7.png)",)
