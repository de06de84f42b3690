"""Bootstrap samples: which images, how often, and that every copy of an image has augmentation draws of its own."""

import numpy as np
import pytest
import torch

from seedwise.augment.config import AugmentConfig
from seedwise.augment.pipeline import Augmenter
from seedwise.data.config import DataConfig
from seedwise.data.dataset import Dataset
from seedwise.data.open import open_data
from seedwise.data.splits import bootstrap, leave_fold, train_probe


@pytest.fixture(scope="module")
def whole() -> Dataset:
    return open_data("digits", DataConfig(), short_side=16)


def test_a_sample_has_as_many_images_drawn_with_replacement_and_the_rest_is_out_of_bag(whole: Dataset) -> None:
    sample = bootstrap(whole, seed=5)
    assert sample.oob is not None
    n, rows = len(whole.train), whole.train.rows_in_part
    images = sample.train.ids % rows
    assert len(sample.train) == n and np.array_equal(np.union1d(images, sample.oob.ids), whole.train.ids)
    assert not np.intersect1d(images, sample.oob.ids).size
    chance = (1 - 1 / n) ** n  # of an image not to be drawn
    assert len(sample.oob) / n == pytest.approx(chance, abs=5 * np.sqrt(chance * (1 - chance) / n))
    label = dict(zip(whole.train.ids.tolist(), whole.train.targets.tolist(), strict=True))
    for part in (sample.train, sample.oob):
        assert [label[int(i) % rows] for i in part.ids] == part.targets.tolist()
        some = np.array([0, len(part) // 2, len(part) - 1])
        where = np.searchsorted(whole.train.ids, part.ids[some] % rows)
        assert np.array_equal(part.gather(some)[0], whole.train.gather(where)[0])
    assert sample.val is whole.val and sample.test is whole.test and sample.splits == whole.splits


def test_the_seed_decides_the_sample(whole: Dataset) -> None:
    first, again, other = (bootstrap(whole, seed=seed).train.ids for seed in (5, 5, 6))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_copies_of_an_image_have_draws_of_their_own_and_the_first_has_the_images(whole: Dataset) -> None:
    sample = bootstrap(whole, seed=5).train
    rows = sample.rows_in_part
    assert len(np.unique(sample.ids)) == len(sample) and sample.ids.max() < sample.draw_rows
    assert sample.copies == np.bincount(sample.ids % rows).max() > 2
    config = AugmentConfig.model_validate({"rotation": {"degrees": 90.0}})

    def rotated(height: int, ids: list[int]) -> torch.Tensor:
        augmenter = Augmenter(config, seed=1, rows=height, mean=(0,) * 3, std=(1,) * 3, device=torch.device("cpu"))
        pixels = torch.zeros(len(ids), 3, 16, 16, dtype=torch.uint8)
        pixels[:, :, 3:7, 2:14] = 255
        return augmenter.train(pixels, None, torch.ones(len(ids), 1), np.array(ids), epoch=0, size=16).images

    copies = rotated(sample.draw_rows, [7, 7 + rows, 7 + 2 * rows])
    assert not torch.equal(copies[0], copies[1]) and not torch.equal(copies[1], copies[2])
    assert torch.equal(copies[0], rotated(rows, [7])[0])


def test_training_images_are_probed_as_they_were_drawn(whole: Dataset) -> None:
    sample = bootstrap(whole, seed=5).train
    assert len(train_probe(sample, 100)) == 100 and train_probe(sample, 100).copies == sample.copies


def test_folds_leave_every_training_image_out_once(whole: Dataset) -> None:
    parts = [leave_fold(whole, (number, 5)) for number in range(1, 6)]
    left_out = [part.oob.ids for part in parts if part.oob is not None]
    assert np.array_equal(np.sort(np.concatenate(left_out)), whole.train.ids)
    for part, ids in zip(parts, left_out, strict=True):
        assert (
            np.array_equal(np.union1d(part.train.ids, ids), whole.train.ids)
            and not np.intersect1d(part.train.ids, ids).size
        )
        share = np.bincount(part.train.targets) / np.bincount(whole.train.targets)
        assert np.allclose(share, 0.8, atol=0.02)  # of every class
