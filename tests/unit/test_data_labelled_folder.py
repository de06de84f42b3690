"""Folders of images that keep their labels in tables: Hugging Face's metadata.csv and Roboflow's _classes.csv."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from seedwise.base.errors import UserError
from seedwise.data.config import DataConfig
from seedwise.data.find import find_source


def images(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for row, name in enumerate(names):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4), (row, 0, 0)).save(folder / name)


def labelled(
    folder: Path, labels: list[str], name: str = "metadata.csv", header: str = "file_name,label", suffix: str = ".png"
) -> None:
    images(folder, [f"{row}.png" for row in range(len(labels))])
    lines = [f"{row}{suffix},{label}" for row, label in enumerate(labels)]
    (folder / name).write_text("\n".join([header, *lines]))


def read(folder: Path, **options: Any) -> tuple[Any, ...]:
    source = find_source(str(folder), None, DataConfig(**options))
    contents = source.read()
    stamped = [line.split("\0")[0] for line in source.stamp() if "\0" in line]
    for part in contents.parts.values():
        assert all(str(image.data) in stamped for image in part.images())
    passed = [(it.kind, it.reason, it.count, it.examples) for it in contents.survey.passed_over]
    labels = {part: [contents.classes[it] for it in content.labels] for part, content in contents.parts.items()}
    return labels, passed, contents.survey.doubts


def test_metadata_at_the_top(tmp_path: Path) -> None:
    labelled(tmp_path, ["cat", "dog", "cat"])
    images(tmp_path, ["x.png"])
    labels, passed, _ = read(tmp_path)
    assert labels == {"train": ["cat", "dog", "cat"]}
    assert passed == [("images", "not named in a table", 1, ("x.png",))]
    assert find_source(str(tmp_path), None).name == tmp_path.name


@pytest.mark.parametrize("root", ["", "data"])
def test_metadata_in_each_part(tmp_path: Path, root: str) -> None:
    (tmp_path / "README.md").write_text("")
    for part, labels in (("train", ["cat", "dog"]), ("validation", ["dog"]), ("test", ["cat"])):
        labelled(tmp_path / root / part, labels)
    readme = [] if root else [("files", "no image", 1, ("README.md",))]
    assert read(tmp_path)[:2] == ({"train": ["cat", "dog"], "val": ["dog"], "test": ["cat"]}, readme)
    (tmp_path / root / "validation/metadata.csv").unlink()
    with pytest.raises(UserError, match=r"validation/metadata\.csv: is missing, and other parts have one: add it"):
        read(tmp_path)


def test_metadata_at_the_top_for_images_in_part_folders(tmp_path: Path) -> None:
    names = ["train/0.png", "train/1.png", "train/2.png", "test/0.png"]
    for part in ("train", "test"):
        images(tmp_path / part, ["0.png", "1.png", "2.png"][: 3 if part == "train" else 1])
    (tmp_path / "metadata.csv").write_text(
        "\n".join(["file_name,label", *(f"{n},{'ab'[i % 2]}" for i, n in enumerate(names))])
    )
    assert read(tmp_path)[0] == {"train": ["a", "b", "a"], "test": ["b"]}


def test_a_test_part_whose_metadata_have_no_labels(tmp_path: Path) -> None:
    labelled(tmp_path / "train", ["cat", "dog"])
    labelled(tmp_path / "test", ["7", "8"], header="file_name,width")
    with pytest.raises(UserError, match=r"the test part has no labels .*data\.test=none"):
        read(tmp_path)
    assert read(tmp_path, test="none")[0] == {"train": ["cat", "dog"]}


def test_only_a_test_part_has_metadata(tmp_path: Path) -> None:
    labelled(tmp_path / "test", ["cat", "dog"])
    with pytest.raises(UserError, match=r"no train/metadata\.csv, but .*test/metadata\.csv: add it"):
        read(tmp_path)


def test_class_folders_come_before_tables(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        labelled(tmp_path / name, ["x", "y"])
    labelled(tmp_path, ["one", "two"])
    assert read(tmp_path)[0]["train"] == ["cat"] * 2 + ["dog"] * 2


def test_images_in_one_folder_below_are_no_class(tmp_path: Path) -> None:
    labelled(tmp_path / "images", ["cat", "dog"], suffix=".png")
    (tmp_path / "images/metadata.csv").unlink()
    (tmp_path / "metadata.csv").write_text("file_name,label\nimages/0.png,cat\nimages/1.png,dog")
    assert read(tmp_path)[0] == {"train": ["cat", "dog"]}


def test_roboflow(tmp_path: Path) -> None:
    for part, rows in (("train", ["1, 0, 0", "0, 1, 0", "1, 0, 0"]), ("valid", ["0, 1, 0"]), ("test", ["1, 0, 0"])):
        labelled(tmp_path / part, rows, "_classes.csv", "filename, cat, dog, cow")
    (tmp_path / "README.roboflow.txt").write_text("")
    labels, passed, _ = read(tmp_path)
    assert labels == {"train": ["cat", "dog", "cat"], "val": ["dog"], "test": ["cat"]}
    readme = ("files", "no image", 1, ("README.roboflow.txt",))
    assert passed == [readme, ("classes", "no image in _classes.csv", 1, ("cow",))]
    assert find_source(str(tmp_path / "train/_classes.csv"), None).read().classes == ("cat", "dog")


@pytest.mark.parametrize(("row", "message"), [
    ("1, 1", r"_classes\.csv:3: 2 classes \(cat, dog\) for 1\.png, and training takes one an image"),
    ("0, 0", r"_classes\.csv:3: no class for 1\.png"),
    ("0.5, 0", r"_classes\.csv:3: cat='0\.5' is neither 0 nor 1"),
])  # fmt: skip
def test_roboflow_rows_that_are_not_one_class(tmp_path: Path, row: str, message: str) -> None:
    labelled(tmp_path / "train", ["1, 0", row], "_classes.csv", "filename, cat, dog")
    with pytest.raises(UserError, match=message):
        read(tmp_path)
