"""Losses of two tiny runs, written down: who changes them changes what a study's trials are, and has to say so."""

from pathlib import Path

import pytest

from seedwise.base.numerics import NUMERICS_VERSION
from seedwise.recipe import library
from seedwise.run.train import train

TINY = (
    *("model.name=small", "model.weights=none", "train.image_size=16", "train.batch_size=32", "train.epochs=2"),
    *("data.limit=128", "data.val=64", "data.test=64", "compute.threads=1", "compute.kernels=stock"),
    *("compute.precision=fp32", "compute.device=cpu", "optim.lr=0.0005"),
)
RICH = (
    *("augment.horizontal_flip={}", "augment.rotation={}", "augment.color_jitter={}", "augment.random_erasing={}"),
    *("augment.rand_augment={}", "augment.mixup={prob: 0.5}", "augment.cutmix={prob: 0.5}", "augment.blur={}"),
    *("augment.grayscale={}", "loss.smoothing=0.1", "model.drop_path=0.1", "optim.schedule=cosine", "optim.ema={}"),
    *("optim.layer_decay=0.9", "optim.clip_norm=1.0"),
)
KNOWN = {
    1: {
        "plain": [2.350503, 2.302209, 2.313707, 2.305375],
        "rich": [2.365598, 2.302657, 2.340982, 2.305318],
    },
}
"""NUMERICS_VERSION -> training and validation loss of both epochs. With ATEN_CPU_CAPABILITY=default, without AVX2, they
are the same to all these digits."""


@pytest.mark.parametrize(("name", "settings"), [("plain", ()), ("rich", RICH)])
def test_the_losses_are_those_of_this_numerics_version(name: str, settings: tuple[str, ...], tmp_path: Path) -> None:
    run = train(library.read("demo", [*TINY, *settings]), "digits", seed=5, out=tmp_path / "run")
    losses = [loss for row in run.record.epochs if row.val for loss in (row.train_loss, row.val.loss)]
    assert losses == pytest.approx(KNOWN[NUMERICS_VERSION][name], abs=1e-4), (
        "the same recipe, data and seed give other results than before: if that is meant, raise "
        "seedwise.base.numerics.NUMERICS_VERSION and write the new losses down here"
    )
