"""The first lines of a run, as they are promised: counts, classes, parts, what was passed over, doubts."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seedwise.base.errors import UserError
from seedwise.data.config import DataConfig
from seedwise.data.describe import data_lines, passed_over_lines
from seedwise.data.open import open_data
from seedwise.data.source import PassedOver, Survey

NAMES = ["aloe", *(f"plant {number}" for number in range(35)), "zinnia"]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEDWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SEEDWISE_DATA", raising=False)


def photos(root: Path, counts: dict[str, int]) -> str:
    rng = np.random.default_rng(0)
    for name, count in counts.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(root / name / f"{number}.png")
    return str(root)


def test_the_example_of_the_documentation() -> None:
    survey = Survey(
        (
            PassedOver("files", ".heic", 9, ("a.heic",)),
            PassedOver("files", "no image", 5, ("x.txt",)),
            PassedOver("folders", "@eaDir", 1, ("@eaDir",)),
        ),
        ("classes 'Rose' and 'rose' differ only by case",),
    )
    splits = {"train": 9984, "val": 1248, "test": 1248}
    assert data_lines(NAMES, splits, ("train", "test"), survey) == [
        "12,480 images in 37 classes (aloe … zinnia), parts train 9,984 / val 1,248 / test 1,248 (given:",
        "  train, test; val drawn from train)",
        "passed over: 14 files (.heic 9, no image 5), 1 folder (@eaDir)",
        "doubt: classes 'Rose' and 'rose' differ only by case",
    ]


@pytest.mark.parametrize(
    ("splits", "given", "said"),
    [
        ({"train": 5, "val": 1, "test": 0}, ("train",), "parts train 5 / val 1 (val drawn from train)"),
        ({"train": 5, "val": 0, "test": 0}, ("train",), "all in train 5"),
        ({"train": 5, "val": 1, "test": 2}, ("train",), "train 5 / val 1 / test 2 (val and test drawn from train)"),
        (
            {"train": 5, "val": 1, "test": 2},
            ("train", "val", "test"),
            "test 2 (given: train, val, test)",
        ),
        ({"train": 5, "val": 1, "test": 2}, ("train", "val"), "(given: train, val; test drawn from train)"),
    ],
)
def test_parts(splits: dict[str, int], given: tuple[str, ...], said: str) -> None:
    line = " ".join(text.strip() for text in data_lines(["a", "b"], splits, given, Survey()))
    assert line.startswith(f"{sum(splits.values())} images in 2 classes (a, b), ") and said in line


def test_lines_stay_narrow_whatever_the_names() -> None:
    long = ["x" * 300, "한글 " * 50, "line\nbreak", "y z " * 60, "a", "b"]
    survey = Survey(
        tuple(PassedOver("files", f".suffix{number}" * 4, number + 1, ()) for number in range(30)),
        tuple(f"doubt number {number} " * 9 for number in range(30)),
    )
    lines = data_lines(long, {"train": 10**9, "val": 10**8, "test": 10**7}, ("train",), survey)
    assert max(map(len, lines)) <= 98 and all(line.isprintable() for line in lines)
    assert lines[-1] == "doubt: 22 more, which stand in record.json and in the report"
    assert passed_over_lines(()) == []


def test_a_class_with_one_image_is_trained_on_and_said(tmp_path: Path) -> None:
    data = open_data(photos(tmp_path / "d", {"cat": 20, "dog": 20, "eel": 1}), DataConfig(), short_side=8)
    eel = data.classes.index("eel")
    assert (data.train.targets == eel).sum() == 1 and data.splits == {"train": 30, "val": 3, "test": 8}
    assert eel not in data.test.targets and eel not in data.val.targets
    (doubt,) = data.survey.doubts
    assert doubt.startswith("no test image of 1 class (eel)") and "trained on, not scored" in doubt


def test_two_images_a_class_are_enough(tmp_path: Path) -> None:
    data = open_data(photos(tmp_path / "d", dict.fromkeys("abcde", 2)), DataConfig(), short_side=8)
    assert data.splits == {"train": 7, "val": 1, "test": 2}
    assert np.bincount(data.train.targets).min() == 1
    (doubt,) = data.survey.doubts
    assert doubt.startswith("no test image of 3 classes (")


def test_classes_with_one_image_each_are_trained_on_unscored(tmp_path: Path) -> None:
    data = open_data(photos(tmp_path / "d", dict.fromkeys("abc", 1)), DataConfig(), short_side=8)
    assert data.splits == {"train": 3, "val": 0, "test": 0}
    assert data.survey.doubts[0].startswith("no image is held out")


def test_small_classes_can_be_left_out_by_name(tmp_path: Path) -> None:
    root = photos(tmp_path / "d", {"cat": 5, "dog": 5, "eel": 1, "fox": 2})
    data = open_data(root, DataConfig(min_per_class=3), short_side=8)
    assert data.classes == ("cat", "dog") and sum(data.splits.values()) == 10
    (left,) = data.survey.passed_over
    assert (left.kind, left.count, left.examples) == ("classes", 2, ("eel", "fox"))
    for part in (data.train, data.test):  # the images that are left carry their own labels
        assert part.targets.max() <= 1
    whole = open_data(root, DataConfig(), short_side=8)
    assert whole.classes == ("cat", "dog", "eel", "fox")  # another option, another store
    with pytest.raises(UserError, match=r"data\.min_per_class=6: 0 of 4 classes have so many images"):
        open_data(root, DataConfig(min_per_class=6), short_side=8)


def test_images_that_are_classes_of_their_own_are_no_classes(tmp_path: Path) -> None:
    root = photos(tmp_path / "d", {f"img{number:03}": 1 for number in range(25)})
    with pytest.raises(UserError, match="each of 25 images is a class of its own"):
        open_data(root, DataConfig(), short_side=8)


def test_what_the_options_leave_out_is_said(tmp_path: Path) -> None:
    root = photos(tmp_path / "d", {"train/a": 9, "train/b": 9, "val/a": 3, "test/a": 2})
    data = open_data(root, DataConfig(val=0, limit=4, test="none"), short_side=8)
    assert data.splits == {"train": 4, "val": 0, "test": 0}
    found = {(each.kind, each.reason, each.count) for each in data.survey.passed_over}
    assert found == {
        ("images", "the val part, by data.val=0", 3),
        ("images", "the test part, by data.test=none", 2),
        ("images", "by data.limit", 14),
    }


def test_what_is_not_to_be_seen_is_written_out() -> None:
    hidden = "a\u202etac\u200b"
    lines = data_lines(
        (hidden, "강아지 é"), {"train": 4}, ("train",), Survey(doubts=(f"no test image of 1 class ({hidden})",))
    )
    assert lines == [
        r"4 images in 2 classes (a\u202etac\u200b, 강아지 é), all in train 4",
        r"doubt: no test image of 1 class (a\u202etac\u200b)",
    ]
