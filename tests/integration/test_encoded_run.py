"""A training on images that stay encoded has the weights of one on decoded images, and is scored and shown as any."""

from pathlib import Path

import pytest
from command_line import Cli

from seedwise.base.files import sha256_of
from seedwise.records.run import read_record

OPTIONS = ("-m", "small", "--epochs", 1, "-b", 8, "-s", "train.image_size=16", "--threads", 1)


@pytest.mark.parametrize("order", ["content", "listing"])
def test_both_storages_train_the_same_weights(order: str, cli: Cli, photos: Path) -> None:
    for storage in ("decoded", "encoded"):
        options = ("-s", f"data.order={order}", "-s", f"data.storage={storage}", "-s", "data.workers=1")
        answer = cli("train", photos, *OPTIONS, *options, "-o", storage)
        assert answer.code == 0, answer.err
        assert ("encoded where they are" in answer.err) == (storage == "encoded")
        assert read_record(Path(storage)).data.storage == storage
    for name in ("model.safetensors", "predictions.npz"):
        assert sha256_of(Path("decoded") / name) == sha256_of(Path("encoded") / name)
    for run in ("decoded", "encoded"):
        assert cli("evaluate", run).code == 0
    assert cli("errors", "encoded").code == 0
