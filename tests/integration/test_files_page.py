"""docs/files.md: what is said to be spared is spared, and what is said to be needed is missed."""

import re
import shutil
from pathlib import Path

import pytest
from command_line import Cli
from made_runs import answers_for, make_run

PAGE = Path(__file__).parents[2] / "docs" / "files.md"
ROWS = re.findall(r"^\| `([\w.]+)` \|[^|]+\| ([^|]+) \| ([^|]+) \|$", PAGE.read_text().split("## A study")[0], re.M)
SPARED = [name for name, may_go, _ in ROWS if may_go.startswith("yes")]
FILES = {"train.log": "", "metrics.jsonl": "", ".lock": "", "config.json": "{}"}
VERBS = {
    "report": lambda run: ["report", run, "-o", "page.html"],
    "compare": lambda run: ["compare", "other", run],
    "ensemble": lambda run: ["ensemble", "other", run, "-o", "together"],
    "status": lambda run: ["status", run],
}


@pytest.fixture
def runs() -> None:
    targets = [0, 1, 2, 3] * 5
    for seed, name in ((1, "run"), (2, "other")):
        right = [number % (seed + 2) > 0 for number in range(20)]
        answers = {split: answers_for(targets, right) for split in ("val", "test")}
        folder = make_run(Path(name), targets, answers, seed=seed)
        for file, content in FILES.items():
            (folder / file).write_text(content)


def test_the_page_has_the_files_of_a_run() -> None:
    assert {"record.json", "recipe.yaml", "predictions.npz", "model.safetensors", "report.html"} <= {
        it[0] for it in ROWS
    }
    assert {"insight.npz", "metrics.jsonl", "train.log", "report.html", ".lock"} == set(SPARED)


def test_without_what_may_go_all_is_as_before(runs: None, cli: Cli) -> None:
    for name in [*SPARED, "model.safetensors", "config.json", "ema.safetensors"]:
        (Path("run") / name).unlink(missing_ok=True)
    for verb, words in VERBS.items():
        assert cli(*words("run")).code == 0, verb


@pytest.mark.parametrize(
    ("name", "missed_by"),
    [
        ("record.json", {"report", "compare", "ensemble", "status"}),
        ("recipe.yaml", {"report", "compare"}),
        ("predictions.npz", {"compare", "ensemble"}),
    ],
)
def test_what_is_needed_is_missed_by_the_verbs_that_the_page_names(
    name: str, missed_by: set[str], runs: None, cli: Cli
) -> None:
    (Path("run") / name).unlink()
    for verb, words in VERBS.items():
        shutil.rmtree("together", ignore_errors=True)
        answer = cli(*words("run"))
        assert (answer.code == 2) == (verb in missed_by), (verb, answer)
        assert answer.code == 0 or "run" in answer.line
