"""The part of each row of a table: what says it in columns, file names and folders, and what is refused."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from seedwise.base.errors import UserError
from seedwise.data.config import DataConfig
from seedwise.data.find import find_source

ROWS = 8
LABELS = ["ant", "bee"] * (ROWS // 2)


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def table(folder: Path, kind: str, columns: dict[str, Any], images: list[str] | None = None) -> Path:
    """A table of eight images, as a CSV beside them or as a Parquet file with them inside."""
    if kind == "parquet":
        whole = {"image": [png(row) for row in range(ROWS)], "label": LABELS, **columns}
        pq.write_table(pa.table(whole), folder / "d.parquet")
        return folder / "d.parquet"
    images = images or [f"{row}.png" for row in range(ROWS)]
    for row, image in enumerate(images):
        (folder / image).parent.mkdir(parents=True, exist_ok=True)
        (folder / image).write_bytes(png(row))
    lines = zip(images, LABELS, *(map(str, values) for values in columns.values()), strict=True)
    text = "\n".join([",".join(["image", "label", *columns]), *map(",".join, lines)])
    (folder / "d.csv").write_text(text + "\n")
    return folder / "d.csv"


def parts(path: Path, **options: Any) -> tuple[Any, ...]:
    contents = find_source(str(path), None, DataConfig(**options)).read()
    return {part: len(content.labels) for part, content in contents.parts.items()}, contents.survey.doubts


NAMED = ["train"] * 4 + ["VAL"] * 2 + [" Test"] * 2
HELD = [False] * 6 + [True] * 2
ALL = {"train": ROWS}
THREE = {"train": 4, "val": 2, "test": 2}


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize(("columns", "expected"), [
    ({"Split": NAMED}, THREE),
    ({"SET": ["training"] * 4 + ["dev"] * 2 + ["eval"] * 2}, THREE),
    ({"data_split": NAMED}, THREE),
    ({"Partition": NAMED}, THREE),
    ({"whatever": NAMED}, THREE),
    ({"category": NAMED}, THREE),
    ({"is_valid": HELD}, {"train": 6, "val": 2}),
    ({"isVal": [int(it) for it in HELD]}, {"train": 6, "val": 2}),
    ({"Is Test": ["no"] * 6 + ["Yes"] * 2}, {"train": 6, "test": 2}),
    ({"is_test": HELD, "is_valid": HELD[2:] + [False] * 2}, THREE),
    ({"is_test": HELD, "is_train": [True] * 4 + [False] * 4}, THREE),
    ({"is_train": [not it for it in HELD], "is_test": HELD, "is_valid": [False] * 8}, {"train": 6, "test": 2}),
    ({"in_test_set": HELD}, {"train": 6, "test": 2}),
    ({"testset": [int(it) for it in HELD]}, {"train": 6, "test": 2}),
    ({"in_test": HELD}, {"train": 6, "test": 2}),
    ({"InValidation": HELD}, {"train": 6, "val": 2}),
    ({"split": NAMED, "is_test": HELD}, THREE),
    ({"split": NAMED, "fold": [0, 1] * 4}, THREE),
    ({"fold": [3] * 8}, ALL),  # what is the same in all rows divides nothing
    ({"hint": ["train"] * 8}, ALL),
    ({"purpose": ["train", "demo"] * 4}, ALL),
])  # fmt: skip
def test_what_is_unmistakable_is_used(
    tmp_path: Path, kind: str, columns: dict[str, Any], expected: dict[str, int]
) -> None:
    path = table(tmp_path, kind, columns)
    found, doubts = parts(path)
    assert found == expected
    assert any("fold" in doubt for doubt in doubts) == (set(columns) == {"split", "fold"})
    assert parts(path, split_column="none")[0] == ALL


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize(("columns", "message"), [
    ({"fold": [0, 1, 2, 3] * 2}, r"fold='?0'? is none of train.*\(the column has 0, 1, 2 and 1 more\)"),
    ({"Usage": ["Training"] * 4 + ["PublicTest"] * 4}, r"Usage='PublicTest' is none of .*test in it, or draw "),
    ({"Usage": ["Training"] * 4 + ["PublicTest"] * 4, "fold": [0, 1] * 4},
     r"Usage='PublicTest' is none of .*split_column=NAME, or "),
    ({"set": [1, 2, 3, 1] * 2}, r"set='?1'? is none of"),
    ({"subset": ["a", "b"] * 4}, "subset='a' is none of"),
    ({"phase": [*NAMED[:7], "final"]}, "phase='final' is none of"),
    ({"is_train": [not it for it in HELD]}, r"is_train='?False'? leaves open whether .* val or for test"),
    ({"test": HELD}, r"test='?False'? is none of .*take true as test with -s data\.split_column=test"),
    *(({name: HELD}, rf"{name}='?False'? is none of .*take true as test with -s data\.split_column={name}")
      for name in ("holdout", "is_holdout", "heldout", "Held Out", "in_holdout_set")),
    *(({name: [0, 1, 2, 3] * 2}, rf"{name}='?0'? is none of train.*\(the column has 0, 1, 2 and 1 more\)")
      for name in ("fold_5", "cv", "kfold", "5_fold", "cv_split", "crossval", "CV fold 2", "holdout")),
    *(({name: [0, 1, 2, 3] * 2}, rf"{name}='?0'? is none of train") for name in ("test_fold", "partition_id")),
    ({"heldout_test": HELD}, "heldout_test='?False'? is none of .*take true as test"),
    ({"purpose": ["train"] * 6 + ["Held-Out"] * 2}, "purpose='Held-Out' is none of"),
    ({"purpose": ["train"] * 4 + ["query", "gallery"] * 2}, "purpose='query' is none of"),
    ({"purpose": ["train", "extra"] * 3 + ["test"] * 2}, "purpose='extra' is none of"),
    ({"split": NAMED, "is_test": HELD[::-1]}, r"split='train' and is_test='?True'? do not agree .*split_column=split"),
    ({"split": ["train"] * 7 + ["holdout"]}, r"(d\.csv:9|d\.parquet: row 7): split='holdout' is none of"),
])  # fmt: skip
def test_what_is_not_is_refused_with_the_options(
    tmp_path: Path, kind: str, columns: dict[str, Any], message: str
) -> None:
    path = table(tmp_path, kind, columns)
    with pytest.raises(UserError, match=message) as caught:
        parts(path)
    assert "data.split_column=none" in str(caught.value) and "\n" not in str(caught.value)
    assert parts(path, split_column="none")[0] == ALL


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_an_option_names_the_column(tmp_path: Path, kind: str) -> None:
    path = table(tmp_path, kind, {"Split": NAMED, "is_test": HELD[::-1], "test": HELD, "fold": [0, 1] * 4})
    assert parts(path, split_column="split")[0] == THREE
    assert parts(path, split_column="IS_TEST")[0] == parts(path, split_column="test")[0] == {"train": 6, "test": 2}
    with pytest.raises(UserError, match=r"data\.split_column=part: no such column; there are image, label, Split"):
        parts(path, split_column="part")
    with pytest.raises(UserError, match=r"(d\.csv:2|d\.parquet: row 0): fold='?0'? is none of"):
        parts(path, split_column="fold")
    stamps = {
        tuple(find_source(str(path), None, DataConfig(split_column=it)).stamp()) for it in ("Split", "test", "none")
    }
    assert len(stamps) == 3


def test_missing_values_say_no_part(tmp_path: Path) -> None:
    path = table(tmp_path, "parquet", {"split": [None, *NAMED[1:]]})
    with pytest.raises(UserError, match="row 0: split=None is none of"):
        parts(path)
    path = table(tmp_path, "csv", {"split": ["", *NAMED[1:]]})
    with pytest.raises(UserError, match=r"d\.csv:2: split='' is none of"):
        parts(path)


def test_most_rows_in_val_are_a_doubt(tmp_path: Path) -> None:
    found, doubts = parts(table(tmp_path, "csv", {"is_valid": [True] * 6 + [False] * 2}))
    assert found == {"train": 2, "val": 6} and doubts == ("is_valid puts 6 of 8 rows in val",)


@pytest.mark.parametrize("root", ["", "deep/images/"])
def test_folders_of_image_paths(tmp_path: Path, root: str) -> None:
    folders = ["train"] * 4 + ["Val"] * 2 + ["test"] * 2
    images = [f"{root}{folder}/x/{row}.png" for row, folder in enumerate(folders)]
    path = table(tmp_path, "csv", {}, images)
    found, doubts = parts(path)
    assert found == THREE and doubts == ("parts are taken from the folders of the image paths: train and val and test",)
    assert parts(path, split_column="none")[0] == ALL
    assert parts(table(tmp_path, "csv", {"split": ["train"] * 6 + ["test"] * 2}, images))[1] == (
        "2 images lie in the folder of another part than split says",
    )
    spelled = [image.replace("train/", "train_images/").replace("test/", "test_images/") for image in images]
    assert parts(table(tmp_path, "csv", {}, spelled))[0] == THREE


@pytest.mark.parametrize(("folders", "said"), [
    (["train"] * 4 + ["extra"] * 2 + ["test"] * 2, "images lie in test/ beside extra/ and train/, so some"),
    (["photos"] * 6 + ["test"] * 2, "images lie in test/ beside photos/"),
    (["photos"] * 6 + ["held_out"] * 2, "images lie in held_out/ beside photos/"),
    (["."] * 6 + ["test"] * 2, "images lie in test/ beside others, so some"),
    (["train_images"] * 4 + ["extra"] * 2 + ["test_images"] * 2, "images lie in test_images/ beside extra/ and train"),
    (["val"] * 6 + ["test"] * 2, "images lie in test/ and val/, so some may be held"),
])  # fmt: skip
def test_folders_of_held_out_images_beside_others_are_refused(tmp_path: Path, folders: list[str], said: str) -> None:
    images = [f"{folder}/{row}.png" for row, folder in enumerate(folders)]
    path = table(tmp_path, "csv", {}, images)
    with pytest.raises(UserError, match=rf"d\.csv: {said}.*data\.split_column=none"):
        parts(path)
    assert parts(path, split_column="none")[0] == ALL
    assert parts(table(tmp_path, "csv", {"split": NAMED}, images))[0] == THREE


@pytest.mark.parametrize("folders", [("photos", "train_station"), (".", "test_tube"), ("photos", "deep/test")])
def test_folders_without_parts_among_them_say_nothing(tmp_path: Path, folders: tuple[str, str]) -> None:
    images = [f"{folders[row % 2]}/{row}.png" for row in range(ROWS)]
    assert parts(table(tmp_path, "csv", {}, images)) == (ALL, ())


def test_bytes_may_say_the_parts(tmp_path: Path) -> None:
    path = table(tmp_path, "parquet", {"split": [name.strip().lower().encode() for name in NAMED]})
    assert parts(path)[0] == parts(path, split_column="split")[0] == THREE
    path = table(tmp_path, "parquet", {"split": [[name] for name in NAMED]})
    with pytest.raises(UserError, match=r"column 'split' may say the parts and holds list<.*data\.split_column=none"):
        parts(path)
    assert parts(path, split_column="none")[0] == ALL


def test_the_label_is_not_taken_for_parts(tmp_path: Path) -> None:
    for row in range(ROWS):
        (tmp_path / f"{row}.png").write_bytes(png(row))
    lines = [f"{row}.png,{('train', 'test')[row % 2]}" for row in range(ROWS)]
    (tmp_path / "d.csv").write_text("\n".join(["image,vehicle", *lines]))
    contents = find_source(str(tmp_path / "d.csv"), None, DataConfig()).read()
    assert contents.classes == ("test", "train") and list(contents.parts) == ["train"]


def test_a_column_may_not_contradict_the_name_of_its_file(tmp_path: Path) -> None:
    for part in ("train", "test"):
        rows = {"image": [png(row) for row in range(ROWS)], "label": LABELS, "split": ["train"] * ROWS}
        pq.write_table(pa.table(rows), tmp_path / f"{part}-0-of-1.parquet")
    with pytest.raises(
        UserError, match=r"test-0-of-1\.parquet: row 0: split='train' and the file's name \(test\) do not"
    ):
        parts(tmp_path)
    assert parts(tmp_path, split_column="none")[0] == {"train": ROWS, "test": ROWS}
    assert parts(tmp_path, split_column="split")[0] == {"train": 2 * ROWS}
