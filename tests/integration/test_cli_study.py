"""`seedwise train --seeds`: which seeds, what the study folder holds, and the summary's arithmetic."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import TINY, Cli
from made_runs import answers_for, make_study
from scipy import stats

from seedwise.base.files import sha256_of
from seedwise.recipe import library
from seedwise.records.checksum import SEAL, seal
from seedwise.study.record import parse_seeds

FAST = (*TINY, "-s", "data.limit=60")

DEMO_LR = library.read("demo").optim.lr


def study_of(folder: Path | str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((Path(folder) / "study.json").read_text())
    assert len(content.pop("sha256")) == 64  # the study's own
    return content


@pytest.mark.parametrize("master_seed", [0, 1, 2**63 - 1])
def test_five_seeds_are_the_first_of_eight(master_seed: int) -> None:
    eight = parse_seeds("8", master_seed)
    assert parse_seeds("5", master_seed) == eight[:5] and len(set(eight)) == 8 and min(eight) >= 0
    assert parse_seeds("3,7,11", master_seed) == (3, 7, 11) and parse_seeds("4,", master_seed) == (4,)


def test_a_study_holds_its_runs_and_its_summary_is_students_interval(cli: Cli) -> None:
    answer = cli("train", "digits", *FAST, "--seeds", "3,7,11", "-o", "a study")
    assert answer.code == 0
    study = study_of("a study")
    assert study["seeds"] == [3, 7, 11] and study["master_seed"] == 0 and study["data"] == "digits"
    assert [trial["folder"] for trial in study["trials"]] == [f"runs/base/seed-{n}" for n in (3, 7, 11)]
    assert {trial["status"] for trial in study["trials"]} == {"finished"}
    records = [json.loads(Path("a study", trial["folder"], "record.json").read_text()) for trial in study["trials"]]
    assert [record["seed"] for record in records] == [3, 7, 11]
    assert len({record["files"]["model.safetensors"] for record in records}) == 3
    for split in ("train", "val", "test"):
        for score in ("top1", "top5", "loss"):
            values = [record["final"][split][score] for record in records]
            summary = study["summary"]["base"][split][score]
            assert summary["values"] == values and summary["n"] == 3
            mean, half = np.mean(values), stats.t.ppf(0.975, 2) * stats.sem(values)
            assert summary["mean"] == pytest.approx(mean)
            assert summary["sd"] == pytest.approx(np.std(values, ddof=1))
            assert summary["ci95"] == pytest.approx([mean - half, mean + half])
    tops = study["summary"]["base"]["test"]["top1"]
    low, high = tops["ci95"]
    line = f"test top-1 {tops['mean']:.4f} ± {tops['sd']:.4f} (n=3), 95% CI [{low:.4f}, {high:.4f}]"
    assert line in answer.out.splitlines()
    assert [row.split()[0] for row in answer.out.splitlines()[1:4]] == ["3", "7", "11"]
    assert answer.out.endswith("files: a study\n")
    assert re.findall(r"^\[\d/3\].*", answer.err, re.M) == [
        f"[{i}/3] base, seed {n}" for i, n in enumerate((3, 7, 11), 1)
    ]
    assert json.loads(cli("resume", "a study", "--json").out) == study


@pytest.mark.slow
def test_more_seeds_complete_the_folder_and_keep_what_is_there(cli: Cli) -> None:
    assert cli("train", "digits", *FAST, "--seeds", 1, "-o", "study").code == 0
    first = study_of("study")
    assert len(first["seeds"]) == 1 and (Path("study/runs/base") / f"seed-{first['seeds'][0]}/record.json").exists()
    run = Path("study", first["trials"][0]["folder"])
    before = (run / "record.json").stat().st_mtime_ns
    answer = cli("train", "digits", *FAST, "--seeds", 2, "-o", "study", "--json")
    assert answer.code == 0 and json.loads(answer.out) == study_of("study")
    assert study_of("study")["seeds"] == list(parse_seeds("2", 0))
    assert (run / "record.json").stat().st_mtime_ns == before
    assert cli("train", "digits", *FAST, "--seeds", 1, "-o", "study").code == 0
    assert len(study_of("study")["seeds"]) == 2


def test_a_study_is_refused_for_another_recipe_other_data_or_a_single_run(cli: Cli, photos: Path) -> None:
    assert cli("train", "digits", *FAST, "--seeds", "5,", "-o", "study").code == 0
    before = sha256_of(Path("study/study.json"))
    for changed, said in (
        (["--lr", 0.5], f"study: holds another recipe: optim.lr: {DEMO_LR} -> 0.5; choose another folder with -o"),
        (["-s", "seed=1"], "study: holds another recipe: seed: 0 -> 1; choose another folder with -o"),
    ):
        answer = cli("train", "digits", *FAST, *changed, "--seeds", "5,6", "-o", "study")
        assert (answer.code, answer.line) == (2, said)
    for arguments, said in (
        (["train", "digits", *FAST, "--seed", 5, "-o", "study"], "study: holds a study, not a single run"),
        (
            ["train", photos, "-r", "demo", *FAST, "--seeds", "5,6", "-o", "study"],
            "study: holds a run on digits, not on",
        ),
    ):
        answer = cli(*arguments)
        assert answer.code == 2 and said in answer.line
    assert sha256_of(Path("study/study.json")) == before


def test_a_seed_alone_is_the_same_run_as_in_a_study(cli: Cli) -> None:
    assert cli("train", "digits", *FAST, "--seeds", "4,", "-o", "study").code == 0
    assert cli("train", "digits", *FAST, "--seed", 4, "-o", "single").code == 0
    in_study = Path("study/runs/base/seed-4/model.safetensors")
    assert sha256_of(in_study) == sha256_of(Path("single/model.safetensors"))


def test_a_run_that_diverges_does_not_cost_the_others(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from seedwise.base.errors import UserError
    from seedwise.run import train

    fit = train.fit

    def diverging(setup: Any, **rest: Any) -> Any:
        if setup.seed == 5:
            raise UserError("the loss is not finite")
        return fit(setup, **rest)

    monkeypatch.setattr(train, "fit", diverging)
    answer = cli("train", "digits", *FAST, "--seeds", "5,6", "-o", "study")
    assert (
        answer.code == 2 and answer.err.splitlines()[-1] == "1 of 2 runs failed: base, seed 5: the loss is not finite"
    )
    assert [trial["status"] for trial in study_of("study")["trials"]] == ["failed", "finished"]
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: text[: len(text) // 2], "study.json:"),
        (lambda text: text.replace('"schema_version": 1', '"schema_version": 99'), "schema version 99"),
        (lambda text: text.replace('"seeds"', '"sedes"'), "damaged at seeds"),
        (lambda text: "[]", "schema version None"),
        (lambda text: text.replace('"epochs": 1', '"epochs": 0'), "its checksum is not the one in it"),
    ],
)
def test_a_damaged_study_is_named_and_can_be_made_anew(cli: Cli, damage: Any, said: str) -> None:
    assert cli("train", "digits", *FAST, "--seeds", "5,", "-o", "study").code == 0
    path = Path("study/study.json")
    before = path.read_text()
    path.write_text(damage(before))
    for verb in (["resume", "study"], ["train", "digits", *FAST, "--seeds", "5,", "-o", "study"]):
        answer = cli(*verb)
        assert answer.code == 2 and said in answer.line and "study/study.json" in answer.line
    path.unlink()
    assert cli("train", "digits", *FAST, "--seeds", "5,", "-o", "study").code == 0
    assert path.read_text() == before


@pytest.mark.parametrize(
    "change",
    [
        {"trials": ["x"]},
        {"trials": [{"arm": "nobody", "seed": 7, "folder": "runs/nobody/seed-7", "status": "finished"}]},
        {"arms": {}},
        {"summary": {"base": 1}},
        {"primary": {"split": "train"}},
        {"seeds": None},
        {"commands": ["seedwise ablate 'photos"]},
        {"jobs": 0, "looks": [{}]},
    ],
    ids=str,
)
def test_a_study_that_makes_no_sense_is_named_even_if_its_checksum_fits(cli: Cli, change: dict[str, Any]) -> None:
    targets = [0, 1, 2, 3]
    make_study(Path("study"), targets, {"base": {7: {"test": answers_for(targets, [True] * 4)}}})
    path = Path("study/study.json")
    content = {key: value for key, value in json.loads(path.read_text()).items() if key != SEAL} | change
    path.write_text(json.dumps(content | {SEAL: seal(content)}))
    refused = cli("report", "study")
    assert refused.code == 2 and refused.line.startswith("study/study.json: damaged")
    shown = cli("status", "study")  # which believes the checksum as far as it can
    assert shown.code == 0 or (shown.code, shown.err) == (2, refused.err)


def test_a_study_without_its_verdicts_is_one_line(cli: Cli) -> None:
    """What the careful readers can't see either: a comparison with a key missing, under a checksum that fits."""
    targets, right = [0, 1, 2, 3], [True, True, True, False]
    arms = {arm: {seed: {"test": answers_for(targets, right)} for seed in (7, 8)} for arm in ("base", "other")}
    make_study(Path("study"), targets, arms)
    path = Path("study/study.json")
    content = {key: value for key, value in json.loads(path.read_text()).items() if key != SEAL}
    content["comparisons"] = {"other": {content["primary"]["split"]: {"mean": 0.0, "ci95": None, "p_holm": None}}}
    path.write_text(json.dumps(content | {SEAL: seal(content)}))
    shown = cli("status", "study")
    assert shown.code == 2 and shown.err.startswith("study: its record makes no sense (KeyError: 'sentence'); restore")
    assert shown.err.count("\n") == 1
