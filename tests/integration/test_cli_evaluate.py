"""evaluate and predict on a tiny run, as a user types them."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Cli
from PIL import Image
from scipy.stats import binomtest

import seedwise
from seedwise.inference.explain import SIDE
from seedwise.records.evaluations import EVALUATIONS, later_test_reads, read_evaluations
from seedwise.records.predictions import Predictions
from seedwise.run import deferred_scoring


@pytest.fixture
def digits_folder(tmp_path: Path) -> Path:
    """Classes 3, 1 and 7 of the digits, in a folder of another order."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    for name in (3, 1, 7):
        folder = tmp_path / "some" / str(name)
        folder.mkdir(parents=True)
        for i in np.flatnonzero(digits.target == name)[:6]:
            Image.fromarray((digits.images[i] * 15.9).astype(np.uint8)).save(folder / f"{i}.png")
    return tmp_path / "some"


def test_own_data_repeats_the_stored_scores_and_is_counted(finished: Path, cli: Cli) -> None:
    found = json.loads(cli("evaluate", finished, "--json").out)
    record = seedwise.load(finished).record
    assert found["agrees"] is True
    assert found["largest_difference"] == 0
    assert found["scores"] == record.final.test.model_dump()  # type: ignore[union-attr]
    hits, n = round(found["scores"]["top1"] * found["images"]), found["images"]
    assert found["top1_interval"] == pytest.approx(binomtest(hits, n).proportion_ci(method="wilson"))
    assert sum(each["images"] for each in found["classes"]) == n
    assert sum(each["images"] * each["top1"] for each in found["classes"]) == pytest.approx(hits)
    cli("evaluate", finished, "--split", "val")
    assert later_test_reads(finished) == 1
    assert [each.split for each in read_evaluations(finished)] == ["test", "val"]


def test_a_torn_line_of_evaluations_loses_no_other(finished: Path, cli: Cli) -> None:
    (finished / EVALUATIONS).write_text('{"data": "dig')
    assert "agrees" in cli("evaluate", finished).out
    assert later_test_reads(finished) == 1


def test_other_data_match_by_class_name(finished: Path, digits_folder: Path, cli: Cli) -> None:
    answer = cli("evaluate", finished, "--data", digits_folder, "-o", "found.json")
    assert "all, 18 images" in answer.out
    assert "without images: 0, 2, 4, 5, 6" in answer.out
    found = json.loads(Path("found.json").read_text())
    run = seedwise.load(finished)
    files = sorted(digits_folder.glob("*/*.png"))
    predicted = run.predict(files).argmax(axis=1)
    right = np.mean([run.classes[best] == file.parent.name for best, file in zip(predicted, files)])
    assert found["scores"]["top1"] == pytest.approx(right)
    assert later_test_reads(finished) == 0


def test_classes_match_in_any_spelling_when_asked(finished: Path, digits_folder: Path, cli: Cli) -> None:
    plain = json.loads(cli("evaluate", finished, "--data", digits_folder, "--json").out)
    (digits_folder / "3").rename(digits_folder / "03")
    assert "1 of its 3 classes are not the run's ('03')" in cli("evaluate", finished, "--data", digits_folder).err
    answer = cli("evaluate", finished, "--data", digits_folder, "-s", "data.join_spellings=true", "--json")
    found = json.loads(answer.out)
    assert found["scores"] == plain["scores"] and found["missing"] == plain["missing"] and "joins" not in answer.err


def test_one_class_is_enough_to_score_and_not_to_train(finished: Path, digits_folder: Path, cli: Cli) -> None:
    for name in ("1", "3"):
        shutil.rmtree(digits_folder / name)
    answer = cli("evaluate", finished, "--data", digits_folder)
    assert answer.code == 0 and "all, 6 images" in answer.out
    assert answer.err.splitlines()[0] == "6 images in 1 class (7), all in train 6"
    refused = cli("train", digits_folder, "-m", "small", "--dry-run")
    assert refused.code == 2 and "only the class '7' was found, and training needs at least 2" in refused.line


def test_how_other_data_are_read_can_be_said(finished: Path, digits_folder: Path, cli: Cli) -> None:
    for name in ("1", "3", "7"):
        (digits_folder / "new" / "a").mkdir(parents=True, exist_ok=True)
        (digits_folder / name).rename(digits_folder / "new" / "a" / name)
    (digits_folder / "new" / "b").mkdir()
    (digits_folder / "new" / "a" / "1").rename(digits_folder / "new" / "b" / "1")
    assert "are not the run's" in cli("evaluate", finished, "--data", digits_folder).line
    answer = cli("evaluate", finished, "--data", digits_folder / "new", "-s", "data.class_level=2")
    assert answer.code == 0 and "all, 18 images" in answer.out
    answer = cli(
        "evaluate", finished, "--data", digits_folder, "-s", "data.class_level=leaf", "-s", "data.label_column=x"
    )
    assert answer.code == 0 and "doubt: data.label_column does nothing for a folder of images" in answer.err
    for words, said in (
        (["-s", "data.class_level=2"], "-s data.class_level=2: says how other data are read"),
        (["--data", digits_folder, "-s", "data.limit=5"], "-s data.limit=5: evaluate takes only how data are read"),
        (["--data", digits_folder, "-s", "optim.lr=5"], "-s optim.lr=5: evaluate takes only how data are read"),
        (["--data", digits_folder, "-s", "data.test=0.5"], "give data.test=none"),
        (["--data", digits_folder, "-s", "data.clas=5"], "unknown key 'clas' in data"),
    ):
        answer = cli("evaluate", finished, *words)
        assert answer.code == 2 and said in answer.line


def test_unknown_classes_are_named_in_one_line(finished: Path, digits_folder: Path, cli: Cli) -> None:
    (digits_folder / "7").rename(digits_folder / "seven")
    answer = cli("evaluate", finished, "--data", digits_folder)
    assert answer.code == 2
    assert "'seven'" in answer.line
    assert cli("evaluate", finished, "--split", "train").line.startswith("--split")
    assert "average" in cli("evaluate", finished, "--ema").line


def images_of_every_mode(folder: Path) -> list[str]:
    folder.mkdir()
    rgb = Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8))
    for mode in ("1", "L", "LA", "P", "PA", "RGBA", "RGB"):
        rgb.convert("RGBA").convert(mode if mode != "PA" else "P").save(folder / f"{mode} 2.png")
    rgb.convert("CMYK").save(folder / "cmyk 10.jpg")
    rgb.convert("L").convert("I;16").save(folder / "i16.png")
    rgb.save(folder / "film.gif", save_all=True, append_images=[rgb.rotate(90)])
    turned = Image.Exif()
    turned[0x0112] = 6
    rgb.save(folder / "turned.jpg", exif=turned)
    return [str(path) for path in folder.iterdir()]


def test_every_mode_is_predicted_as_run_predict_does(finished: Path, cli: Cli, tmp_path: Path) -> None:
    files = images_of_every_mode(tmp_path / "in")
    lines = [json.loads(line) for line in cli("predict", finished, tmp_path / "in", "--json").out.splitlines()]
    assert sorted(line["path"] for line in lines) == sorted(files)
    expected = seedwise.load(finished).predict([line["path"] for line in lines])
    for line, row in zip(lines, expected):
        assert len(line["top"]) == 5
        assert line["top"][0]["probability"] == pytest.approx(row.max(), abs=1e-6)


def test_what_cannot_be_read_is_named_and_the_others_go_on(finished: Path, cli: Cli, tmp_path: Path) -> None:
    images_of_every_mode(tmp_path / "in")
    shutil.copy(tmp_path / "in" / "RGB 2.png", tmp_path / "in" / "RGB 10.png")
    (tmp_path / "in" / "RGB 3.png").write_bytes(b"no image")
    answer = cli("predict", finished, tmp_path / "in", "missing.png", "--top", 1)
    assert answer.code == 2
    assert answer.err.count("\n") == 2
    assert "RGB 3.png" in answer.err
    assert "missing.png: no such file" in answer.err
    names = [Path(line.split("\t")[0]).name for line in answer.out.splitlines()]
    assert len(names) == 12
    assert names.index("RGB 2.png") < names.index("RGB 10.png")


def test_paths_come_from_stdin(finished: Path, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = images_of_every_mode(tmp_path / "in")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("\n".join(files[:3]).encode())))
    assert len(cli("predict", finished, "-").out.splitlines()) == 3


def test_mirrored_views_are_scored_beside_and_leave_the_stored_scores(finished: Path, cli: Cli) -> None:
    from seedwise.run.run import load

    plain = json.loads(cli("evaluate", finished, "--json").out)
    mirrored = json.loads(cli("evaluate", finished, "--tta", "flip", "--json").out)
    assert plain["agrees"] and mirrored["agrees"] is None and mirrored["tta"] == "flip"
    assert mirrored["scores"]["loss"] != plain["scores"]["loss"]
    assert load(finished).record.final is not None
    assert cli("evaluate", finished, "--tta", "flop").line == "--tta: there is no 'flop'; give flip or five or ten"


def test_tta_says_how_many_images_it_won_and_lost(
    finished: Path, digits_folder: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network of a second answers nearly the same for every image, so views of it that differ are made up."""

    def three_right_one_wrong(model: Any, subset: Any, augment: Any, tta: Any, **more: Any) -> Predictions:
        plain = deferred_scoring.predict(model, subset, augment, **more)
        moved, rows = plain.logits.copy(), np.arange(len(plain.ids))
        right = plain.correct()
        for change, changed in ((100, rows[~right][:3]), (-100, rows[right][:1])):
            moved[changed, plain.targets[changed]] += change
        return Predictions(plain.ids, plain.targets, moved)

    monkeypatch.setattr(deferred_scoring, "predict_tta", three_right_one_wrong)
    own, plain = json.loads(cli("evaluate", finished, "--tta", "flip", "--json").out), seedwise.load(finished).record
    assert own["gain"]["without"] == plain.final.test.top1  # type: ignore[union-attr]
    assert (own["gain"]["won"], own["gain"]["lost"], own["gain"]["p"]) == (3, 1, binomtest(3, 4).pvalue)
    assert own["scores"]["top1"] == pytest.approx(own["gain"]["without"] + 2 / own["images"])
    said = cli("evaluate", finished, "--tta", "flip").out
    assert f"\n3 of {own['images']} images won by it, 1 lost\n" in said
    assert f"\nwithout it {own['gain']['without']:.4f}: +{200 / own['images']:.1f} points, interval [" in said
    other = ("evaluate", finished, "--data", digits_folder, "--json")
    plain, other = (json.loads(cli(*other, *words).out) for words in ((), ("--tta", "flip")))
    assert plain["gain"] is None and other["gain"]["without"] == plain["scores"]["top1"]
    assert other["gain"]["won"] == 3 and other["gain"]["lost"] == min(1, round(plain["scores"]["top1"] * 18))


def test_explanations_have_names_of_their_own(finished: Path, cli: Cli, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.random.default_rng(len(name)).integers(0, 256, (40, 30, 3), np.uint8)).save(
            tmp_path / name / "x.png"
        )
    answer = cli("predict", finished, tmp_path / "one", tmp_path / "two", "--explain", "-o", tmp_path / "why", "--json")
    assert answer.code == 0
    pictures = [json.loads(line)["explained"] for line in answer.out.splitlines()]
    assert len(set(pictures)) == 2 and all(min(Image.open(path).size) > SIDE for path in pictures)
