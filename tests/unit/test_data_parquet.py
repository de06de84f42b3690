import io
import json
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

NAMES = ["ant", "bee", "cat", "dog"]
COARSE_NAMES = ["insect", "mammal"]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEDWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SEEDWISE_DATA", raising=False)


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def picture(seed: int, size: tuple[int, int] = (8, 8)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def write(
    file: Path,
    labels: list[Any],
    *,
    seed: int = 0,
    image: str = "img",
    label: str = "fine_label",
    coarse: bool = True,
    names: list[str] | None = NAMES,
    struct: bool = True,
    images: list[Any] | None = None,
) -> np.ndarray:
    """One Parquet file as the Hugging Face hub has it; returns the pixels it holds."""
    pixels = [picture(seed + row) for row in range(len(labels))]
    data = images or [png(p) for p in pixels]
    columns = {image: [{"bytes": d, "path": f"{i}.png"} for i, d in enumerate(data)] if struct else data, label: labels}
    features = {image: {"_type": "Image"}, label: {"_type": "Value"}}
    if names:
        features[label] = {"names": names, "_type": "ClassLabel"}  # type: ignore[dict-item]
    if coarse:
        columns["coarse_label"] = [value // 2 for value in labels]
        features["coarse_label"] = {"names": COARSE_NAMES, "_type": "ClassLabel"}  # type: ignore[dict-item]
    table = pa.table(columns)
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file, row_group_size=5)
    return np.stack(pixels)


def as_set(images: list[np.ndarray] | np.ndarray) -> list[bytes]:
    return sorted(image.tobytes() for image in images)


def labels_of(count: int) -> list[int]:
    return [row % 4 for row in range(count)]


def test_hub_layout_with_all_its_parts(tmp_path: Path) -> None:
    folder = tmp_path / "zoo"
    first = write(folder / "train-00000-of-00002.parquet", labels_of(40), seed=0)
    second = write(folder / "train-00001-of-00002.parquet", labels_of(7), seed=100)
    held = write(folder / "validation-00000-of-00001.parquet", [3, 0], seed=200)
    test = write(folder / "test-00000-of-00001.parquet", [1, 1, 2], seed=300)
    zoo = open_data(str(folder), DataConfig(), short_side=64)
    assert zoo.name == "zoo" and zoo.classes == tuple(NAMES)
    assert zoo.superclasses == tuple(COARSE_NAMES) and zoo.superclass_of.tolist() == [0, 0, 1, 1]
    assert zoo.summary() == {
        "name": "zoo",
        "path": str(folder),
        "fingerprint": zoo.fingerprint,
        "splits": {"train": 47, "val": 2, "test": 3},
        "classes": 4,
        "superclasses": 2,
        "image_size": [8, 8],
    }
    assert json.loads(json.dumps(zoo.summary())) == zoo.summary()
    for subset, pixels in ((zoo.train, np.concatenate([first, second])), (zoo.val, held), (zoo.test, test)):
        images, sizes = subset.gather(np.arange(len(subset)))  # type: ignore[arg-type]
        assert sizes is None and as_set(images.transpose(0, 2, 3, 1)) == as_set(pixels)
        assert images.transpose(0, 2, 3, 1).flags.c_contiguous and images.flags.writeable
    for image, target in zip(zoo.train.gather(np.arange(47))[0], zoo.train.targets, strict=True):
        row = next(i for i, p in enumerate([*first, *second]) if np.array_equal(p, image.transpose(1, 2, 0)))
        assert target == (labels_of(40) + labels_of(7))[row]
    assert zoo.val.targets.tolist() == [0, 3]
    assert open_data(str(folder), DataConfig(val=0), short_side=64).val is None


def test_other_column_names_plain_bytes_and_no_metadata(tmp_path: Path) -> None:
    labels = ["x", "a", "m"] * 4
    pixels = write(
        tmp_path / "d/data/train-00000-of-00001.parquet",
        labels,
        image="picture",
        label="label",
        coarse=False,
        names=None,
        struct=False,
    )
    data = open_data(str(tmp_path / "d"), DataConfig(val=0, test=0), short_side=64)
    assert data.classes == ("a", "m", "x") and data.superclasses is None
    assert data.train.targets.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert as_set(data.train.gather(np.arange(4, 8))[0].transpose(0, 2, 3, 1)) == as_set(pixels[2::3])


def test_integer_labels_without_names_are_named_after_themselves(tmp_path: Path) -> None:
    write(tmp_path / "train-0-of-1.parquet", [30, 7, 30, 7], label="target", coarse=False, names=None)
    data = open_data(str(tmp_path), DataConfig(val=0, test=0), short_side=64)
    assert data.classes == ("7", "30") and data.train.targets.tolist() == [0, 0, 1, 1]


def test_superclasses_that_are_no_hierarchy_are_left_out(tmp_path: Path) -> None:
    table = {"img": [{"bytes": png(picture(i)), "path": ""} for i in range(4)], "label": [0, 0, 1, 1]}
    pq.write_table(pa.table(table | {"coarse_label": [0, 1, 0, 1]}), tmp_path / "train-0-of-1.parquet")
    assert open_data(str(tmp_path), DataConfig(val=0, test=0), short_side=64).superclasses is None


@pytest.mark.parametrize("place", ["cifar10", ""], ids=["parent", "itself"])
@pytest.mark.parametrize("through", ["data_dir", "variable"])
def test_known_names_are_found_in_the_folder_or_its_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, through: str
) -> None:
    write(
        tmp_path / "local" / place / "train-00000-of-00001.parquet",
        [*range(10)] * 2,
        names=[*"abcdefghij"],
        coarse=False,
    )
    if through == "variable":
        monkeypatch.setenv("SEEDWISE_DATA", str(tmp_path / "local"))
    data_dir = tmp_path / "local" if through == "data_dir" else None
    data = open_data("cifar10", DataConfig(val=0, test=0), data_dir=data_dir, short_side=64)
    assert data.name == "cifar10" and len(data.train) == 20


def test_a_folder_name_is_looked_up_in_the_data_folder_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "here/zoo/train-0-of-1.parquet", labels_of(8))
    write(tmp_path / "there/zoo/train-0-of-1.parquet", labels_of(12))
    monkeypatch.chdir(tmp_path / "here")
    none_held = DataConfig(val=0, test=0)
    assert len(open_data("zoo", none_held, data_dir=tmp_path / "there", short_side=64).train) == 12
    assert len(open_data("zoo", none_held, data_dir=tmp_path, short_side=64).train) == 8


def test_missing_local_copies_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--data-dir DIR or SEEDWISE_DATA=DIR"):
        open_data("cifar100", DataConfig(), short_side=64)
    with pytest.raises(UserError, match=r"no Parquet files and no archive .* -s data.download=true"):
        open_data("cifar100", DataConfig(), data_dir=tmp_path, short_side=64)
    write(tmp_path / "train-00000-of-00001.parquet", labels_of(8))
    with pytest.raises(UserError, match="4 classes, but cifar100 has 100"):
        open_data("cifar100", DataConfig(), data_dir=tmp_path, short_side=64)


PARTS = DataConfig(val=0.5, test=0)


def test_a_single_file_with_a_split_column(tmp_path: Path) -> None:
    names = ["train"] * 6 + ["validation"] * 2 + ["TEST"] * 2
    table = {"image": [png(picture(row)) for row in range(10)], "kind": ["x", "y"] * 5, "split": names}
    pq.write_table(pa.table(table), tmp_path / "zoo.parquet")
    data = open_data(str(tmp_path / "zoo.parquet"), PARTS, short_side=64)
    assert data.name == "zoo" and data.path == tmp_path / "zoo.parquet" and data.classes == ("x", "y")
    assert data.splits == {"train": 6, "val": 2, "test": 2} and data.test.targets.tolist() == [0, 1]
    held = data.test.gather(np.arange(2))[0].transpose(0, 2, 3, 1)
    assert np.array_equal(held, [picture(8), picture(9)])
    pq.write_table(pa.table(table | {"split": ["train", "extra"] * 5}), tmp_path / "zoo.parquet")
    with pytest.raises(UserError, match="split='extra' is none of train, "):
        open_data(str(tmp_path / "zoo.parquet"), PARTS, short_side=64)


@pytest.mark.parametrize("names", [
    ("train.parquet", "test.parquet"), ("cifar_train_0.parquet", "cifar_test_0.parquet"),
    ("train/0000.parquet", "test/0000.parquet"), ("data/train-x.parquet", "data/test-x.parquet"),
])  # fmt: skip
def test_other_file_names(tmp_path: Path, names: tuple[str, str]) -> None:
    for name, count in zip(names, (8, 4), strict=True):
        write(tmp_path / "zoo" / name, labels_of(count), seed=count)
    data = open_data(str(tmp_path / "zoo"), DataConfig(val=0, test=0), short_side=64)
    assert data.splits == {"train": 8, "val": 0, "test": 4} and data.superclasses == tuple(COARSE_NAMES)


def test_notes_beside_folders_of_images_do_not_count(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / "d" / name).mkdir(parents=True)
        (tmp_path / "d" / name / "1.png").write_bytes(png(picture(ord(name))))
    write(tmp_path / "d/notes.parquet", labels_of(8))
    assert open_data(str(tmp_path / "d"), DataConfig(val=0, test=0), short_side=64).classes == ("a", "b")


def test_files_without_a_part_in_their_names_are_all_for_training(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / "zoo" / f"{number:04}.parquet", labels_of(8), seed=10 * number)
    assert len(open_data(str(tmp_path / "zoo"), DataConfig(val=0, test=0), short_side=64).train) == 24
    write(tmp_path / "zoo/test.parquet", labels_of(8), seed=100)
    with pytest.raises(UserError, match=r"0000\.parquet: its name says no part, but others there do"):
        open_data(str(tmp_path / "zoo"), DataConfig(val=0, test=0), short_side=64)


def test_columns_may_be_named(tmp_path: Path) -> None:
    table = {"a": [png(picture(i)) for i in range(8)], "b": [png(picture(9 + i)) for i in range(8)]}
    table |= {"x": [0, 1] * 4, "y": [0, 0, 1, 1] * 2}  # type: ignore[list-item]
    pq.write_table(pa.table(table), tmp_path / "d.parquet")
    config = DataConfig(val=0, test=0, image_column="b", label_column="y")
    data = open_data(str(tmp_path / "d.parquet"), config, short_side=64)
    images = data.train.gather(np.arange(8))[0].transpose(0, 2, 3, 1)
    assert as_set(images) == as_set([picture(9 + i) for i in range(8)])
    other = open_data(str(tmp_path / "d.parquet"), config.model_copy(update={"label_column": "x"}), short_side=64)
    assert other.fingerprint != data.fingerprint
    for options, message in (
        (
            {},
            "an image, and which a label, cannot be told .*: a, b, x, y; name them: -s data.image_column=NAME -s d",
        ),
        (
            {"label_column": "x"},
            "which column holds an image cannot be told from their names: a, b, x, y; name it: -s d",
        ),
        ({"image_column": "a"}, "which column holds a label cannot be told"),
        ({"label_column": "z"}, "data.label_column=z: no such column; there are a, b, x, y"),
        ({"image_column": "a", "label_column": "b"}, "column 'b' holds binary: it must be of integers or strings"),
    ):
        with pytest.raises(UserError, match=message):
            open_data(str(tmp_path / "d.parquet"), DataConfig(**options), short_side=64)  # type: ignore[arg-type]


def test_options_for_paths_do_nothing_for_bytes(tmp_path: Path) -> None:
    write(tmp_path / "d.parquet", labels_of(8), coarse=False)
    config = DataConfig(val=0, test=0, image_folder=".", image_suffix=".png")
    doubts = open_data(str(tmp_path / "d.parquet"), config, short_side=64).survey.doubts
    assert doubts == ("data.image_folder and data.image_suffix do nothing: the images are in the file",)


def test_paths_in_place_of_bytes(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for row in range(4):
        (tmp_path / f"deep/{row}.png").write_bytes(png(picture(row)))
    paths = [f"deep/{row}.png" for row in range(4)]
    none_held = DataConfig(val=0, test=0)
    prints = set()
    for kind in (paths, [{"bytes": None, "path": path} for path in paths]):
        pq.write_table(pa.table({"image": kind, "label": [0, 1, 0, 1]}), tmp_path / "d.parquet")
        prints.add(open_data(str(tmp_path / "d.parquet"), none_held, short_side=64).fingerprint)
    assert len(prints) == 1
    pq.write_table(pa.table({"path": paths, "label": [0, 1, 0, 1]}), tmp_path / "d.parquet")
    (tmp_path / "deep/3.png").unlink()
    with pytest.raises(UserError, match=r"deep/3\.png: cannot be read"):
        open_data(str(tmp_path / "d.parquet"), none_held, short_side=64)


CASES = {
    "shard missing": (lambda d: write(d / "train-00001-of-00002.parquet", [0, 1]), "1 of 2 files"),
    "two sets": (
        lambda d: [write(d / f"train-00000-of-0000{n}.parquet", [0, 1]) for n in (1, 2)],
        "keep one of the two",
    ),
    "no train": (lambda d: write(d / "test-00000-of-00001.parquet", [0, 1]), "no train-"),
    "no label column": (
        lambda d: pq.write_table(
            pa.table({"img": [png(picture(0))], "caption": ["x"], "author": ["y"]}), d / "train-0-of-1.parquet"
        ),
        "a label cannot be told from their names: img, caption, author; name it: -s data.label_column",
    ),
    "one class": (lambda d: write(d / "train-0-of-1.parquet", [0, 0], names=["only"]), "only the class 'only'"),
    "label out of range": (lambda d: write(d / "train-0-of-1.parquet", [0, 4]), "fine_label=4, none of 4 classes"),
    "unlabelled row": (
        lambda d: write(d / "train-0-of-1.parquet", [0, None, 1], coarse=False),
        "1 row without a value",
    ),
    "broken image": (
        lambda d: write(d / "train-0-of-1.parquet", [0, 1], images=[png(picture(0)), b"nothing"]),
        r"train-0-of-1\.parquet: row 1: not a readable image",
    ),
    "no bytes": (
        lambda d: write(d / "train-0-of-1.parquet", [0, 1], images=[png(picture(0)), None]),
        "row 1: no bytes in column 'img'",
    ),
    "not parquet": (lambda d: (d / "train-0-of-1.parquet").write_bytes(b"PAR1 cut"), "not a readable Parquet file"),
    "unknown class in test": (
        lambda d: [write(d / "train-0-of-1.parquet", [0, 1]), write(d / "test-0-of-1.parquet", [0, 2])],
        "class 'cat' is in test but not in train",
    ),
    "float labels": (
        lambda d: write(d / "train-0-of-1.parquet", [0.0, 1.5], coarse=False, names=None),
        r"row 1: column 'fine_label' holds 1\.5: it must be of integers",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_bad_files_are_one_line(tmp_path: Path, case: str) -> None:
    folder = tmp_path / "bad"
    folder.mkdir()
    make, message = CASES[case]
    make(folder)
    with pytest.raises(UserError, match=message) as caught:
        open_data(str(folder), DataConfig(val=0, test=0), short_side=64)
    assert "\n" not in str(caught.value)


def test_a_file_cut_short_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "train-0-of-1.parquet"
    write(file, labels_of(40))
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(UserError, match="not a readable Parquet file"):
        open_data(str(tmp_path), DataConfig(), short_side=64)
