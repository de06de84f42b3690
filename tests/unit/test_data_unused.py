"""Options that do nothing are a doubt, and classes that are left out leave two to tell apart: on every kind of data."""

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from seedwise.base.errors import UserError
from seedwise.data.config import DataConfig
from seedwise.data.open import open_data


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEDWISE_CACHE", str(tmp_path / "cache"))


FACTORY = """
import numpy as np
def load():
    return {"classes": ["a", "b"], "train": (np.arange(192, dtype=np.uint8).reshape(4, 4, 4, 3), [0, 0, 1, 1])}
"""


def make(kind: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    folder = root / "d"
    for number, name in enumerate("aabb"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (6, 6, 3), np.uint8)
        Image.fromarray(pixels).save(folder / name / f"{number}.png")
    images = sorted(folder.rglob("*.png"))
    if kind == "archive":
        return shutil.make_archive(str(root / "packed"), "zip", folder)
    if kind == "table":
        (root / "d.csv").write_text(
            "image,label\n" + "".join(f"d/{it.parent.name}/{it.name},{it.parent.name}\n" for it in images)
        )
        return str(root / "d.csv")
    if kind == "parquet":
        rows = {"image": [it.read_bytes() for it in images], "label": [it.parent.name for it in images]}
        pq.write_table(pa.table(rows), root / "d.parquet")
        return str(root / "d.parquet")
    if kind == "own":
        (root / "unused_factory.py").write_text(FACTORY)
        monkeypatch.syspath_prepend(str(root))
        sys.modules.pop("unused_factory", None)
        return "mine"
    return "digits" if kind == "digits" else str(folder)


TABLES = {"image_column": "x", "label_column": "x", "split_column": "none", "image_folder": "x", "image_suffix": "x"}
KINDS = {
    "folder": (TABLES, "a folder of images"),
    "archive": (TABLES, "an archive of images"),
    "table": ({"class_level": 1}, "a table"),
    "parquet": ({"class_level": "leaf"}, "Parquet files"),
    "digits": (TABLES | {"class_level": 1}, "digits"),
    "own": (TABLES | {"class_level": 1}, "what data.factory returns"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_does_nothing_is_a_doubt(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, own = make(kind, tmp_path, monkeypatch), {"factory": "unused_factory:load"} if kind == "own" else {}

    def doubts(**options: Any) -> tuple[str, ...]:
        return open_data(data, DataConfig(val=0, test=0, **options, **own), short_side=8).survey.doubts

    options, called = KINDS[kind]
    assert not [line for line in doubts() if "nothing" in line]
    for option, value in options.items():  # type: ignore[attr-defined]
        assert f"data.{option} does nothing for {called}" in doubts(**{option: value})
    if len(options) > 1:  # type: ignore[arg-type]
        assert f"data.image_column, data.label_column do nothing for {called}" in doubts(
            image_column="x", label_column="x"
        )
    if kind in ("folder", "archive"):
        assert not [line for line in doubts(class_level=1) if "nothing" in line]


@pytest.mark.parametrize(("kind", "least"), [*((kind, 3) for kind in KINDS if kind != "digits"), ("digits", 183)])
def test_fewer_than_two_classes_left(kind: str, least: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, own = make(kind, tmp_path, monkeypatch), {"factory": "unused_factory:load"} if kind == "own" else {}
    left = r"[01] of (2|10) classes have so many images: lower it"  # of digits one has 183 images
    with pytest.raises(UserError, match=rf"data\.min_per_class={least}: {left}"):
        open_data(data, DataConfig(min_per_class=least, **own), short_side=8)  # type: ignore[arg-type]


def test_an_audit_says_it_of_damaged_data_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from seedwise.audits.check import audit

    root = make("folder", tmp_path, monkeypatch)
    config = DataConfig(label_column="x", val=0, test=0)
    said = "data.label_column does nothing for a folder of images"
    assert audit(root, config, progress=lambda *_: None).findings.doubts == [said]
    (tmp_path / "d/a/0.png").write_bytes((tmp_path / "d/a/0.png").read_bytes()[:60])
    assert audit(root, config, progress=lambda *_: None).findings.doubts == [said]
