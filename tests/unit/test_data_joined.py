"""data.join_spellings: classes whose names are spellings of one are one class, whatever holds them."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seedwise.base.errors import UserError
from seedwise.data.config import DataConfig
from seedwise.data.dataset import Dataset
from seedwise.data.open import open_data

IMAGES = {"train": {"Cat": 3, "cat": 5, "red fox": 4, "Red_Fox": 4}, "test": {"CAT": 2, "cat": 1, "red-fox": 2}}
"""By part, how many of each folder."""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for part, of_class in IMAGES.items():
        for name, count in of_class.items():
            folder = tmp_path / "photos" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(folder / f"{number}.png")
    return tmp_path / "photos"


def opened(data: Path, **options: object) -> Dataset:
    return open_data(str(data), DataConfig.model_validate({"val": 0, **options}), short_side=8)


def held(photos: Path, tmp_path: Path) -> list[Path]:
    """The same images in a folder, an archive and a table."""
    files = sorted(photos.glob("*/*/*.png"))
    rows = [f"photos/{it.relative_to(photos)},{it.parent.name},{it.parent.parent.name}" for it in reversed(files)]
    (tmp_path / "d.csv").write_text("\n".join(["image,label,split", *rows]))
    return [photos, Path(shutil.make_archive(str(tmp_path / "d"), "zip", photos)), tmp_path / "d.csv"]


def test_spellings_of_a_class_are_joined_whatever_holds_them(photos: Path, tmp_path: Path) -> None:
    prints = set()
    for data in held(photos, tmp_path):
        found = opened(data, join_spellings=True)
        assert found.classes == ("Red_Fox", "cat")  # of as many images the first in order
        assert found.test is not None
        counts = [np.bincount(part.targets).tolist() for part in (found.train, found.test)]
        assert counts == [[8, 8], [2, 3]]
        doubts = [doubt for doubt in found.survey.doubts if "spellings" in doubt or "differ only" in doubt]
        assert doubts == ["classes joined by data.join_spellings: 'Cat' + 'cat', 'Red_Fox' + 'red fox'"]
        prints.add(found.fingerprint)
    assert len(prints) == 1


def test_without_it_they_are_doubted_and_the_doubt_names_it(photos: Path) -> None:
    with pytest.raises(UserError, match=r"'CAT' is not in train/: take it for 'Cat' with -s data.join_sp"):
        opened(photos)
    shutil.rmtree(photos / "test")
    found = opened(photos, test=0)
    assert found.classes == ("Cat", "Red_Fox", "cat", "red fox")
    (doubt,) = [doubt for doubt in found.survey.doubts if "differ only" in doubt]
    assert doubt.endswith("; -s data.join_spellings=true joins them")
    assert len(opened(photos, test=0, join_spellings=True).classes) == 2


def test_numbers_are_joined_too_and_what_joins_nothing_says_so(tmp_path: Path) -> None:
    for name in ("1", "01", "2"):
        (tmp_path / "d" / name).mkdir(parents=True)
        for number in range(3 if name == "01" else 2):
            Image.new("RGB", (8, 8), (number, int(name), len(name))).save(tmp_path / "d" / name / f"{number}.png")
    assert any("same number" in it and it.endswith("joins them") for it in opened(tmp_path / "d", test=0).survey.doubts)
    assert opened(tmp_path / "d", test=0, join_spellings=True).classes == ("01", "2")
    shutil.rmtree(tmp_path / "d" / "01")
    said = opened(tmp_path / "d", test=0, join_spellings=True).survey.doubts
    assert "data.join_spellings joins nothing: no two classes are spellings of one" in said
