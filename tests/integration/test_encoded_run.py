"""A training on images that stay encoded has the weights of one on decoded images, and is scored and shown as any."""

from pathlib import Path

import pytest
from command_line import Cli

from seedwise.base.files import sha256_of
from seedwise.records.run import read_record, write_record

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


def test_the_same_command_may_change_the_storage(cli: Cli, photos: Path) -> None:
    for storage in ("decoded", "encoded"):
        answer = cli("train", photos, *OPTIONS, "-s", f"data.storage={storage}", "-s", "data.workers=1", "-o", "run")
        assert answer.code == 0, answer.err


def test_a_run_of_before_keeps_the_order_of_its_data(cli: Cli, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli("train", photos, *OPTIONS, "-o", "run").code == 0
    recipe, record = Path("run/recipe.yaml"), read_record(Path("run"))
    lines = recipe.read_text(encoding="utf-8").splitlines(keepends=True)
    new = ("  storage:", "  order:", "  workers:")
    recipe.write_text("".join(line for line in lines if not line.startswith(new)), encoding="utf-8")
    record.files["recipe.yaml"], record.data.storage = sha256_of(recipe), None
    write_record(Path("run"), record)
    monkeypatch.setattr("seedwise.data.planning.LARGE", 1)  # today such data are in the order of their listing
    assert cli("evaluate", "run").code == 0
    answer = cli("train", photos, *OPTIONS, "-o", "run")
    assert answer.code == 0, answer.err
    assert cli("train", photos, *OPTIONS, "-s", "data.order=listing", "-o", "run").code == 2
