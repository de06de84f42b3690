"""`seedwise report`, and the report that comes by itself."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import LEAN, Cli, call
from made_runs import answers_for, make_run

from seedwise.cli.print_run import print_run
from seedwise.ensembles.build import build
from seedwise.records.finished import read_finished
from seedwise.records.run import INSIGHT, Timed, read_record, write_record
from seedwise.reports import render


@pytest.fixture(scope="module")
def pictured(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of LEAN, with pictures; not to be touched."""
    folder = tmp_path_factory.mktemp("pictured") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEEDWISE_CACHE", str(cache))
        assert call("train", *LEAN, "-s", "train.insight=true", "-o", folder) == 0
    return folder


def test_a_run_and_a_study_leave_a_report(cli: Cli, pictured: Path) -> None:
    page = (pictured / "report.html").read_text()
    assert all(f'id="{part}"' in page for part in ("curves", "confusion", "calibration", "errors", "gradcam"))
    study = [word for word in LEAN if word != "--seed" and word != "3"]
    answer = cli("train", *study, "--seeds", "3,4", "-o", "study")
    assert answer.code == 0 and f"report: {Path('study/report.html')}\n" in answer.out
    assert 'id="seeds"' in Path("study/report.html").read_text()
    Path("study/report.html").unlink()
    answer = cli("resume", "study", "--json")
    assert json.loads(answer.out)["kind"] == "study"
    assert Path("study/report.html").exists()


def test_a_report_is_written_where_and_in_what_language_it_is_wanted(cli: Cli, whole_once: Path) -> None:
    assert cli("report", whole_once, "-o", "page.html").out == "page.html\n"
    assert Path("page.html").read_bytes() == (whole_once / "report.html").read_bytes()
    assert cli("report", whole_once, "-o", "ko.html", "--lang", "ko").code == 0
    assert '<html lang="ko">' in Path("ko.html").read_text()


def test_insight_is_small_sealed_and_changes_nothing_else(pictured: Path, whole_once: Path) -> None:
    assert INSIGHT in read_record(pictured).files and (pictured / INSIGHT).stat().st_size < 300_000
    assert not (whole_once / INSIGHT).exists() and INSIGHT not in read_record(whole_once).files
    assert (pictured / "model.safetensors").read_bytes() == (whole_once / "model.safetensors").read_bytes()
    assert (pictured / "predictions.npz").read_bytes() == (whole_once / "predictions.npz").read_bytes()
    assert 'id="gradcam"' not in (whole_once / "report.html").read_text()


def test_insight_shows_the_most_confident_errors(pictured: Path) -> None:
    with np.load(pictured / "predictions.npz") as stored:
        targets, logits = stored["test_targets"], stored["test_logits"].astype(np.float64)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    wrong = np.flatnonzero(logits.argmax(axis=1) != targets)
    expected = wrong[np.argsort(-shares[wrong].max(axis=1), kind="stable")][:12]
    with np.load(pictured / INSIGHT) as stored:
        np.testing.assert_array_equal(stored["errors_rows"], expected)
        assert len(stored["errors_ends"]) == len(expected) > 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "nowhere: no such folder"),
        (["."], "neither a run, a study nor an ensemble"),
        (["run", "--lang", "fr"], "--lang fr: choose from en, ko"),
        (["run", "-o", "no/page.html"], "no: no such folder; create it first"),
        (["run", "-o", "run"], "run: is a folder; give an HTML file to write"),
    ],
)
def test_a_mistake_is_a_line(cli: Cli, whole_once: Path, arguments: list[str], said: str) -> None:
    shutil.copytree(whole_once, "run")
    answer = cli("report", *arguments)
    assert answer.code == 2 and said in answer.line


def test_a_report_that_cannot_be_made_costs_no_run(cli: Cli) -> None:
    Path("run/report.html").mkdir(parents=True)
    Path("run/.lock").touch()
    answer = cli("train", *LEAN, "-o", "run")
    assert answer.code == 0 and "no report: run/report.html: is a folder" in answer.err
    assert read_record(Path("run")).status == "finished"


def test_an_unfinished_run_has_a_report_that_says_so(cli: Cli, halfway_once: Path) -> None:
    assert cli("report", halfway_once, "-o", "page.html").code == 0
    assert "stopped before its end" in Path("page.html").read_text()


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", "(--time 2m), which cut what the rule for such data would take: 5 of the 9 epochs, 96 px in place of 1"),
        ("ko", "9 에폭 대신 5 에폭, 128 px 대신 96 px."),
    ],
)
def test_a_run_that_was_cut_by_its_time_says_so(tmp_path: Path, language: str, words: str) -> None:
    run = make_run(tmp_path / "run", [0, 1, 2, 3], {"test": answers_for([0, 1, 2, 3], [1, 1, 1, 0])}, curve=[0.5])
    record, cut = read_record(run), Timed(seconds=120, epochs=5, rule_epochs=9, image_size=96, rule_image_size=128)
    write_record(run, record.model_copy(update={"timed": cut}))
    assert words in render(run, language)
    whole = cut.model_copy(update={"epochs": 9, "image_size": 128})
    write_record(run, record.model_copy(update={"timed": whole}))
    assert "data-cut" not in render(run, language)


@pytest.mark.parametrize(("count", "is_told"), [(2, False), (5, False), (6, True)])
def test_top5_is_told_only_where_it_can_be_less_than_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], count: int, is_told: bool
) -> None:
    targets, names = np.arange(12) % count, [f"class {number}" for number in range(count)]
    right = {split: answers_for(targets, np.arange(12) < 8, count) for split in ("val", "test")}
    folders = [make_run(tmp_path / name, targets, right, seed=seed, classes=names) for seed, name in enumerate("ab")]
    print_run(folders[0], read_record(folders[0]), as_json=False)
    assert ("top-5" in capsys.readouterr().out) == is_told
    build([read_finished(folder) for folder in folders], tmp_path / "both")
    for folder in (folders[0], tmp_path / "both"):
        assert ("top-5" in render(folder)) == is_told
