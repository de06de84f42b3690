"""seedwise-stats: what works where torch isn't installed, and what the verbs that need it say."""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from made_runs import answers_for, make_study

from seedwise.study.progress import trial_folder

ROOT = Path(__file__).parents[2]
BLOCKED = ("torch", "torchvision", "timm", "safetensors", "huggingface_hub", "pyarrow", "sklearn", "matplotlib")
WORK = (
    *(("status", "study"), ("status", "study", "--json"), ("compare", "study"), ("compare", "study", "--json")),
    *(("report", "study"), ("report", "study/runs/base/seed-7"), ("errors", "study/runs/base/seed-7")),
    ("ensemble", "study/runs/base/seed-7", "study/runs/base/seed-8", "-o", "vote"),
    *(("report", "vote"), ("recipes", "validate", "lite"), ("techniques", "ls"), ("cache",), ("--version",)),
)
NEED_TORCH = (
    *(("train", "digits"), ("train", "digits", "--seeds", "3"), ("train", "digits", "--bagging", "2")),
    *(("ablate", "digits", "--toggle", "cutmix"), ("sweep", "digits", "-s", "optim.lr=1e-3,2e-3")),
    *(("resume", "study"), ("evaluate", "study/runs/base/seed-7"), ("predict", "study/runs/base/seed-7", "photo.png")),
    *(("audit", "digits"), ("lr-find", "digits"), ("augment", "digits", "-o", "grid.png")),
)
VERBS = """
import contextlib, io, json, sys
from pathlib import Path

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in %r:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from seedwise.cli import main

answers = []
for words in json.loads(sys.argv[1]):
    sys.argv[1:] = words
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as stop:
        answers.append((stop.code, out.getvalue(), err.getvalue()))
print(json.dumps(answers))
"""


def made_study() -> None:
    targets = [0, 1, 2, 3] * 5
    right = {"base": [True, True, True, False] * 5, "no-flip": [True, False, True, False] * 5}
    make_study(
        Path("study"),
        targets,
        {arm: {seed: {"test": answers_for(targets, right[arm])} for seed in (7, 8, 9)} for arm in right},
    )
    Path("photo.png").write_bytes(b"")


def answers(python: Sequence[str | Path], every: Sequence[Sequence[str]]) -> list[tuple[int, str, str]]:
    """(code, stdout, stderr) of each command, in one process."""
    words = [*python, VERBS % (BLOCKED,), json.dumps(every)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [(code, out, err) for code, out, err in json.loads(done.stdout)]


def demand_all(python: Sequence[str | Path], install: str) -> None:
    made_study()
    for words, (code, out, err) in zip(WORK, answers(python, WORK), strict=True):
        assert (code, "Traceback" in err) == (0, False), (words, err)
        assert out, words
    for page in ("study/report.html", f"study/{trial_folder('base', 7)}/report.html", "vote/report.html"):
        assert "<svg" in Path(page).read_text()
    files = {path: path.stat().st_size for path in Path().rglob("*")}
    for words, (code, out, err) in zip(NEED_TORCH, answers(python, NEED_TORCH), strict=True):
        last = err.splitlines()[-1]
        assert (code, out) == (2, ""), (words, err)
        needs = (
            rf"{words[0]}: needs (torch|timm), which is not installed here; pip install {re.escape(install)} brings it"
        )
        assert re.fullmatch(needs, last) and "Traceback" not in err, (words, err)
    assert {path: path.stat().st_size for path in Path().rglob("*")} == files, "nothing is left, nothing is lost"


def test_verbs_without_torch() -> None:
    demand_all([sys.executable, "-c"], "seedwise")


@pytest.mark.slow
def test_an_environment_without_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made by pip, from the registry; the same commands as a user's."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    place = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    python = place / "bin/python"
    installed = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", ROOT / "stats"], capture_output=True, text=True, check=False
    )
    if installed.returncode and re.search(r"connection|name resolution|timed out", installed.stderr, re.IGNORECASE):
        pytest.skip("no package registry can be reached")
    assert installed.returncode == 0, installed.stderr
    listed = subprocess.run([python, "-m", "pip", "list", "--format=json"], capture_output=True, text=True, check=True)
    names = {each["name"] for each in json.loads(listed.stdout)}
    assert "seedwise-stats" in names and not names & {"torch", "timm", "seedwise", "pyarrow", "scikit-learn"}
    demand_all([python, "-c"], '"seedwise-stats[train]"')
    seedwise = place / "bin/seedwise"
    for verb in ("compare", "report", "status"):
        assert subprocess.run([seedwise, verb, "study"], capture_output=True, check=False).returncode == 0
    refused = subprocess.run([seedwise, "train", "digits"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2 and "Traceback" not in refused.stderr
    version = subprocess.run([seedwise, "--version"], capture_output=True, text=True, check=True).stdout
    assert re.fullmatch(r"seedwise \d+\.\d+\.\d+\n", version)
