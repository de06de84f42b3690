"""The real CIFAR-100, when it is at hand: what was published about it holds for what we store."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from seedwise.data.config import DataConfig
from seedwise.data.dataset import Dataset
from seedwise.data.open import open_data
from seedwise.data.splits import train_probe

DATA = Path(os.environ.get("SEEDWISE_DATA") or Path(__file__).parents[3] / "shared/data")

pytestmark = [
    pytest.mark.slow,  # 60,000 images are decoded
    pytest.mark.skipif(
        not [*DATA.glob("train-*.parquet"), *DATA.glob("cifar100/train-*.parquet")],
        reason=f"no CIFAR-100 in Parquet in {DATA} (set SEEDWISE_DATA)",
    ),
]


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEEDWISE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def cifar100(_cache: None) -> Dataset:
    return open_data("cifar100", DataConfig(), data_dir=DATA, short_side=64)


def test_published_counts(cifar100: Dataset) -> None:
    assert cifar100.splits == {"train": 45000, "val": 5000, "test": 10000}
    assert np.bincount(cifar100.train.targets).tolist() == [450] * 100
    assert np.bincount(cifar100.val.targets).tolist() == [50] * 100
    assert np.bincount(cifar100.test.targets).tolist() == [100] * 100
    assert cifar100.train.rows_in_part == cifar100.val.rows_in_part == 50000
    assert not np.intersect1d(cifar100.train.ids, cifar100.val.ids).size
    assert np.bincount(train_probe(cifar100.train).targets).tolist() == [50] * 100


def test_published_classes(cifar100: Dataset) -> None:
    assert len(cifar100.classes) == 100 and cifar100.classes == tuple(sorted(cifar100.classes))
    assert len(cifar100.superclasses) == 20  # type: ignore[arg-type]
    assert np.bincount(cifar100.superclass_of).tolist() == [5] * 20  # type: ignore[arg-type]
    flowers = np.flatnonzero(cifar100.superclass_of == cifar100.superclasses.index("flowers"))
    assert [cifar100.classes[index] for index in flowers] == ["orchid", "poppy", "rose", "sunflower", "tulip"]


def test_published_pixel_statistics(cifar100: Dataset) -> None:
    histogram = np.zeros((3, 256), np.int64)
    for split in (cifar100.train, cifar100.val):
        images, sizes = split.gather(np.arange(len(split)))  # type: ignore[arg-type]
        assert images.shape[1:] == (3, 32, 32) and sizes is None
        histogram += [np.bincount(images[:, channel].ravel(), minlength=256) for channel in range(3)]
    values, share = np.arange(256) / 255, histogram / (50000 * 32 * 32)
    mean = share @ values
    assert mean == pytest.approx([0.50708, 0.48655, 0.44092], abs=1e-5)
    assert np.sqrt(share @ values**2 - mean**2) == pytest.approx([0.26733, 0.25644, 0.27615], abs=1e-5)


def test_second_open_takes_less_than_a_second(cifar100: Dataset) -> None:
    start = time.perf_counter()
    again = open_data("cifar100", DataConfig(), data_dir=DATA, short_side=224)
    assert time.perf_counter() - start < 1
    assert again.fingerprint == cifar100.fingerprint
