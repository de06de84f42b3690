"""`seedwise ensemble`: what the vote gains by scipy's account, moved folders, and members that don't fit."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import TINY, Cli, call
from made_runs import make_run
from scipy import special, stats

import seedwise
from seedwise.base.errors import UserError
from seedwise.base.files import sha256_of
from seedwise.ensembles.model import Ensemble

IMAGES = 300
LABELS = np.arange(IMAGES) % 4


def logits(seed: int, skill: float = 1.0) -> Any:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(IMAGES, 4)) + skill * (LABELS[:, None] == np.arange(4))).astype(np.float32)


def runs(root: Path, count: int = 5, **options: Any) -> list[Path]:
    made = []
    for seed in range(count):
        given = {"val": logits(seed, 1 + seed / 10), "test": logits(100 + seed)}
        made.append(make_run(root / f"seed-{seed}", LABELS, given, seed=seed, train_top1=0.95, **options))
    return made


def together(cli: Cli, *arguments: Any) -> dict[str, Any]:
    answer = cli("ensemble", *arguments, "--json")
    assert answer.code == 0, answer.err
    found: dict[str, Any] = json.loads(answer.out)
    return found


def right(given: Any) -> Any:
    return np.asarray(given).argmax(axis=1) == LABELS


def test_the_record_holds_what_the_vote_gains(cli: Cli, tmp_path: Path) -> None:
    runs(tmp_path / "runs")
    found = together(cli, "runs", "-o", "all")
    members = np.stack([logits(100 + seed) for seed in range(5)])
    mean = special.softmax(members.astype(np.float64), axis=-1).mean(axis=0)
    ours, theirs = right(mean), np.stack([right(one) for one in members])
    test = found["test"]
    assert test["scores"]["top1"] == ours.mean() and test["mean_of_members"]["top1"] == pytest.approx(theirs.mean())
    assert test["scores"]["loss"] == pytest.approx(-np.log(mean[np.arange(IMAGES), LABELS]).mean(), abs=1e-6)
    difference = ours - theirs.mean(axis=0)
    t = stats.ttest_1samp(difference, 0)
    assert test["gain_over_mean"]["mean"] == pytest.approx(difference.mean())
    assert test["gain_over_mean"]["p"] == pytest.approx(t.pvalue, abs=1e-9)
    assert test["gain_over_mean"]["ci95"] == pytest.approx(list(t.confidence_interval(0.95)), abs=1e-9)
    on_val = [right(logits(seed, 1 + seed / 10)).mean() for seed in range(5)]
    best = theirs[int(np.argmax(on_val))]
    assert found["best"] == int(np.argmax(on_val)) and test["best_member"]["top1"] == best.mean()
    up, down = int((ours & ~best).sum()), int((best & ~ours).sum())
    assert test["gain_over_best"]["p"] == pytest.approx(stats.binomtest(up, up + down).pvalue, abs=1e-9)
    assert found["networks"] == 5 and found["parameters"] == 5000 and found["relative_time"] == 5
    assert found["seconds"]["train"] == 50 and found["test_evaluations"] == 1
    for seed, member in enumerate(found["members"]):
        assert member["folder"] == f"../runs/seed-{seed}" and member["weight"] == pytest.approx(0.2)
        assert member["gap"] == pytest.approx(0.95 - theirs[seed].mean())
    out = cli("ensemble", "runs", "-o", "all").out
    assert f"soft vote{ours.mean():>23.4f}" in out and "gain over the best member: +" in out and "files: all" in out


def test_the_same_command_changes_nothing_and_another_vote_needs_another_folder(cli: Cli, tmp_path: Path) -> None:
    runs(tmp_path / "runs")
    together(cli, "runs", "-o", "all")
    before = sha256_of(Path("all/record.json"))
    assert together(cli, "runs", "-o", "all")["test_evaluations"] == 1 and sha256_of(Path("all/record.json")) == before
    answer = cli("ensemble", "runs", "-o", "all", "--vote", "hard")
    assert answer.code == 2 and answer.line == "all: holds another ensemble; choose another folder with -o"
    assert sha256_of(Path("all/record.json")) == before


def test_a_page_is_left_in_the_folder_and_one_that_cannot_be_made_costs_nothing(cli: Cli, tmp_path: Path) -> None:
    runs(tmp_path / "runs")
    answer = cli("ensemble", "runs", "-o", "all", "--voters", "greedy")
    assert answer.code == 0 and answer.out.endswith("report: all/report.html\nfiles: all\n")
    page = Path("all/report.html").read_bytes()
    assert b"The vote classifies" in page and b"../runs/seed-3" in page
    Path("all/report.html").unlink()
    assert cli("report", "all").out == "all/report.html\n" and Path("all/report.html").read_bytes() == page
    assert cli("report", "all", "-o", "ko.html", "--lang", "ko").code == 0 and "투표" in Path("ko.html").read_text()
    Path("all/report.html").unlink()
    Path("all/report.html").mkdir()
    answer = cli("ensemble", "runs", "-o", "all", "--voters", "greedy")
    assert answer.code == 0 and answer.err.startswith("no report: all/report.html: is a folder")


def test_weights_and_selection_come_from_validation(cli: Cli, tmp_path: Path) -> None:
    useless = {"val": -5 * logits(0, 9), "test": logits(100, 9)}  # the best on test, and no use on validation
    made = runs(tmp_path / "runs", 3)
    made.append(make_run(tmp_path / "runs/seed-3", LABELS, useless, seed=3))
    weighted = together(cli, *made, "--vote", "weighted", "-o", "weighted")
    greedy = together(cli, *made, "--voters", "greedy", "-o", "greedy")
    for found in (weighted, greedy):
        weights = [member["weight"] for member in found["members"]]
        assert sum(weights) == pytest.approx(1) and weights[3] < 1e-3
    assert greedy["members"][3]["picks"] == 0 and greedy["networks"] < 4
    equal = together(cli, *made, "-o", "equal")
    assert weighted["val"]["scores"]["loss"] < equal["val"]["scores"]["loss"]
    assert greedy["val"]["scores"]["top1"] >= max(member["final"]["val"]["top1"] for member in greedy["members"])


def test_an_ensemble_can_be_compared(cli: Cli, tmp_path: Path) -> None:
    runs(tmp_path / "runs")
    for vote in ("soft", "hard"):
        together(cli, "runs", "--vote", vote, "-o", vote)
    answer = cli("compare", "hard", "soft", "runs", "--json")
    found = json.loads(answer.out)
    assert found["arms"]["soft"]["kind"] == "ensemble" and found["arms"]["soft"]["seeds"] == [None]
    record = json.loads(Path("soft/record.json").read_text())
    assert found["arms"]["soft"]["mean"] == record["test"]["scores"]["top1"]
    assert found["comparisons"]["soft"]["test"]["p_mcnemar"] is not None
    assert found["comparisons"]["soft"]["test"]["seeds"] == []


def test_members_that_do_not_fit_are_refused_and_leave_no_folder(cli: Cli, tmp_path: Path) -> None:
    one, two = runs(tmp_path / "runs", 2)
    given = {"val": logits(0), "test": logits(1)}
    make_run(tmp_path / "split", LABELS, given, ids={"val": np.arange(IMAGES) + 7})
    make_run(tmp_path / "labels", {"val": LABELS, "test": LABELS[::-1]}, given)  # type: ignore[arg-type]
    make_run(tmp_path / "classes", LABELS, given, classes=["a", "b", "c", "d"])
    make_run(tmp_path / "order", LABELS, given, classes=["bear", "cod", "trout", "rose"])
    make_run(tmp_path / "data", LABELS, given, fingerprint="0" * 64)
    make_run(tmp_path / "stopped", LABELS, given, status="interrupted")
    for number in range(2):
        make_run(tmp_path / f"blind/{number}", LABELS, {"test": logits(number)}, seed=number)
    for file in ("predictions.npz", "record.json"):
        folder = Path(shutil.copytree(one, tmp_path / f"bad {file}"))
        content = bytearray((folder / file).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / file).write_bytes(content)
    assert cli("ensemble", one, two, "-o", "fine").code == 0
    for arguments, said in (
        ([one, "split"], "were scored on other val images (300 and 300 of them)"),
        ([one, "labels"], "were scored on other test images"),
        ([one, "classes"], "have other classes (4 with 'a'; 4 with 'bear')"),
        ([one, "order"], "have other classes (the same in another order: class 2 is trout, and rose)"),
        ([one, "data"], "were trained on other data"),
        ([one, "stopped"], "stopped: not finished (status: interrupted); `seedwise resume` it first"),
        ([one], "an ensemble needs two runs or more"),
        ([one, one], "is given twice"),
        ([one, "fine"], "fine: is an ensemble itself; give its members"),
        ([one, "nowhere"], "nowhere: no such folder"),
        ([one, "bad predictions.npz"], "bad predictions.npz/predictions.npz: damaged, its checksum"),
        ([one, "bad record.json"], "bad record.json/record.json"),
        (["blind", "--vote", "weighted"], "--vote weighted: needs validation images"),
        (["blind", "--voters", "greedy"], "--voters greedy: needs validation images"),
        ([one, two, "--vote", "loud"], "--vote loud: give soft, hard or weighted"),
        ([one, two, "--voters", "none"], "--voters none: give all or greedy"),
    ):
        answer = cli("ensemble", *arguments, "-o", "new")
        assert answer.code == 2 and said in answer.line, answer
        assert not Path("new").exists()
    Path("mine").mkdir()
    Path("mine/notes.txt").write_text("mine")
    for folder, said in ((one, "holds a run"), ("mine", "holds other files (notes.txt)")):  # type: ignore[assignment]
        answer = cli("ensemble", one, two, "-o", folder)
        assert answer.code == 2 and said in answer.line
    assert sorted(path.name for path in Path("mine").iterdir()) == ["notes.txt"]
    found = together(cli, "blind", "-o", "without val")
    assert found["best"] is None and found["val"] is None and found["test"]["gain_over_best"] is None
    page = Path("without val/report.html").read_text()
    assert "The vote classifies" in page and 'data-arm="mean"' in page and 'data-arm="best"' not in page


@pytest.fixture(scope="module")
def trained_once(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "study"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEEDWISE_CACHE", str(cache))
        assert call("train", "digits", *TINY, "-s", "data.limit=60", "--seeds", "1,2,3", "-o", folder) == 0
    return folder


@pytest.mark.parametrize("vote", ["soft", "hard", "weighted"])
def test_it_predicts_as_its_members_vote_wherever_the_folders_were_moved(
    cli: Cli, trained_once: Path, tmp_path: Path, vote: str
) -> None:
    study = Path(shutil.copytree(trained_once, tmp_path / "here/study"))
    together(cli, study, "--vote", vote, "-o", tmp_path / "here/all")
    (tmp_path / "here").rename(tmp_path / "there")
    loaded = seedwise.load("there/all")
    assert isinstance(loaded, Ensemble) and loaded.classes == [str(digit) for digit in range(10)]
    images = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), np.uint8)
    each = np.stack([seedwise.load(path).predict(images) for path in sorted(Path("there/study/runs/base").iterdir())])
    weights = np.array([member.weight for member in loaded.record.members])
    expected = np.average(each, axis=0, weights=weights)
    if vote == "hard":
        expected = ((each.argmax(axis=2)[..., None] == np.arange(10)).sum(axis=0) + expected) / 4
    assert loaded.predict(images) == pytest.approx(expected, abs=1e-6)
    ids, targets, log_p = loaded.logits("test")
    assert len(ids) == len(targets) == len(log_p) and np.exp(log_p).sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_a_member_that_is_gone_or_another_is_named_when_it_is_needed(
    cli: Cli, trained_once: Path, tmp_path: Path
) -> None:
    study = Path(shutil.copytree(trained_once, tmp_path / "study"))
    together(cli, study, "-o", "all")
    image = np.zeros((1, 16, 16, 3), np.uint8)
    member = study / "runs/base/seed-2"
    shutil.copy(member / "model.safetensors", "kept")
    (member / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"seed-2/model\.safetensors: damaged"):
        seedwise.load("all").predict(image)
    shutil.rmtree(member)
    with pytest.raises(UserError, match="seed-2: this member of all is gone"):
        seedwise.load("all").predict(image)
    assert len(seedwise.load("all").logits("test")[0]) > 0  # what was stored doesn't need it
    shutil.copytree(study / "runs/base/seed-1", member)
    with pytest.raises(UserError, match="seed-2: is another run than the one"):
        seedwise.load("all").predict(image)


@pytest.mark.parametrize("verb", ["resume", "train"])
def test_an_ensemble_is_no_run_to_train(cli: Cli, tmp_path: Path, verb: str) -> None:
    runs(tmp_path / "runs", 2)
    together(cli, "runs", "-o", "all")
    before = sha256_of(Path("all/record.json"))
    words = ["resume", "all"] if verb == "resume" else ["train", "digits", *TINY, "-o", "all"]
    answer = cli(*words)
    assert answer.code == 2 and "ensemble" in answer.line and sha256_of(Path("all/record.json")) == before
