import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from seedwise.data import DataConfig, open_data
from seedwise.errors import UserError

NAMES = ["ant", "bee", "cat", "dog"]
COARSE_NAMES = ["insect", "mammal"]


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SEEDWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SEEDWISE_DATA", raising=False)


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def picture(seed, size=(8, 8)):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def write(file, labels, *, seed=0, image="img", label="fine_label", coarse=True, names=NAMES, struct=True, images=None):
    """One Parquet file as the Hugging Face hub has it; returns the pixels it holds."""
    pixels = [picture(seed + row) for row in range(len(labels))]
    data = images or [png(p) for p in pixels]
    columns = {image: [{"bytes": d, "path": f"{i}.png"} for i, d in enumerate(data)] if struct else data, label: labels}
    features = {image: {"_type": "Image"}, label: {"_type": "Value"}}
    if names:
        features[label] = {"names": names, "_type": "ClassLabel"}
    if coarse:
        columns["coarse_label"] = [value // 2 for value in labels]
        features["coarse_label"] = {"names": COARSE_NAMES, "_type": "ClassLabel"}
    table = pa.table(columns)
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file, row_group_size=5)
    return np.stack(pixels)


def labels_of(count):
    return [row % 4 for row in range(count)]


def test_hub_layout_with_all_its_parts(tmp_path):
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
        images, sizes = subset.gather(np.arange(len(subset)))
        assert sizes is None and np.array_equal(images.transpose(0, 2, 3, 1), pixels)
        assert images.transpose(0, 2, 3, 1).flags.c_contiguous and images.flags.writeable
    assert zoo.train.targets.tolist() == labels_of(40) + labels_of(7) and zoo.val.targets.tolist() == [3, 0]
    assert open_data(str(folder), DataConfig(val=0), short_side=64).val is None


def test_other_column_names_plain_bytes_and_no_metadata(tmp_path):
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
    assert data.train.targets.tolist() == [2, 0, 1] * 4
    assert np.array_equal(data.train.gather(np.array([5, 2]))[0].transpose(0, 2, 3, 1), pixels[[5, 2]])


def test_integer_labels_without_names_are_named_after_themselves(tmp_path):
    write(tmp_path / "train-0-of-1.parquet", [30, 7, 30, 7], label="target", coarse=False, names=None)
    data = open_data(str(tmp_path), DataConfig(val=0, test=0), short_side=64)
    assert data.classes == ("7", "30") and data.train.targets.tolist() == [1, 0, 1, 0]


def test_superclasses_that_are_no_hierarchy_are_left_out(tmp_path):
    table = {"img": [{"bytes": png(picture(i)), "path": ""} for i in range(4)], "label": [0, 0, 1, 1]}
    pq.write_table(pa.table(table | {"coarse_label": [0, 1, 0, 1]}), tmp_path / "train-0-of-1.parquet")
    assert open_data(str(tmp_path), DataConfig(val=0, test=0), short_side=64).superclasses is None


@pytest.mark.parametrize("place", ["cifar10", ""], ids=["parent", "itself"])
@pytest.mark.parametrize("through", ["data_dir", "variable"])
def test_known_names_are_found_in_the_folder_or_its_parent(tmp_path, monkeypatch, place, through):
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


def test_a_folder_name_is_looked_up_in_the_data_folder_first(tmp_path, monkeypatch):
    write(tmp_path / "here/zoo/train-0-of-1.parquet", labels_of(8))
    write(tmp_path / "there/zoo/train-0-of-1.parquet", labels_of(12))
    monkeypatch.chdir(tmp_path / "here")
    none_held = DataConfig(val=0, test=0)
    assert len(open_data("zoo", none_held, data_dir=tmp_path / "there", short_side=64).train) == 12
    assert len(open_data("zoo", none_held, data_dir=tmp_path, short_side=64).train) == 8


def test_missing_local_copies_say_what_to_do(tmp_path):
    with pytest.raises(UserError, match="--data-dir DIR or SEEDWISE_DATA=DIR"):
        open_data("cifar100", DataConfig(), short_side=64)
    with pytest.raises(UserError, match="no Parquet files"):
        open_data("cifar100", DataConfig(), data_dir=tmp_path, short_side=64)
    write(tmp_path / "train-00000-of-00001.parquet", labels_of(8))
    with pytest.raises(UserError, match="4 classes, but cifar100 has 100"):
        open_data("cifar100", DataConfig(), data_dir=tmp_path, short_side=64)


CASES = {
    "shard missing": (lambda d: write(d / "train-00001-of-00002.parquet", [0, 1]), "1 of 2 files"),
    "two sets": (
        lambda d: [write(d / f"train-00000-of-0000{n}.parquet", [0, 1]) for n in (1, 2)],
        "keep one of the two",
    ),
    "no train": (lambda d: write(d / "test-00000-of-00001.parquet", [0, 1]), "no train-"),
    "no label column": (
        lambda d: write(d / "train-0-of-1.parquet", [0, 1], label="caption", names=None, coarse=False),
        "no a label column",
    ),
    "one class": (lambda d: write(d / "train-0-of-1.parquet", [0, 0], names=["only"]), "only the class 'only'"),
    "label out of range": (lambda d: write(d / "train-0-of-1.parquet", [0, 4]), "fine_label=4, none of 4 classes"),
    "unlabelled row": (
        lambda d: write(d / "train-0-of-1.parquet", [0, None, 1], coarse=False),
        "1 rows without a label",
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
        lambda d: write(d / "train-0-of-1.parquet", [0.0, 1.0], coarse=False, names=None),
        "holds double",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_bad_files_are_one_line(tmp_path, case):
    folder = tmp_path / "bad"
    folder.mkdir()
    make, message = CASES[case]
    make(folder)
    with pytest.raises(UserError, match=message) as caught:
        open_data(str(folder), DataConfig(val=0, test=0), short_side=64)
    assert "\n" not in str(caught.value)


def test_a_file_cut_short_is_one_line(tmp_path):
    file = tmp_path / "train-0-of-1.parquet"
    write(file, labels_of(40))
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(UserError, match="not a readable Parquet file"):
        open_data(str(tmp_path), DataConfig(), short_side=64)
