"""The alternating flip: a coin for each image once in a run, then both sides in turn; it replaces `horizontal_flip`."""

import numpy as np
import pytest
import torch
from augment_samples import augmenter, one_hot, photos, pixels
from torch import Tensor

from seedwise.augment.config import AugmentConfig
from seedwise.augment.inert import inert
from seedwise.base import rng

N, EPOCHS = 96, 7
IMAGES = photos(N, 16, 13)[..., :13, :]
"""Square, as they reach the flips, and none its own mirror image."""


def sides(techniques: dict, seed: int = 0, order: int = 0, epochs: range = range(EPOCHS)) -> Tensor:
    """bool[epochs, N]: which images are mirrored, read from their pixels; batches of 10 in a shuffled order."""
    ours, seen = augmenter(rows=N, seed=seed, **techniques), torch.zeros(len(epochs), N, dtype=torch.bool)
    for row, epoch in enumerate(epochs):
        shuffled = np.random.default_rng([order, epoch]).permutation(N)
        for ids in np.array_split(shuffled, 10):
            batch = ours.train(IMAGES[ids], None, one_hot(len(ids)), ids, epoch=epoch, size=13)
            for image, i in zip(pixels(batch.images), ids, strict=True):
                seen[row, i] = torch.equal(image, IMAGES[i].flip(-1))
                assert seen[row, i] != torch.equal(image, IMAGES[i])
    return seen


@pytest.mark.parametrize("seed", [0, 1])
def test_it_is_a_coin_and_then_turns(seed: int) -> None:
    """Against the source's words, image by image: random in the first epoch, then flipped if it wasn't just before."""
    coins = rng.generator(seed, "augment", "alternating_flip", 0).random((N, 1), dtype=np.float32)[:, 0] < 0.5
    expected = np.zeros((EPOCHS, N), bool)
    for i in range(N):
        expected[0, i] = coins[i]
        for epoch in range(1, EPOCHS):
            expected[epoch, i] = not expected[epoch - 1, i]
    assert np.array_equal(sides({"alternating_flip": {}}, seed).numpy(), expected)


def test_any_two_epochs_in_a_row_show_each_image_once_each_way() -> None:
    seen = sides({"alternating_flip": {}})
    assert (seen[1:] ^ seen[:-1]).all()
    assert 0.3 < seen[0].double().mean() < 0.7
    coins = sides({"horizontal_flip": {}})
    assert 0.3 < (coins[1:] ^ coins[:-1]).double().mean() < 0.7  # which is what it mends


def test_an_image_has_its_own_side_in_any_order_and_in_a_resumed_run() -> None:
    """Which starts in the middle, from nothing but the epoch's number."""
    straight = sides({"alternating_flip": {}})
    assert torch.equal(sides({"alternating_flip": {}}, order=1, epochs=range(3, EPOCHS)), straight[3:])
    assert not torch.equal(sides({"alternating_flip": {}}, seed=1), straight)


def test_it_takes_the_place_of_horizontal_flip() -> None:
    """Two flips would be one, by a coin. The other is on record, without an image that it met, and isn't inert."""
    both = {"horizontal_flip": {"prob": 1.0}, "alternating_flip": {}}
    assert torch.equal(sides(both, epochs=range(2)), sides({"alternating_flip": {}}, epochs=range(2)))
    ours = augmenter(**both)  # type: ignore[arg-type]
    for epoch in range(3):
        ours.train(IMAGES[:64], None, one_hot(64), np.arange(64), epoch=epoch, size=13)
    assert ours.effects()["horizontal_flip"] == {"images": 0, "share": 0.0}
    assert ours.effects()["alternating_flip"]["images"] == 3 * 64
    assert inert(AugmentConfig.model_validate(both), ours.effects()) == []
