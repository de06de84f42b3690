import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from seedwise.base.errors import UserError
from seedwise.data.config import DataConfig
from seedwise.data.digits import DigitsSource
from seedwise.data.open import open_data


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEDWISE_CACHE", str(tmp_path / "cache"))


def test_all_digits_are_there_once_with_their_labels() -> None:
    digits = open_data("digits", DataConfig(), short_side=64)
    assert digits.classes == tuple("0123456789") and digits.superclasses is None and digits.path is None
    assert digits.splits == {"train": 1294, "val": 144, "test": 359}
    splits = (digits.train, digits.val, digits.test)
    ids = np.concatenate([split.ids for split in splits])
    assert np.array_equal(np.sort(ids), np.arange(1797))
    truth = load_digits().target
    assert np.array_equal(np.bincount(np.concatenate([split.targets for split in splits])), np.bincount(truth))
    for split in splits:
        assert split.rows_in_part == 1797
        assert np.abs(np.bincount(split.targets) / len(split) - np.bincount(truth) / 1797).max() < 0.01


def test_images_are_the_originals_enlarged() -> None:
    digits = open_data("digits", DataConfig(), short_side=64)
    images, sizes = digits.test.gather(np.arange(len(digits.test)))  # type: ignore[arg-type]
    assert images.shape == (359, 3, 32, 32) and images.dtype == np.uint8 and sizes is None
    assert (images == images[:, :1]).all()
    package = load_digits()
    row_of = {}
    for row, original in enumerate(package.images):
        gray = Image.fromarray(np.rint(original * 255 / 16).astype(np.uint8))
        row_of[gray.resize((32, 32), Image.Resampling.BICUBIC).tobytes()] = row
    rows = [row_of[image[0].tobytes()] for image in images]  # each one is there
    originals = package.images[rows]
    assert np.array_equal(package.target[rows], digits.test.targets)
    # and no pixel has moved: the mean of each 4 x 4 square is close to the 8 x 8 original
    squares = images[:, 0].reshape(359, 8, 4, 8, 4).mean(axis=(2, 4))
    assert np.corrcoef(squares.ravel(), originals.ravel())[0, 1] > 0.98


def test_all_are_scikit_learns_bit_for_bit() -> None:
    package = load_digits()
    contents = DigitsSource().read()
    part = contents.parts["train"]
    assert contents.classes == tuple(map(str, package.target_names)) and np.array_equal(part.labels, package.target)
    for row, (image, original) in enumerate(zip(part.images(), package.images, strict=True)):
        gray = Image.fromarray(np.rint(original * (255 / 16)).astype(np.uint8))
        large = gray.resize((32, 32), Image.Resampling.BICUBIC).convert("RGB")
        assert image.where == f"digits: image {row}" and np.array_equal(image.data, np.asarray(large))


def test_splits_do_not_move_with_limit_and_do_with_their_seed() -> None:
    whole = open_data("digits", DataConfig(), short_side=64)
    limited = open_data("digits", DataConfig(limit=100), short_side=64)
    other = open_data("digits", DataConfig(split_seed=1), short_side=64)
    assert len(limited.train) == 100 and np.isin(limited.train.ids, whole.train.ids).all()
    for split in ("val", "test"):
        assert np.array_equal(getattr(limited, split).ids, getattr(whole, split).ids)
        assert not np.array_equal(getattr(other, split).ids, getattr(whole, split).ids)
    without_val = open_data("digits", DataConfig(val=0), short_side=64)
    assert without_val.val is None and len(without_val.train) == 1438
    assert np.array_equal(without_val.test.ids, whole.test.ids)
    assert open_data("digits", DataConfig(val=0, test=0), short_side=64).splits == {"train": 1797, "val": 0, "test": 0}


def test_a_limit_below_one_image_a_class_is_refused() -> None:
    with pytest.raises(UserError, match=r"data\.limit=9 .* 10 classes"):
        open_data("digits", DataConfig(limit=9), short_side=64)


def test_the_part_and_its_config_never_import_torch() -> None:
    heavy = "('torch', 'pyarrow', 'sklearn')"
    code = f"import sys, seedwise.data.open; sys.exit(any(name in sys.modules for name in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("name", "meant"), [("digit", "digits"), ("cifar-100", "cifar100"), ("CIFAR10", "cifar10")])
def test_unknown_names_get_a_suggestion(name: str, meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"did you mean '{meant}'"):
        open_data(name, DataConfig(), short_side=64)


def test_an_unwritable_cache_is_said_plainly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("SEEDWISE_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="SEEDWISE_CACHE"):
        open_data("digits", DataConfig(), short_side=64)
