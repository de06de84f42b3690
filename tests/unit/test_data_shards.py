"""Folders of Parquet files: which are read as which part, what is passed over, and what is refused."""

import io
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from seedwise.base.errors import UserError
from seedwise.data.config import DataConfig
from seedwise.data.dataset import Dataset
from seedwise.data.find import find_source
from seedwise.data.open import open_data


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEDWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SEEDWISE_DATA", raising=False)


def png(red: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (red, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def folder(root: Path, names: list[str]) -> Path:
    """Parquet files of four images each."""
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        rows = {"image": [png(40 * (number % 6) + row) for row in range(4)], "label": ["a", "b"] * 2}
        pq.write_table(pa.table(rows), root / name)
    return root


def read(path: Path) -> tuple[Any, ...]:
    contents = find_source(str(path), None, DataConfig()).read()
    passed = {(it.kind, it.reason): it.count for it in contents.survey.passed_over}
    return {part: len(content.labels) // 4 for part, content in contents.parts.items()}, passed, contents.survey.doubts


TRAIN = [f"train-0000{n}-of-00002.parquet" for n in range(2)]


@pytest.mark.parametrize(("names", "parts", "passed"), [
    ([*TRAIN, "dev-0-of-1.parquet", "eval-0-of-1.parquet"], {"train": 2, "val": 1, "test": 1}, {}),
    ([*TRAIN, "train_extra-0-of-2.parquet", "train_extra-1-of-2.parquet"], {"train": 2},
     {("files", "split train_extra"): 2}),
    ([*TRAIN, "train-extra-0-of-9.parquet", "unsupervised-0-of-1.parquet"], {"train": 2},
     {("files", "split train-extra"): 1, ("files", "split unsupervised"): 1}),
    (["train-0-of-2-0a1b2c3d4e5f6789.parquet", "train-1-of-2-ffffffffffffffff.parquet"], {"train": 2}, {}),
    (["TRAIN-0-of-1.parquet", "Test-0-of-1.PARQUET"], {"train": 1, "test": 1}, {}),
    (["cifar10-train-0-of-1.parquet", "cifar10-test-0-of-1.parquet"], {"train": 1, "test": 1}, {}),
    (["my.zoo.train-0-of-1.parquet"], {"train": 1}, {}),
    (["images-0-of-2.parquet", "images-1-of-2.parquet"], {"train": 2}, {}),
    (["train-1-of-2.parquet", "train-2-of-2.parquet"], {"train": 2}, {}),  # counted from 1
    (["train_0_of_2.parquet", "train_1_of_2.parquet", "test_0_of_1.parquet"], {"train": 2, "test": 1}, {}),
    (["0-of-2.parquet", "1-of-2.parquet"], {"train": 2}, {}),
    (["train/0_of_2.parquet", "train/1_of_2.parquet", "test/0_of_1.parquet"], {"train": 2, "test": 1}, {}),
    (["train-part0-of-2.parquet", "train-part1-of-2.parquet"], {"train": 2}, {}),
    (["part-00000-0af3.snappy.parquet", "part-00001-0af3.snappy.parquet"], {"train": 2}, {}),
    (["train_1.parquet", "train_2.parquet", "test_1.parquet"], {"train": 2, "test": 1}, {}),
    ([*TRAIN, "val.parquet", "notes.parquet"], {"train": 2, "val": 1}, {("files", "not named like the shards"): 1}),
    (["train/a-0-of-2.parquet", "train/a-1-of-2.parquet", "dev/a-0-of-1.parquet"], {"train": 2, "val": 1}, {}),
    (["train/0.parquet", "test/0.parquet", "train_extra/0.parquet"], {"train": 1, "test": 1},
     {("files", "in train_extra/"): 1}),
    (["train/0.parquet", "test/0.parquet", "notes.parquet"], {"train": 1, "test": 1},
     {("files", "beside test/, train/"): 1}),
])  # fmt: skip
def test_what_is_read_and_what_is_passed_over(
    tmp_path: Path, names: list[str], parts: dict[str, int], passed: dict[str, Any]
) -> None:
    assert read(folder(tmp_path, names))[:2] == (parts, passed)


@pytest.mark.parametrize(("names", "message"), [
    (TRAIN[:1], r"train-\*-of-00002\.parquet: 1 of 2 files are there: copy all of them"),
    (["train-0-of-2-0a1b.parquet"], "1 of 2 files are there"),
    (["images-0-of-2.parquet"], "1 of 2 files are there"),
    ([*TRAIN, "test-0-of-3.parquet"], r"test-\*-of-3\.parquet: 1 of 3 files are there"),
    (["train/a-0-of-2.parquet", "test/a-0-of-1.parquet"], "1 of 2 files are there"),
    (["train-0-of-2-aaaa.parquet", "train-0-of-2-bbbb.parquet"],
     "train-0-of-2-aaaa.parquet, train-0-of-2-bbbb.parquet are the same shard of a set: keep one"),
    (["train-0-of-2.parquet", "train-5-of-2.parquet"], "their numbers are not 0 to 1"),
    (["train-0-of-1.parquet", *TRAIN], "keep one of the two sets"),
    (["val-0-of-1.parquet", "dev-0-of-1.parquet", *TRAIN], "keep one of the two sets"),
    ([*TRAIN, "train.parquet"], r"both train-\*-of-00002.parquet and train.parquet are there: keep one"),
    (["train_extra-0-of-1.parquet", "test-0-of-1.parquet"],
     r"no train-\*-of-\*\.parquet among the Parquet files \(test-\*-of-1\.parquet, train_extra-\*-of-1"),
    (["english-0-of-1.parquet", "german-0-of-1.parquet"], r"no train-\*-of-\*\.parquet"),
    (["train/0.parquet", "test/0.parquet", "train.parquet"], r"both train\.parquet and test/ are there: keep one"),
    (["train/test-0-of-1.parquet"], "its name says both train and test"),
    (["train/0000.parquet", "train/0002.parquet"], r"train/\*\.parquet: numbered 0 to 2, but 1 is not there: copy all"),
    (["0000.parquet", "0001.parquet", "0003.parquet"], r"/\*\.parquet: numbered 0 to 3, but 2 is not there"),
    (["part-00000.parquet", "part-00002.parquet"], "numbered 0 to 2, but 1 is not there"),
    (["part-00000-abc.snappy.parquet", "part-00002-abc.snappy.parquet"], "numbered 0 to 2, but 1 is not there"),
    ([f"part-0000{n}-{n}b2c3d4e-aaaa-4bbb-8ccc-0123456789ab-c000.snappy.parquet" for n in (0, 2)],
     r"part-\*\*\.parquet: numbered 0 to 2, but 1 is not there"),
    (["train_1.parquet", "train_3.parquet"], "numbered 1 to 3, but 2 is not there"),
    (["train_1.parquet", "train_8.parquet"], r"numbered 1 to 8, but 2, 3, 4 and 3 more are not there"),
    (["train-part0.parquet", "train-part2.parquet", "test.parquet"], "numbered 0 to 2, but 1 is not there"),
    (["cifar_train_00.parquet", "cifar_train_02.parquet"], "numbered 0 to 2, but 1 is not there"),
    (["train_0_of_3.parquet", "train_1_of_3.parquet"], r"train-\*-of-3\.parquet: 2 of 3 files are there"),
    (["train.0.of.3.parquet", "train.1.of.3.parquet"], "2 of 3 files are there"),
    (["0of3.parquet", "1of3.parquet"], "2 of 3 files are there"),
    (["train.parquet", "train (1).parquet"], r"train \(1\)\.parquet: looks like a copy of train\.parquet beside it"),
    (["train.parquet", "train - Copy.parquet"], "looks like a copy of train"),
])  # fmt: skip
def test_what_is_refused(tmp_path: Path, names: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read(folder(tmp_path, names))
    assert "\n" not in str(caught.value)


def test_files_of_one_part_with_other_names_are_a_doubt(tmp_path: Path) -> None:
    parts, _, doubts = read(folder(tmp_path, ["train.parquet", "train_extra.parquet", "test.parquet"]))
    assert parts == {"train": 2, "test": 1} and doubts == (
        "train is read from train.parquet, train_extra.parquet together",
    )
    (tmp_path / "train_extra.parquet").rename(tmp_path / "more.parquet")
    with pytest.raises(UserError, match="its name says no part, but others there do"):
        read(tmp_path)


@pytest.mark.parametrize(("names", "doubt"), [
    (["train_4.parquet", "train_5.parquet"], "the first number is 4: are earlier files missing?"),
    (["0002.parquet"], "the first number is 2: are earlier files missing?"),
    (["2019.parquet", "2021.parquet"], "numbered 2019 to 2021, without 2020"),
    (["2019.parquet", "2020.parquet"], ""),
    (["20190101.parquet", "20190201.parquet"], ""),
    (["cifar10_train.parquet", "cifar10_test.parquet"], ""),
])  # fmt: skip
def test_numbers_that_may_lack_some_are_a_doubt(tmp_path: Path, names: list[str], doubt: str) -> None:
    doubts = read(folder(tmp_path, names))[2]
    assert len(doubts) == bool(doubt) and doubt in "".join(doubts)


@pytest.mark.parametrize("name", ["train-00000-of-00002.parquet", "train_1_of_2.parquet", "TRAIN-1-of-2-0af3.parquet"])
def test_a_single_shard_of_several_is_refused(tmp_path: Path, name: str) -> None:
    folder(tmp_path, [name])
    with pytest.raises(
        UserError, match=r"is 1 of 2 files of a whole: give the folder .*, or rename the file to use it"
    ):
        read(tmp_path / name)
    (tmp_path / name).rename(tmp_path / "some.parquet")
    assert read(tmp_path / "some.parquet")[0] == {"train": 1}


def test_what_lies_beside_a_single_file_is_said(tmp_path: Path) -> None:
    folder(tmp_path, ["train-0-of-1.parquet", "test-0-of-1.parquet"])
    assert read(tmp_path / "train-0-of-1.parquet")[2] == (
        "only train-0-of-1.parquet is read, and not test-0-of-1.parquet beside it",
    )
    assert read(tmp_path / "test-0-of-1.parquet")[2][0] == "test-0-of-1.parquet is called test and is trained on"


def test_numbered_files_beside_a_single_one_are_said(tmp_path: Path) -> None:
    folder(tmp_path, ["part-00000.parquet", "part-00001.parquet", "more.parquet"])
    assert read(tmp_path / "part-00000.parquet")[2] == (
        "only part-00000.parquet is read, and not part-00001.parquet beside it",
    )
    assert read(tmp_path / "more.parquet")[2] == ()


def test_what_lies_beside_shards_is_counted_and_in_the_stamp(tmp_path: Path) -> None:
    folder(tmp_path, TRAIN)
    before = find_source(str(tmp_path), None, DataConfig()).stamp()
    (tmp_path / "README.md").write_text("")
    assert find_source(str(tmp_path), None, DataConfig()).stamp() == before  # no data, so no new start
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats/1.png").write_bytes(png(0))
    assert read(tmp_path)[1] == {("files", ".md"): 1, ("folders", "beside Parquet files"): 1}
    assert find_source(str(tmp_path), None, DataConfig()).stamp() != before


@pytest.mark.parametrize("names", [
    ["plain_text/train-0-of-1.parquet", "plain_text/test-0-of-1.parquet"],
    ["default/train/0000.parquet", "default/test/0000.parquet"],
    ["data/train-0-of-1.parquet", "data/test-0-of-1.parquet"],
    ["data/zoo/train-0-of-1.parquet", "data/zoo/test-0-of-1.parquet"],
    ["zoo/train.parquet", "zoo/test.parquet"],
])  # fmt: skip
def test_a_clone_of_a_hub_repository(tmp_path: Path, names: list[str]) -> None:
    folder(tmp_path / "zoo-clone", names)
    (tmp_path / "zoo-clone/README.md").write_text("")
    (tmp_path / "zoo-clone/.git").mkdir()
    (tmp_path / "zoo-clone/scripts").mkdir()
    assert read(tmp_path / "zoo-clone")[0] == {"train": 1, "test": 1}
    assert find_source(str(tmp_path / "zoo-clone"), None).name == "zoo-clone"


@pytest.mark.parametrize(("names", "passed"), [
    (["en/train-0-of-1.parquet", "en/test-0-of-1.parquet", "other.parquet"], {("files", "beside en/"): 1}),
    (["data/train-0-of-1.parquet", "data/test.parquet", "extra.parquet", "more/1.parquet"],
     {("files", "beside data/"): 1, ("files", "in more/"): 1}),
    (["data/zoo/train.parquet", "data/zoo/test.parquet", "data/extra.parquet", "extra.parquet"],
     {("files", "beside zoo/"): 1, ("files", "beside data/"): 1}),
])  # fmt: skip
def test_what_lies_beside_the_folder_of_shards_is_counted_and_in_the_stamp(
    tmp_path: Path, names: list[str], passed: dict[tuple[str, str], int]
) -> None:
    folder(tmp_path, names)
    assert read(tmp_path)[:2] == ({"train": 1, "test": 1}, passed)
    before = find_source(str(tmp_path), None, DataConfig()).stamp()
    folder(tmp_path, ["extra2.parquet"])
    assert find_source(str(tmp_path), None, DataConfig()).stamp() != before


def test_several_configurations_are_refused(tmp_path: Path) -> None:
    folder(tmp_path, ["a_b/train-0-of-1.parquet", "plain_text/train-0-of-1.parquet", "data/train-0-of-1.parquet"])
    with pytest.raises(UserError, match=rf"holds 3 data sets, a_b/, data/, plain_text/: give {tmp_path}/a_b"):
        read(tmp_path)
    assert read(tmp_path / "a_b")[0] == {"train": 1}


def test_a_local_copy_of_a_known_name_may_be_a_clone(tmp_path: Path) -> None:
    for name, classes in (("cifar10", 10), ("cifar100", 100)):
        (tmp_path / name / "plain_text").mkdir(parents=True)
        rows = {"img": [png(row) for row in range(classes)] * 2, "label": [*range(classes)] * 2}
        pq.write_table(pa.table(rows), tmp_path / name / "plain_text/train-0-of-1.parquet")
    for name, classes in (("cifar10", 10), ("cifar100", 100)):
        assert len(find_source(name, tmp_path).read().classes) == classes
    with pytest.raises(UserError, match="no Parquet files and no archive"):
        find_source("cifar10", tmp_path / "cifar100")


def test_shards_in_one_folder_of_class_folders_are_not_all(tmp_path: Path) -> None:
    folder(tmp_path, ["c/train-0-of-1.parquet"])
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(png(0))
    with pytest.raises(UserError, match="c: this class has no images"):
        read(tmp_path)


@pytest.mark.parametrize("kind", ["paths", "all null", "some null", "no statistics"])
def test_images_outside_of_the_file_are_in_the_stamp(tmp_path: Path, kind: str) -> None:
    for row in range(12):
        (tmp_path / f"{row}.png").write_bytes(png(row))
    names = [f"{row}.png" for row in range(12)]
    inside = (lambda row: row not in (3, 7)) if kind == "some null" else lambda _row: False
    images = [{"bytes": png(100 + row) if inside(row) else None, "path": name} for row, name in enumerate(names)]
    rows = {"image": names if kind == "paths" else images, "label": ["a", "b"] * 6}
    pq.write_table(pa.table(rows), tmp_path / "d.parquet", row_group_size=3, write_statistics=kind != "no statistics")
    config = DataConfig(val=0, test=0)

    def stored() -> Dataset:
        return open_data(str(tmp_path / "d.parquet"), config, short_side=8)

    before = stored()
    assert stored().fingerprint == before.fingerprint
    status = (tmp_path / "7.png").stat()
    (tmp_path / "7.png").write_bytes(png(200))
    os.utime(tmp_path / "7.png", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    after = stored()
    assert after.fingerprint != before.fingerprint and 200 in after.train.gather(range(12))[0][:, 0]


def test_bytes_need_no_look_at_other_files(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(png(0))
    rows = {"image": [{"bytes": png(row), "path": f"{row}.png"} for row in range(4)], "label": ["a", "b"] * 2}
    pq.write_table(pa.table(rows), tmp_path / "d.parquet", row_group_size=2)
    stamp = find_source(str(tmp_path / "d.parquet"), None, DataConfig()).stamp()
    assert [line.split("\0")[0] for line in stamp if "\0" in line] == [str(tmp_path / "d.parquet")]


def test_a_missing_image_is_named_with_its_row(tmp_path: Path) -> None:
    rows = {"image": [{"bytes": None, "path": name} for name in ("0", "1")], "label": ["a", "b"]}
    (tmp_path / "pics").mkdir()
    for row in range(2):
        (tmp_path / f"pics/{row}.png").write_bytes(png(row))
    pq.write_table(pa.table(rows), tmp_path / "d.parquet")
    with pytest.raises(
        UserError, match=r"d\.parquet: row 0: .*/0: cannot be read .*image_folder=pics -s data\.image_suf"
    ):
        find_source(str(tmp_path / "d.parquet"), None, DataConfig()).stamp()
    config = DataConfig(val=0, test=0, image_folder="pics", image_suffix=".png")
    assert len(open_data(str(tmp_path / "d.parquet"), config, short_side=8).train) == 2
