"""What a report says, against the records it is made from, without a browser."""

import html
import json
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_runs import make_ensemble, make_run, make_study
from scipy import stats
from sklearn.metrics import f1_score, recall_score

from seedwise.base.errors import UserError
from seedwise.records.finished import read_ensemble
from seedwise.records.run import (
    BAGGING,
    INSIGHT,
    PREDICTIONS,
    RECORD,
    SEAL,
    STUDY,
    Convergence,
    read_record,
    write_record,
)
from seedwise.reports import render, write_report
from seedwise.study.record import read_study

SKILLS = {"base": 3.0, "better": 6.0, "worse": 1.5, "same": 3.0, "near": 3.1}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "run"
    make_run(folder)
    return folder


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "study"
    make_study(folder, SKILLS)
    return folder


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "ensemble"
    make_ensemble(folder, (2.2, 2.0, 2.4, 1.8))
    return folder


def cells(page: str, table: str) -> list[list[str]]:
    """The words of a table's body."""
    body = re.search(rf'<table id="{table}">.*?<tbody>(.*?)</tbody>', page, re.S)
    assert body is not None
    rows = re.findall(r"<tr>(.*?)</tr>", body[1], re.S)
    return [
        [html.unescape(re.sub(r"<.*?>", "", cell)) for cell in re.findall(r"<t[hd].*?</t[hd]>", row)] for row in rows
    ]


RENDER = """
import sys
from pathlib import Path
from seedwise.reports import write_report
for name in sys.argv[1:]:
    write_report(Path(name))
assert not {"torch", "timm"} & sys.modules.keys()
"""


def test_the_same_records_give_the_same_bytes_in_another_process_without_torch(
    run: Path, study: Path, ensemble: Path, tmp_path: Path
) -> None:
    shutil.copytree(ensemble.parent / "ensemble members", tmp_path / "ensemble members")
    moved = [shutil.copytree(folder, tmp_path / folder.name) for folder in (run, study, ensemble)]
    subprocess.run([sys.executable, "-c", RENDER, *moved], check=True, env=os.environ | {"PYTHONHASHSEED": "7"})
    for folder, copy in zip((run, study, ensemble), moved):
        assert (copy / "report.html").read_text() == render(folder)


def test_nothing_in_a_page_points_elsewhere(run: Path, study: Path, ensemble: Path) -> None:
    for folder in (run, study, ensemble):
        page = render(folder)
        links = re.findall(r"""(?:src|href|action|srcset)\s*=\s*["']([^"']*)""", page)
        assert links and all(link.startswith(("#", "data:")) for link in links)
        assert "url(" not in page and "@import" not in page


def test_recall_and_macro_f1_are_those_of_scikit_learn(run: Path) -> None:
    with np.load(run / PREDICTIONS) as stored:
        targets, predicted = stored["test_targets"], stored["test_logits"].argmax(1)
    page = render(run)
    assert f"is {f1_score(targets, predicted, average='macro'):.4f}" in page
    recalls = recall_score(targets, predicted, average=None)
    assert [row[3] for row in cells(page, "by-class")] == [f"{100 * recall:.1f}" for recall in recalls]


def test_a_study_shows_the_numbers_of_its_record(study: Path) -> None:
    record, page = read_study(study), render(study)
    rows = {row[0]: row for row in cells(page, "comparisons")}
    for arm in SKILLS.keys() - {"base"}:
        found = record.comparisons[arm]["test"]
        low, high = found["ci95_simultaneous"]
        shown = [float(text.replace("−", "-")) for text in (rows[arm][1], *rows[arm][4].strip("[]").split(", "))]
        assert shown == pytest.approx([100 * found["mean"], 100 * low, 100 * high], abs=0.0051)
        assert rows[arm][7] == ("< 0.0001" if found["p_holm"] < 0.0001 else f"{found['p_holm']:.4f}")
        assert f">{found['sentence'].split(': ', 1)[1]}</li>" in html.unescape(page)
    means = {row[0]: row[2] for row in cells(page, "by-arm")}
    assert means == {arm: f"{100 * record.summary[arm]['test']['top1']['mean']:.2f}" for arm in SKILLS}
    assert "data-inert" in page and len(cells(page, "all-runs")) == 20
    assert "<td>20</td>" in page  # reads of test


def test_the_verdict_comes_before_everything_else(study: Path) -> None:
    page = render(study)
    assert 0 < page.index('data-verdict="helps"') < page.index("<svg")


def test_a_single_pair_says_what_it_cannot_say(tmp_path: Path) -> None:
    record = make_study(tmp_path / "study", {"base": 3.0, "other": 3.5}, seeds=1)
    sentence = record.comparisons["other"]["test"]["sentence"].split(": ", 1)[1]
    assert f">{sentence}</li>" in render(tmp_path / "study")


def test_a_study_without_comparisons_or_with_one_seed_has_a_page(tmp_path: Path) -> None:
    make_study(tmp_path / "old", SKILLS, compared=False)
    assert "data-verdict=" not in render(tmp_path / "old").split("</style>")[1]
    make_study(tmp_path / "single", {"base": 3.0}, seeds=1)
    assert "one seed, so no spread" in render(tmp_path / "single")


def test_a_study_of_48_runs_with_100_classes_stays_below_3_mb(tmp_path: Path) -> None:
    names = [f"a rather long class name {index}" for index in range(100)]
    skills = {"base": 3.0} | {f"arm {index}": 3.0 + index / 5 for index in range(11)}
    make_study(tmp_path / "study", skills, classes=names)
    page = write_report(tmp_path / "study").read_bytes()
    assert 100_000 < len(page) < 3_000_000 and b"class name 99" in page


def test_an_ensemble_shows_the_numbers_of_its_record(ensemble: Path) -> None:
    record, page = read_ensemble(ensemble), html.unescape(render(ensemble))
    held = record.test
    assert held is not None and held.best_member is not None
    assert page.index("The vote classifies") < page.index("<svg")
    shown = {row[1]: row[2:] for row in cells(page, "scores") if row[0] == "Test"}
    expected = [("Soft vote", held.scores), ("Mean of members", held.mean_of_members)]
    for name, scores in [*expected, ("Best member by validation", held.best_member)]:
        assert shown[name][0] == f"{100 * scores.top1:.2f}" and shown[name][2] == f"{scores.loss:.3f}"
    assert shown["Soft vote"][3] == f"{100 * held.ece:.2f}"
    assert f"Expected calibration error {100 * held.ece:.2f}%" in page  # two ways to the same number
    low, high = (f"{100 * end:+.2f}" for end in held.gain_over_mean.ci95 or ())
    assert f"{100 * held.gain_over_mean.mean:+.2f} [{low}, {high}]" in page
    assert f">4: {100 * held.scores.top1:.2f}%<" in page  # the vote of all, where the curve of its size ends
    rows = re.findall(r"<tr>(.*?)</tr>", page[page.index("on which row and column differ</caption>") :], re.S)[1:5]
    shares = np.array([[float(text) for text in re.findall(r">([\d.]+)</td>", row)] for row in rows])
    assert (shares == shares.T).all()
    assert shares[np.triu_indices(4, 1)].mean() == pytest.approx(100 * held.disagreement, abs=0.06)
    errors = [100 * (1 - member.final.test.top1) for member in record.members if member.final.test]
    assert np.diag(shares) == pytest.approx(errors, abs=0.06)
    assert "<td>5</td>" in page  # reads of test: four members and the vote


def test_the_classes_of_an_ensemble_are_those_of_scikit_learn_and_scipy(ensemble: Path) -> None:
    def said(folder: Path) -> Any:
        with np.load(folder / PREDICTIONS) as stored:
            return stored["test_targets"], stored["test_logits"].argmax(1)

    targets, vote = said(ensemble)
    places = [ensemble / member.folder for member in read_ensemble(ensemble).members]
    recalls = np.mean([recall_score(*said(place), average=None) for place in places], axis=0)
    mean = np.mean([targets == said(place)[1] for place in places], axis=0)
    found = {row[0]: row for row in cells(html.unescape(render(ensemble)), "by-class")}
    for index, recall in enumerate(recall_score(targets, vote, average=None)):
        row, own = found[f"class {index}"], targets == index
        assert [float(text) for text in row[2:4]] == pytest.approx([100 * recalls[index], 100 * recall], abs=0.0501)
        test = stats.ttest_1samp((vote == targets)[own] - mean[own], 0)
        low, high = test.confidence_interval(1 - 0.05 / 12)
        shown = [float(text.replace("−", "-").lstrip("<>")) for text in row[5].strip("[]").split(", ")]
        assert shown == pytest.approx([100 * low, 100 * high], abs=0.0051) or min(map(abs, shown)) == 0


@pytest.mark.parametrize("spoiled_by", ["gone", "another", "damaged"])
def test_a_member_that_is_not_there_is_named_and_what_it_said_is_left_out(
    ensemble: Path, tmp_path: Path, spoiled_by: str
) -> None:
    copy = shutil.copytree(ensemble, tmp_path / "ensemble")
    members = shutil.copytree(ensemble.parent / "ensemble members", tmp_path / "ensemble members")
    if spoiled_by == "damaged":
        (members / "seed-2" / PREDICTIONS).write_bytes(b"PK")
    else:
        shutil.rmtree(members / "seed-2")
    if spoiled_by == "another":
        shutil.copytree(members / "seed-1", members / "seed-2")
    page = render(copy)
    assert "ensemble members/seed-2. What needs their answers" in page
    assert 'id="disagreement"' not in page and 'id="by-class"' not in page
    assert 'id="calibration"' in page and len(cells(page, "all-members")) == 4
    (copy / PREDICTIONS).unlink()
    shutil.rmtree(members)
    page = render(copy)
    assert 'id="calibration"' not in page and 'id="gains"' in page and "0000" in page


def test_an_ensemble_of_ten_with_100_hostile_classes_stays_below_3_mb(tmp_path: Path) -> None:
    make_ensemble(tmp_path / "ten", [2.0 + k / 10 for k in range(10)], classes=[f"{EVIL} {k}" for k in range(100)])
    assert demand_safe(tmp_path / "ten")
    assert 50_000 < len(render(tmp_path / "ten")) < 3_000_000


def test_an_unfinished_bagging_says_how_to_finish_it(tmp_path: Path) -> None:
    (tmp_path / BAGGING).write_text("{}")
    with pytest.raises(UserError, match=r"not all trained; `seedwise resume` it first"):
        render(tmp_path)


def test_what_was_dropped_is_left_out(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "copy")
    (copy / INSIGHT).unlink()
    assert 'id="calibration"' in render(copy) and 'id="gradcam"' not in render(copy)
    (copy / PREDICTIONS).unlink()
    assert 'id="calibration"' not in render(copy) and 'id="curves"' in render(copy)


@pytest.mark.parametrize("name", [PREDICTIONS, INSIGHT, RECORD])
def test_a_damaged_file_is_named_in_a_line(run: Path, tmp_path: Path, name: str) -> None:
    copy = shutil.copytree(run, tmp_path / "copy")
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=f"{name}.*damaged") as error:
        render(copy)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("folder", ["run", "study", "ensemble"])
def test_korean_pages_are_korean(folder: str, request: pytest.FixtureRequest) -> None:
    page = render(request.getfixturevalue(folder), "ko")
    headings = re.findall(r"<h[23][^>]*>(.*?)</h[23]>", page)
    assert len(headings) > 7 and all(re.search("[가-힣]", heading) for heading in headings)
    with pytest.raises(UserError, match="--lang fr: choose from en, ko"):
        render(request.getfixturevalue(folder), "fr")


EVIL = "<script>alert(1)</script>"
ODD: list[Any] = [
    *(None, True, -1, 0, 1, 10**30, 10**400, 1e308, -1e308, float("nan"), float("inf"), "", EVIL, '"><img src=x>'),
    *("{0.__class__}", "%s", "\u202e", [], {}, [EVIL], {EVIL: 1}, [[1, 2]], "x" * 3000, 0.5, "finished", "running"),
]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, each in inner for place in places(each, (*path, key)))]


def spoiled(content: Any, draw: random.Random) -> str:
    """A record with one to three changes: a value replaced, a key dropped, added or renamed, or the text cut."""
    del content[SEAL]
    for _ in range(draw.randint(1, 3)):
        *path, key = draw.choice([place for place in places(content) if place])
        holder = content
        for step in path:
            holder = holder[step]
        match draw.randrange(4):
            case 0 if isinstance(holder, dict):
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder[draw.choice([EVIL, "extra", "a/b"])] = holder.pop(key)
            case _ if isinstance(holder[key], str):
                holder[key] = draw.choice([EVIL, EVIL, *ODD])
            case _:
                holder[key] = draw.choice(ODD)
    text = json.dumps(content)
    return text[: draw.randrange(len(text))] if draw.random() < 0.05 else text


def demand_safe(folder: Path) -> bool:
    """A page without live markup, or a UserError of one line; whether it was a page."""
    try:
        page = render(folder)
    except UserError as error:
        assert str(error) and "\n" not in str(error)
        return False
    assert EVIL not in page and "<img src=x>" not in page and page.count("<script>") == 1
    assert "nan" not in re.findall(r'(?:[dxy]|c[xy]|r|width|height|points)="([^"]*)"', page)
    return True


@pytest.mark.parametrize(
    ("folder", "name", "count"),
    [("run", RECORD, 150), ("study", STUDY, 50), ("study", "trial", 100), ("ensemble", RECORD, 60)],
)
def test_a_spoiled_record_gives_a_line_or_a_safe_page(
    folder: str, name: str, count: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    made = request.getfixturevalue(folder)
    copy = shutil.copytree(made, tmp_path / "copy")
    if folder == "ensemble":
        shutil.copytree(made.parent / "ensemble members", tmp_path / "ensemble members")
    path = copy / "runs" / "better" / "seed-2" / RECORD if name == "trial" else copy / name
    content = path.read_text()
    pages = 0
    for seed in range(count):
        path.write_text(spoiled(json.loads(content), random.Random(seed)))
        pages += demand_safe(copy)
    assert 2 < pages < count  # not everything is refused


def test_names_are_never_markup(tmp_path: Path) -> None:
    make_run(tmp_path / EVIL.replace("/", "-"), classes=[f"{EVIL} {index}" for index in range(12)])
    assert demand_safe(tmp_path / EVIL.replace("/", "-"))


def test_a_run_with_1000_classes_has_a_page_that_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"class {index}" for index in range(1000)]
    make_run(tmp_path / "few", classes=names)
    page = render(tmp_path / "few")  # three superclasses: a matrix of them, but none of a third of all classes
    assert 'class="matrix"' in page and page.count("matrix of 333 classes") == 2 and len(page) < 1_000_000
    monkeypatch.setattr("drawn_runs.SUPERCLASSES", [f"kind {index}" for index in range(500)])
    make_run(tmp_path / "many", classes=names)
    page = render(tmp_path / "many")
    assert 'class="matrix"' not in page and "matrix of 1000 classes" in page and len(page) < 1_000_000


def test_a_gap_the_other_way_is_not_called_overfitting(run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "copy")
    record = read_record(copy)
    assert record.final is not None and "better than images" in render(copy)
    low = record.final.train.model_copy(update={"top1": 0.25})
    write_record(copy, record.model_copy(update={"final": record.final.model_copy(update={"train": low})}))
    page = render(copy)
    assert "points worse than images" in page and "gap is the overfitting" not in page


def test_a_gap_within_the_noise_or_before_batch_norm_settled_is_not_called_overfitting(
    run: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(run, tmp_path / "copy")
    record = read_record(copy)
    final, splits = record.final, record.data.splits
    assert final is not None and final.test is not None

    def page(train: float, lag: float | None, images: int) -> str:
        scored = final.model_copy(update={"train": final.train.model_copy(update={"top1": train})})
        data = record.data.model_copy(update={"splits": splits | {"train": images, "test": images}})
        found = Convergence(steps=3, few_steps=False, rising=False, rise=None, noise=None, lag=lag)
        write_record(copy, record.model_copy(update={"final": scored, "data": data, "convergence": found}))
        return render(copy)

    top1 = final.test.top1
    assert "gap is the overfitting" in page(min(1.0, top1 + 0.2), 0.0, 5000)
    assert "no sign of overfitting" in page(top1 + 0.01, 0.0, 100)
    unsettled = page(min(1.0, top1 + 0.2), 0.73, 5000)
    assert "Not yet to be called overfitting" in unsettled and "still 73% those of before training" in unsettled


@pytest.mark.parametrize(("language", "words"), [("en", "Not converged:"), ("ko", "덜 학습되었습니다.")])
def test_a_run_that_was_too_short_says_so_at_the_top(run: Path, tmp_path: Path, language: str, words: str) -> None:
    copy = shutil.copytree(run, tmp_path / "copy")
    record = read_record(copy)
    found = Convergence(steps=36, few_steps=True, rising=True, rise=0.065, noise=0.04, lag=0.02)
    write_record(copy, record.model_copy(update={"convergence": found}))
    page = render(copy, language)
    assert words in page and "36" in page and "6.5" in page and "--epochs " in page
    reached = found.model_copy(update={"few_steps": False, "rising": False})
    write_record(copy, record.model_copy(update={"convergence": reached}))
    assert words not in render(copy, language)
