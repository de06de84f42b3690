"""Labels of tables: rows without one, what they are called, and what is doubtful about them."""

import io
import unicodedata
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
from seedwise.data.labels import JOINS, label_doubts
from seedwise.data.open import open_data
from seedwise.data.source import Contents


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEDWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SEEDWISE_DATA", raising=False)


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (seed, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def csv(folder: Path, labels: list[Any], images: list[str] | None = None, **columns: Any) -> Path:
    """A CSV, with an image for each different name."""
    images = images or [f"{row}.png" for row in range(len(labels))]
    for row, image in enumerate(dict.fromkeys(images)):
        Image.new("RGB", (4, 4), (row, 0, 0)).save(folder / image)
    lines = [",".join(map(str, line)) for line in zip(images, labels, *columns.values(), strict=True)]
    (folder / "d.csv").write_text("\n".join([",".join(["image", "label", *columns]), *lines]) + "\n")
    return folder / "d.csv"


def parquet(file: Path, labels: Any, **columns: Any) -> Path:
    pq.write_table(pa.table({"image": [png(row) for row in range(len(labels))], "label": labels, **columns}), file)
    return file


def read(path: Path, **options: Any) -> Contents:
    return find_source(str(path), None, DataConfig(**options)).read()


SPLIT = ["train"] * 4 + ["test"] * 2


@pytest.mark.parametrize(("labels", "said"), [
    (["a", "b", "a", "b", "", ""], "has nothing"),
    ([0, 1, 0, 1, -1, -1], "is -1"),
    (["1.0", "2.0", "1.0", "2.0", "", ""], "has nothing"),
    (["a", "b", "a", "b", "NaN", "NaN"], "is NaN"),
])  # fmt: skip
def test_a_test_part_without_labels(tmp_path: Path, labels: list[Any], said: str) -> None:
    path = csv(tmp_path, labels, split=SPLIT)
    with pytest.raises(UserError, match=rf"no labels \(column 'label' {said} in all 2 rows\).*-s data\.test=none"):
        read(path)
    contents = read(path, test="none")
    assert list(contents.parts) == ["train"] and len(contents.parts["train"].labels) == 4
    (passed,) = contents.survey.passed_over
    assert (passed.kind, passed.reason, passed.count) == ("rows", "no label", 2) and passed.examples[0] == "d.csv:6"
    kept = open_data(str(path), DataConfig(test="none", val=0), short_side=8)
    assert kept.test is None and len(kept.train) == 4
    with pytest.raises(UserError, match=r"data\.test=none"):  # the other's cache is not found
        open_data(str(path), DataConfig(val=0), short_side=8)


@pytest.mark.parametrize("test", [
    pa.array([-1, -1]), pa.array([None, None], pa.int64()), pa.nulls(2), pa.array([float("nan")] * 2), None,
])  # fmt: skip
def test_a_test_part_of_parquet_without_labels(tmp_path: Path, test: Any) -> None:
    parquet(tmp_path / "train-0-of-1.parquet", pa.array([0, 1, 0, 1]))
    file = parquet(tmp_path / "test-0-of-1.parquet", pa.array([0, 0]) if test is None else test)
    if test is None:
        pq.write_table(pq.read_table(file).drop_columns("label"), file)
    with pytest.raises(UserError, match=r"no labels .*\): .*data\.test=none") as caught:
        read(tmp_path)
    lacking = (
        f"({tmp_path}/test-0-of-1.parquet has no column 'label', but image): call its labels 'label' too, or leave"
    )
    assert (" in all 2 rows): leave" if test is not None else lacking) in str(caught.value)
    contents = read(tmp_path, test="none")
    assert list(contents.parts) == ["train"] and contents.survey.passed_over[0].count == 2


@pytest.mark.parametrize(("labels", "message"), [
    ([0, -1, 0, 1, 1, 0], r"d\.csv:3: label=-1 is no label \(1 row without a value in train\)"),
    ([0, 1, 0, 1, 1, -1], r"d\.csv:7: label=-1 is no label \(1 row .* in test\).* or leave them out with .*test=none"),
    (["a", "b", "", "", "a", "b"], r"d\.csv:4: nothing in column 'label' \(2 rows without a value in train\)"),
])  # fmt: skip
def test_single_rows_without_a_label_are_an_error(tmp_path: Path, labels: list[Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(csv(tmp_path, labels, split=SPLIT))


def test_minus_one_and_one_are_classes_when_they_are_all(tmp_path: Path) -> None:
    assert read(csv(tmp_path, [1, -1, 1, -1, -1, 1], split=SPLIT)).classes == ("-1", "1")


def test_a_test_part_of_other_classes_is_left_alone(tmp_path: Path) -> None:
    path = csv(tmp_path, ["a", "b", "a", "b", "", "c"], split=SPLIT)
    assert {(it.reason, it.count) for it in read(path, test="none").survey.passed_over} == {
        ("no label", 1),
        ("class not in train", 1),
    }


def test_a_class_may_be_called_none(tmp_path: Path) -> None:
    assert read(csv(tmp_path, ["None", "b", "None", "b", "None", "b"], split=SPLIT)).classes == ("None", "b")


def test_labels_are_stripped_and_composed(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "Käfer")
    labels = ["Käfer", decomposed, " Käfer", "Wanze ", "Wanze", "Wanze"]
    for path in (csv(tmp_path, labels), parquet(tmp_path / "d.parquet", labels)):
        contents = read(path)
        assert contents.classes == ("Käfer", "Wanze") and contents.survey.doubts == ()
        assert contents.parts["train"].labels.tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_whole_floats_and_booleans(tmp_path: Path, kind: str) -> None:
    def made(labels: list[Any]) -> Path:
        return csv(tmp_path, labels) if kind == "csv" else parquet(tmp_path / "d.parquet", labels)

    contents = read(made([2.0, 10.0, 2.0, 10.0]))
    assert contents.classes == ("2", "10") and contents.parts["train"].labels.tolist() == [0, 1, 0, 1]
    assert contents.survey.doubts == ("column 'label' has numbers with a point (1.0), read as whole numbers",)
    assert read(made([True, False, True, False])).classes == ("False", "True")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("column", ["label_name", "class_name", "Label Name", "category", "breed"])
def test_a_column_of_names_beside_numbers(tmp_path: Path, kind: str, column: str) -> None:
    numbers, names = [3, 1, 3, 1, 7, 7], ["ant", "yak", "ant", "yak", "bee", "bee"]

    def made(names: list[str]) -> Path:
        if kind == "csv":
            return csv(tmp_path, numbers, **{column: names})
        return parquet(tmp_path / "d.parquet", numbers, **{column: names})

    contents = read(made(names))
    assert contents.classes == ("yak", "ant", "bee") and contents.survey.doubts == ()
    assert contents.parts["train"].labels.tolist() == [1, 0, 1, 0, 2, 2]
    assert read(made(names), label_column="label").classes == ("1", "3", "7")
    apart = made([*names[:4], "bee", "ant"])
    if column in ("category", "breed"):
        contents = read(apart)
        assert contents.classes == ("1", "3", "7")
        said = (f"column 'label' is taken for the labels, and not '{column}'",)
        assert contents.survey.doubts == said
    else:
        with pytest.raises(
            UserError, match=rf"(d\.csv:7|row 5): label=7 and {column}=ant are not one to one .*label_column="
        ):
            read(apart)
        assert read(apart, label_column=column.lower()).classes == ("ant", "bee", "yak")


@pytest.mark.parametrize(("classes", "doubt"), [
    (["1", "1.0", "2"], "classes that are the same number: '1' = '1.0'" + JOINS),
    (["01", "1", "2"], "classes that are the same number: '01' = '1'" + JOINS),
    (["0.5", "1.0", "1.25"], "classes that are numbers with fractions, as measured values are: '0.5', '1.25'"),
    (["Cat", "cat", "dog"], "classes that differ only in case, blanks or _: 'Cat' ~ 'cat'" + JOINS),
    (["red fox", "red_fox", "x"], "classes that differ only in case, blanks or _: 'red fox' ~ 'red_fox'" + JOINS),
    (["cat", "cat\u200b", "x"], "classes that differ only in case, blanks or _: 'cat' ~ 'cat\\u200b'" + JOINS),
    (["cat", "nan"], "classes that may stand for a missing label: 'nan' (3 images)"),
    (["None", "cat"], "classes that may stand for a missing label: 'None' (2 images)"),
    (["cat", "dog", "?"][::-1], "classes that may stand for a missing label: '?' (2 images)"),
    (["N/A", "null", "x"], "classes that may stand for a missing label: 'N/A' (2 images), 'null' (3 images)"),
    (["cat,dog", "cow"], "classes that look like several labels in one: 'cat,dog'"),
    (["[cat, dog]", "cow"], "classes that look like several labels in one: '[cat, dog]'"),
    (["cat|dog", "cow"], "classes that look like several labels in one: 'cat|dog'"),
    (["cat;dog", "cow"], "classes that look like several labels in one: 'cat;dog'"),
    (["cat, dog", "dog"], "classes that look like several labels in one: 'cat, dog'"),
    (["cat", "cat & dog", "dog"], "classes that look like several labels in one: 'cat & dog'"),
    (["cat", "cat_dog", "dog"], "classes that look like several labels in one: 'cat_dog'"),
    ([*(f"{n},x" for n in "abcde")], "classes that look like several labels in one: 'a,x', 'b,x', 'c,x' and 2 more"),
])  # fmt: skip
def test_doubtful_names(classes: list[str], doubt: str) -> None:
    assert label_doubts(classes, [2 + number for number in range(len(classes))]) == (doubt,)


def test_names_without_a_doubt() -> None:
    usual = [
        "-1",
        "1",
        "great white shark",
        "tiger shark",
        "shark",
        "tench, Tinca tinca",
        "rock & roll",
        "Nantes",
        "c++",
        "ice",
        "cream",
        "ice cream",
    ]
    assert label_doubts(usual, [1] * len(usual)) == ()
    assert label_doubts(["cat", "dog"], [1, 0]) == ("classes without an image to train on: 'dog'",)


def test_a_table_says_its_doubts(tmp_path: Path) -> None:
    doubts = read(csv(tmp_path, ["cat", "Cat", "nan", "cat|dog", "dog", "dog"])).survey.doubts
    assert len(doubts) == 3
    opened = open_data(str(tmp_path / "d.csv"), DataConfig(val=0, test=0), short_side=8)
    assert opened.survey.doubts[:3] == doubts


def test_files_named_several_times(tmp_path: Path) -> None:
    images = ["a.png", "b.png", "a.png", "./b.png", "c.png", "c.png", "d.png"]
    path = csv(tmp_path, list("xyyyxxy"), images, split=["train"] * 5 + ["test"] * 2)
    assert read(path).survey.doubts == (
        "1 image under two labels: a.png",
        "1 row named before: b.png (d.csv:5)",
        "1 image in two parts: c.png",
    )
    pq.write_table(pa.table({"path": images, "label": list("xyyyxxy")}), tmp_path / "d.parquet")
    assert read(tmp_path / "d.parquet").survey.doubts[0] == "1 image under two labels: a.png"


def test_a_label_of_its_own_for_each_image(tmp_path: Path) -> None:
    ids = [f"x{row}" for row in range(6)]
    path = csv(tmp_path, ids, breed=["a", "b"] * 3)
    with pytest.raises(
        UserError, match=r"each of 6 rows has a label of its own in column 'label'.*label_column=.*breed"
    ):
        read(path)
    assert len(read(path, label_column="label").classes) == 6
    assert read(path, label_column="breed").classes == ("a", "b")
    with pytest.raises(UserError, match=r"each of 4 rows has a label of its own.*: there is no other column"):
        read(parquet(tmp_path / "d.parquet", np.arange(4)))


def test_columns_that_are_labels_as_well_are_a_doubt(tmp_path: Path) -> None:
    for row in range(4):
        (tmp_path / f"{row}.png").write_bytes(png(row))
    table = tmp_path / "d.csv"
    table.write_text("image,species,breed\n0.png,cat,a\n1.png,dog,b\n2.png,cat,c\n3.png,dog,b\n")
    contents = read(table)
    assert contents.classes == ("cat", "dog")
    assert contents.survey.doubts == ("column 'species' is taken for the labels, and not 'breed'",)
    table.write_text("image,species,breed\n0.png,cat,a\n1.png,dog,a\n2.png,cat,a\n3.png,dog,a\n")
    assert read(table).survey.doubts == ()


@pytest.mark.parametrize("name", ["d.parquet", "train.parquet", "train-0-of-1.parquet"])
def test_a_table_without_rows(tmp_path: Path, name: str) -> None:
    schema = pa.schema([("image", pa.binary()), ("label", pa.string())])
    pq.write_table(schema.empty_table(), tmp_path / name)
    for options in ({}, {"split_column": "none"}):
        with pytest.raises(UserError, match="a table without rows: add one an image"):
            read(tmp_path / name, **options)
    parquet(tmp_path / "test-0-of-1.parquet", ["a", "b"])
    if name != "d.parquet":
        with pytest.raises(UserError, match="the table of the training part has no rows: add one an image"):
            read(tmp_path)


def test_nearly_a_class_for_each_image_is_a_doubt(tmp_path: Path) -> None:
    assert read(csv(tmp_path, [*"abcdefghi"] * 2)).survey.doubts == ()
    doubts = read(csv(tmp_path, [*"abcdefghi", "a"])).survey.doubts
    assert doubts == ("9 classes for 10 images: is column 'label' the labels?",)


def test_headers_and_options_in_any_case(tmp_path: Path) -> None:
    for row in range(4):
        Image.new("RGB", (4, 4), (row, 0, 0)).save(tmp_path / f"{row}.png")
    lines = [f"{row}.png,{'ab'[row % 2]},{'xy'[row // 2]}" for row in range(4)]
    (tmp_path / "d.csv").write_text("\n".join(["Image,Label,Kind", *lines]))
    assert read(tmp_path / "d.csv").classes == ("a", "b")
    assert read(tmp_path / "d.csv", image_column="image", label_column="KIND").classes == ("x", "y")
    (tmp_path / "d.csv").write_text("\n".join(["Image,Kind,kind", *lines]))
    assert read(tmp_path / "d.csv", label_column="kind").classes == ("x", "y")
    with pytest.raises(UserError, match=r"data\.label_column=KIND: several are called so; there are Image, Kind, kind"):
        read(tmp_path / "d.csv", label_column="KIND")


def test_files_that_name_their_classes_differently(tmp_path: Path) -> None:
    for part, names in (("test", ["bee", "ant"]), ("train", ["ant", "bee"])):
        file = parquet(tmp_path / f"{part}-0-of-1.parquet", [0, 1, 0, 1])
        features = {"label": {"names": names, "_type": "ClassLabel"}}
        metadata = {"huggingface": str({"info": {"features": features}}).replace("'", '"')}
        pq.write_table(pq.read_table(file).replace_schema_metadata(metadata), file)
    with pytest.raises(UserError, match=r"test-0-of-1\.parquet: its metadata name the classes of 'label' otherwise"):
        read(tmp_path)
