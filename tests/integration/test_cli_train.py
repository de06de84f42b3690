"""`seedwise train` for one run: what the run folder holds, what -o means, which data it takes, the same from Python."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import TINY, Cli, process
from PIL import Image
from safetensors.torch import load_file
from scipy.stats import binomtest
from sklearn.datasets import load_digits

import seedwise
from seedwise.base.errors import UserError
from seedwise.base.files import LOCK, sha256_of
from seedwise.config.section import dump
from seedwise.recipe.schema import Recipe

FILES = {
    *("recipe.yaml", "record.json", "metrics.jsonl", "predictions.npz", "model.safetensors", "config.json"),
    *("train.log", ".lock", "report.html"),
}


def record_of(folder: Path | str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((Path(folder) / "record.json").read_text())
    assert len(content.pop("sha256")) == 64  # the record's own
    return content


def test_a_run_folder_holds_every_file_and_field(finished: Path) -> None:
    assert {path.name for path in finished.iterdir()} == FILES
    record = record_of(finished)
    for field in (
        *("schema_version", "status", "seed", "data", "model", "parameters", "machine", "versions", "seconds"),
        *("images_per_second", "epochs", "final", "epochs_to_95", "test_evaluations", "techniques", "files"),
    ):
        assert record[field] is not None, field
    assert (record["status"], record["seed"], record["test_evaluations"]) == ("finished", 3, 1)
    assert {"name", "fingerprint", "splits"} <= set(record["data"])
    assert record["data"]["splits"] == {"train": 200, "val": 144, "test": 359}
    assert record["seconds"]["train"] > 0 and record["images_per_second"] > 0
    for split in ("train", "val", "test"):
        assert set(record["final"][split]) == {"top1", "top5", "loss"}
    rows = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert rows == record["epochs"] and [row["epoch"] for row in rows] == [1]
    assert record["files"] == {name: sha256_of(finished / name) for name in record["files"]}
    assert len(record["files"]) == 5
    assert "finished" in (finished / "train.log").read_text()


def test_the_recipe_of_a_run_has_no_automatic_choice_left(finished: Path) -> None:
    text = (finished / "recipe.yaml").read_text()
    assert "auto" not in text.split("\n", 1)[1]
    assert seedwise.load(finished).recipe.compute.threads == 1


KEPT = ("ids", "targets", "logits", "files", "originals")


def test_stored_logits_give_the_recorded_scores(finished: Path) -> None:
    final, splits = record_of(finished)["final"], record_of(finished)["data"]["splits"]
    with np.load(finished / "predictions.npz", allow_pickle=False) as stored:
        arrays = {f"{split}_{what}" for split in ("val", "test") for what in KEPT}
        assert set(stored) == arrays | {"train_originals"}
        for split, count in splits.items():
            assert stored[f"{split}_originals"].dtype == np.uint64 and stored[f"{split}_originals"].shape == (count,)
        for split in ("val", "test"):
            assert stored[f"{split}_files"].dtype.kind == "U" and len(set(stored[f"{split}_files"])) == splits[split]
            ids, targets, logits = (stored[f"{split}_{what}"] for what in ("ids", "targets", "logits"))
            assert ids.shape == targets.shape == (splits[split],) and logits.shape == (splits[split], 10)
            assert ids.dtype == targets.dtype == np.int64 and logits.dtype == np.float32
            assert len(np.unique(ids)) == len(ids)
            assert (logits.argmax(axis=1) == targets).mean() == pytest.approx(final[split]["top1"], abs=1e-12)
        assert not set(stored["val_ids"]) & set(stored["test_ids"])


def test_a_table_says_which_image_got_which_answer(finished: Path) -> None:
    run, digits = seedwise.load(finished), load_digits()
    for split in ("val", "test"):
        rows = run.table(split)  # type: ignore[call-arg]
        right = [row["correct"] for row in rows]
        assert sum(right) / len(right) == pytest.approx(record_of(finished)["final"][split]["top1"])
        numbers = [int(row["file"].removeprefix("image ")) for row in rows]
        assert [row["label"] for row in rows] == [str(digits.target[number]) for number in numbers]
        grays = [Image.fromarray(np.rint(digits.images[it] * (255 / 16)).astype(np.uint8)) for it in numbers]
        probabilities = run.predict([gray.resize((32, 32), Image.Resampling.BICUBIC) for gray in grays])
        for row, answer in zip(rows, probabilities, strict=True):
            assert row["predicted"] == run.classes[answer.argmax()] and row["correct"] == (
                row["label"] == row["predicted"]
            )
            assert row["probability"] == pytest.approx(answer.max(), abs=1e-4)
    with pytest.raises(UserError, match="no answers on 'test_tta' images"):
        run.table("test_tta")  # type: ignore[call-arg]


def test_timm_loads_a_run_folder(cli: Cli) -> None:
    import timm

    tiny = ("--epochs", 1, "--img-size", 32, "-b", 20, "-s", "data.limit=40", "--threads", 1)
    assert cli("train", "digits", *tiny, "-o", "a run").code == 0
    model = timm.create_model("local-dir:a run", pretrained=True)
    stored = load_file("a run/model.safetensors")
    assert all(torch.equal(value, stored[name]) for name, value in model.state_dict().items())
    assert model.pretrained_cfg["input_size"] == [3, 32, 32]
    assert model.pretrained_cfg["mean"] == pytest.approx(record_of("a run")["model"]["mean"])


def test_one_run_is_printed_without_a_spread_and_json_alone_on_stdout(cli: Cli) -> None:
    first = cli("train", "digits", *TINY, "--seed", 3, "-o", "out")
    record = record_of("out")
    assert f"test top-1 {record['final']['test']['top1']:.4f} (one seed; --seeds 5 for a spread)" in first.out
    assert "±" not in first.out and "files: out" in first.out
    hits, n = (
        round(record["final"]["test"]["top1"] * record["data"]["splits"]["test"]),
        record["data"]["splits"]["test"],
    )
    low, high = binomtest(hits, n).proportion_ci(method="wilson")
    assert (
        f"\n{hits} of {n} right, {n - hits} wrong; 95% interval over test images [{low:.4f}, {high:.4f}]" in first.out
    )
    assert first.out.index("most confused: ") < first.out.index("which images: seedwise errors out")
    assert "epoch   1" in first.err and "images/s" in first.err
    assert json.loads(cli("train", "digits", *TINY, "--seed", 3, "-o", "out", "--json").out) == record
    assert json.loads(cli("resume", "out", "--json").out) == record
    fresh = cli("train", "digits", *TINY, "--seed", 3, "-o", "new", "--json")
    assert json.loads(fresh.out) == record_of("new")


def test_the_same_command_twice_gives_the_same_bits(cli: Cli, finished: Path) -> None:
    assert cli("train", "digits", *TINY, "--seed", 3, "-o", "again").code == 0
    for name in ("model.safetensors", "predictions.npz"):
        assert sha256_of(Path("again") / name) == sha256_of(finished / name)


def test_the_same_command_into_a_finished_run_changes_nothing(cli: Cli, finished: Path) -> None:
    def written() -> dict[str, int]:
        """When each file was; the lock says who holds it, so that each holder writes it."""
        return {path.name: path.stat().st_mtime_ns for path in finished.iterdir() if path.name != LOCK}

    before = written()
    for verb in (["train", "digits", *TINY, "--seed", 3, "-o", finished], ["resume", finished]):
        answer = cli(*verb)
        assert answer.code == 0 and "test top-1" in answer.out
        said = rf"^{re.escape(str(finished))} is finished \(20\d\d-\d\d-\d\d \d\d:\d\d\): nothing trained; "
        again = "to train again, give its command another folder with -o$"
        assert re.search(said + again, answer.err.splitlines()[-1])
    assert written() == before


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (["--seed", 3, "--epochs", 2], "holds another recipe: train.epochs: 1 -> 2; choose another folder with -o"),
        (["--seed", 3, "--epochs", 2, "--lr", 0.1], "-> 0.1 (and 1 more)"),
        (["--seed", 3, "-s", "augment.cutmix=default"], "augment.cutmix"),
        (["--seed", 4], "holds a run with seed 3, not 4; choose another folder with -o"),
        (["--seeds", "3,"], "holds a single run, not a study; choose another folder with -o"),
    ],
)
def test_another_recipe_or_seed_into_the_folder_is_refused(
    cli: Cli, finished: Path, changed: list[object], said: str
) -> None:
    answer = cli("train", "digits", *TINY, *changed, "-o", finished)
    assert answer.code == 2 and said in answer.line and str(finished) in answer.line


def test_other_data_into_the_folder_is_refused_and_moved_data_is_not(cli: Cli, photos: Path) -> None:
    tiny = (*TINY, "-s", "data.limit=null", "-r", "lite", "-s", "augment={}", "--seed", 0)
    assert cli("train", photos, *tiny, "-o", "out").code == 0
    refused = cli("train", "digits", *tiny, "-o", "out")
    assert refused.code == 2 and "holds a run on " in refused.line and "not on digits" in refused.line
    moved = photos.rename(photos.with_name("elsewhere"))
    assert cli("resume", "out").code == 0  # a finished run needs no data
    assert cli("train", moved, *tiny, "-o", "out").code == 0
    next(moved.rglob("*.png")).unlink()
    changed = cli("train", moved, *tiny, "-o", "out")
    assert changed.code == 2 and "holds a run on" in changed.line


def test_other_peoples_files_are_left_alone(cli: Cli) -> None:
    Path("mine").mkdir()
    Path("mine/recipe.yaml").write_text("train: {epochs: 1}\n")
    answer = cli("train", "digits", "-r", "mine/recipe.yaml", "-o", "mine")
    assert answer.code == 2 and "mine: holds other files (recipe.yaml); choose a new" in answer.line
    assert [path.name for path in Path("mine").iterdir()] == ["recipe.yaml"]
    Path("file").write_text("mine")
    for out in ("file", "file/below"):
        refused = cli("train", "digits", *TINY, "-o", out)
        assert refused.code == 2 and "a file stands where a folder is needed" in refused.line


def test_without_o_the_folder_is_named_after_data_recipe_and_time(cli: Cli) -> None:
    Path("my recipe.yaml").write_text("name: mine/../../v 2\ntrain: {epochs: 1}\n")
    folders = []
    for _ in range(2):
        answer = cli("train", "digits", "-r", "my recipe.yaml", *TINY)
        folders.append(answer.out.splitlines()[-1].removeprefix("files: "))
    assert folders[0] != folders[1]
    for folder in folders:
        assert folder.startswith("runs/digits-mine_.._.._v_2-2") and record_of(folder)["seed"] == 0
        assert record_of(folder)["recipe"] == "mine/../../v 2"


def test_photos_in_odd_names_train_and_predict_as_scored(cli: Cli, photos: Path) -> None:
    files = sorted(path for path in photos.rglob("*.png"))
    answer = cli("train", photos, *TINY, "-r", "lite", "-s", "data.limit=null", "--epochs", 3, "-o", "it's a run")
    assert answer.code == 0 and "top-1" in answer.out
    run = seedwise.load("it's a run")
    assert run.classes == ["birne", "Äpfel rot", "강아지 #3"]
    assert run.record.data.source == str(photos) and run.record.data.splits == {"train": 26, "val": 3, "test": 7}
    _, targets, logits = run.logits("test")
    probabilities = run.predict([str(path) for path in files])
    assert probabilities.sum(axis=1) == pytest.approx(1, abs=1e-5)
    stored = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    apart = np.abs(stored[:, None] - probabilities[None]).max(axis=2)
    assert apart.min(axis=1).max() < 1e-4, "some test image was scored unlike any of the files"
    tested = [files[number].parent.name for number in apart.argmin(axis=1)]
    assert tested == [run.classes[target] for target in targets]
    final = run.record.final
    assert final is not None and final.test is not None and final.test.top5 >= final.test.top1


def test_without_validation_or_test_their_scores_are_null(cli: Cli) -> None:
    answer = cli("train", "digits", *TINY, "-s", "data.val=0", "-s", "data.test=0", "-o", "out")
    assert answer.code == 0 and "train top-1" in answer.out
    record = record_of("out")
    assert record["final"]["val"] is None and record["final"]["test"] is None and record["test_evaluations"] == 0
    assert record["epochs"][0]["val"] is None and record["epochs_to_95"] is None and record["selected_epoch"] == 1
    with np.load("out/predictions.npz") as stored:
        assert list(stored) == ["train_originals"]


def test_data_is_found_through_the_variable(cli: Cli, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEDWISE_DATA", str(photos.parent))
    Path("deep").mkdir()
    monkeypatch.chdir("deep")
    answer = cli("train", photos.name, *TINY, "-r", "lite", "-s", "data.limit=null", "-o", "out")
    assert answer.code == 0
    assert record_of("out")["data"]["source"] == str(photos)


def test_a_diverged_run_says_what_to_change(cli: Cli) -> None:
    answer = cli("train", "digits", *TINY, "--lr", "1e30", "-o", "out")
    assert answer.code == 2 and "not finite" in answer.last_line and "optim.lr" in answer.last_line
    assert record_of("out")["status"] == "failed"
    assert not Path("out/model.safetensors").exists()


def test_from_python() -> None:
    recipe = Recipe.model_validate_json(
        '{"name": "mine", "model": {"name": "small"}, "data": {"limit": 100},'
        '"train": {"epochs": 1, "image_size": 16, "batch_size": 50}, "compute": {"threads": 1}}'
    )
    run = seedwise.train(recipe, "digits", seed=5)
    assert run.folder.parent == Path("runs") and run.folder.name.startswith("digits-mine-")
    assert run.record.seed == 5 and run.record.final is not None
    again = seedwise.load(run.folder)
    rng = np.random.default_rng(0)
    batch = rng.integers(0, 256, (3, 32, 32, 3), np.uint8)
    probabilities = again.predict(batch)
    assert probabilities.shape == (3, 10) and probabilities.dtype == np.float32
    assert again.predict(list(batch)) == pytest.approx(probabilities)
    assert again.predict([]).shape == (0, 10)
    Path("empty").mkdir()
    with pytest.raises(UserError, match=r"^runs: is no run, but holds some; name its only run"):
        seedwise.load("runs")
    with pytest.raises(UserError, match="not a run folder"):
        seedwise.load("empty")
    with pytest.raises(UserError, match=r"missing\.png"):
        again.predict(["missing.png"])
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        seedwise.trian  # noqa: B018


def test_options_are_set_from_python(cli: Cli, photos: Path) -> None:
    """As `-s` and `--time` do it; before anything is trained where they are wrong."""
    settings = ["model.name=small", "train.image_size=16", "compute.threads=1", "train.insight=false"]
    run = seedwise.train("photos", photos, settings=[*settings, "train.epochs=1", "optim.lr=2e-3"], seed=7, out="a")
    assert (run.folder, run.record.seed, run.recipe.optim.lr, run.recipe.train.epochs) == (Path("a"), 7, 2e-3, 1)
    assert run.record.recipe == "photos"
    again = cli("train", photos, *(word for it in settings for word in ("-s", it)), "--epochs", 1, "--lr", "2e-3",
                "--seed", 7, "-o", "a")  # fmt: skip
    assert again.code == 0 and "nothing trained" in again.err

    Path("mine.yaml").write_text(dump(run.recipe))
    for recipe in (run.recipe, Path("mine.yaml"), "mine.yaml"):
        with pytest.raises(UserError, match=r"^a: holds another recipe: optim\.lr: 0\.002 -> 0\.5"):
            seedwise.train(recipe, photos, settings=["optim.lr=0.1", "optim.lr=0.5"], out="a")
        assert seedwise.train(recipe, photos, seed=7, out="a").record == run.record
        with pytest.raises(UserError, match=r"unknown key 'epohcs' in train; did you mean 'epochs'"):
            seedwise.train(recipe, photos, settings=["train.epohcs=1"])
    with pytest.raises(UserError, match=r"^--time soon: give a time such as 15min"):
        seedwise.train("photos", photos, time="soon")
    with pytest.raises(UserError, match=r"^--time: too little for any sensible training: \d+ epochs at 16 px"):
        seedwise.train("photos", photos, settings=settings, time="1s", out="b")
    with pytest.raises(UserError, match=r"^--time: chooses the epochs, and train\.epochs is 3"):
        seedwise.train("photos", photos, settings=["train.epochs=3"], time="1h", out="b")
    assert not Path("b").exists() and not Path("runs").exists()


@pytest.mark.slow
def test_a_run_in_a_process_of_its_own_from_another_folder(finished: Path, tmp_path: Path) -> None:
    answer = process("train", "digits", *TINY, "--seed", 3, "--json", "-o", "sub/../deep er/run")
    assert answer.code == 0
    assert json.loads(answer.out)["files"]["model.safetensors"] == sha256_of(finished / "model.safetensors")
    assert record_of(tmp_path / "deep er" / "run")["status"] == "finished"


def test_a_folder_gets_numbers_that_fit_it_and_says_them_first(cli: Cli, photos: Path) -> None:
    small = ("-m", "small", "--threads", "1", "-s", "train.insight=false")
    answer = cli("train", photos, *small, "--epochs", 2, "--img-size", 16, "-o", "out")
    said = answer.err.splitlines()
    at = next(number for number, line in enumerate(said) if line.startswith("26 photos: 2 epochs of batch 8, 8 steps"))
    assert "at 16 px, about " in said[at] and said[0].startswith("36 images in 3 classes"), answer.err
    assert said[at + 1].startswith("epoch ") and sum("36 images in" in line for line in said) == 1, answer.err
    train = seedwise.load("out").recipe.train
    assert (train.epochs, train.batch_size, train.image_size) == (2, 8, 16)
    assert "auto" not in Path("out/recipe.yaml").read_text().split("\n", 1)[1]
    assert "not converged: 8 optimizer steps are few; give more: --epochs 25" in answer.out
    assert record_of("out")["convergence"]["few_steps"] is True
    again = cli("train", photos, *small, "--epochs", 2, "--img-size", 16, "-o", "out")
    assert again.code == 0 and "photos:" not in again.err  # nothing is chosen twice


def test_a_study_of_a_folder_is_as_long_in_every_arm(cli: Cli, photos: Path) -> None:
    settings = ("-s", "model.name=small", "-s", "compute.threads=1", "-s", "train.insight=false")
    settings += ("-s", "train.image_size=16", "-s", "train.epochs=auto")  # type: ignore[assignment]
    dry = cli("ablate", photos, "--toggle", "flip", "--seeds", 2, *settings, "--dry-run", "--json")
    assert dry.code == 0 and json.loads(dry.out)["base"]["train"]["epochs"] >= 3
