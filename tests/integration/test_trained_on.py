"""Images that a run was trained on are no test of it, and everything that gives a score says so."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import Cli
from made_runs import answers_for, make_run
from PIL import Image

from seedwise.base.files import sha256_of
from seedwise.ensembles.build import build
from seedwise.records.finished import read_finished
from seedwise.records.predictions import read_originals, write_arrays
from seedwise.records.run import PREDICTIONS, read_record, write_record
from seedwise.reports.read import leaks_of

COPIES = 4


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of 20 images of noise to train on and 8 for test, of which the first four are in train too."""
    rng = np.random.default_rng(0)
    for label in ("one", "two"):
        for part, count in (("train", 20), ("test", 8)):
            folder = tmp_path / "photos" / part / label
            folder.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(rng.integers(0, 256, (40, 44, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    for number in range(COPIES):
        source = tmp_path / "photos/train/one" / f"{number}.png"
        shutil.copy(source, tmp_path / "photos/test/one" / f"{number}.png")
    return tmp_path / "photos"


def test_scores_on_images_that_were_trained_on_say_so(cli: Cli, photos: Path) -> None:
    options = ("-m", "small", "--epochs", 1, "-b", 8, "-s", "train.image_size=24", "-s", "data.val=0", "--threads", 1)
    answer = cli("train", photos, *options, "-o", "run")
    assert answer.code == 0 and f"leak: {COPIES} of 16 test images" in answer.out

    answer = cli("train", photos, *options, "-o", "run", "--json")
    assert json.loads(answer.out)["status"] == "finished" and f"leak: {COPIES} of 16 test images" in answer.err

    page = Path("run/report.html").read_text()
    assert f"Leak: {COPIES} of 16 test images" in page
    assert "That says nothing of overfitting" in page and "no sign of overfitting" not in page

    said = "among those this was trained on, equal in every pixel: the score is no estimate for new images"
    own = cli("evaluate", "run")
    assert f"trained on: {COPIES} of 16 images are {said}" in own.out and "on the other 12" in own.out
    for folder, kept in ((photos / "train", 40), (photos / "train/one", 20)):
        whole = cli("evaluate", "run", "--data", _as_class(folder))
        assert f"trained on: all {kept} images are {said}" in whole.out and "on the other" not in whole.out
    # at another size and in another format: an original of equal pixels is the same image
    for number, file in enumerate(sorted((photos / "test/two").glob("*.png"))[1:]):
        Image.open(file).save(photos / f"test/two/{number}.bmp")
        file.unlink()
    (photos / "test/two/new.png").write_bytes((photos / "train/two/3.png").read_bytes())
    found = json.loads(cli("evaluate", "run", "--data", photos / "test", "--json").out)
    assert found["trained"] == COPIES + 1 and 0 <= found["new_top1"] <= 1

    _forget("run")
    answer = cli("evaluate", "run", "--data", photos / "train", "--json")
    assert answer.code == 0 and json.loads(answer.out)["trained"] is None


def _as_class(folder: Path) -> Path:
    """A folder of one class needs one around it."""
    if folder.name != "one":
        return folder
    shutil.copytree(folder, folder.parent.parent / "only" / "one")
    return folder.parent.parent / "only"


def _forget(folder: str) -> None:
    """As runs of older versions are: without what tells their images from others."""
    path = Path(folder) / PREDICTIONS
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files if not name.endswith("_originals")}
    _keep(Path(folder), arrays)


def _keep(folder: Path, arrays: dict[str, np.ndarray]) -> None:
    write_arrays(folder / PREDICTIONS, arrays)
    record = read_record(folder)
    record.files[PREDICTIONS] = sha256_of(folder / PREDICTIONS)
    write_record(folder, record)


def test_an_ensemble_was_trained_on_what_any_of_its_members_was(tmp_path: Path) -> None:
    targets = np.arange(12) % 4
    for seed, (trained, right) in enumerate((([1, 2, 20], 9), ([3, 20], 10))):
        logits = {"test": answers_for(targets, np.arange(12) < right)}
        run = make_run(tmp_path / f"run{seed}", targets, logits, seed=seed)
        with np.load(run / PREDICTIONS) as stored:
            arrays = {name: stored[name] for name in stored.files}
        prints = {"train": trained, "val": [5], "test": range(12)}
        _keep(run, arrays | {f"{name}_originals": np.array(list(it), np.uint64) for name, it in prints.items()})
    build([read_finished(tmp_path / f"run{seed}") for seed in range(2)], tmp_path / "both")
    trained = read_originals(tmp_path / "both", read_finished(tmp_path / "both").record).get("train")
    assert trained is not None and trained.tolist() == [1, 2, 3, 20]  # type: ignore[attr-defined]
    leak = leaks_of(tmp_path / "both")
    assert leak is not None and leak.rows == [1, 2, 3, 5]
    first = leaks_of(tmp_path / "run0")
    assert first is not None and first.rows == [1, 2, 5]
