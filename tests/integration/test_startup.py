"""Verbs that need no tensors are there at once: what they import, and how long they take."""

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from command_line import command
from made_runs import answers_for, make_study

from seedwise.study.progress import trial_folder

QUICK = (
    *(("--help",), ("train", "--help"), ("resume", "--help"), ("doctor", "--help"), ("augment", "--help")),
    *(("audit", "--help"), ("evaluate", "--help"), ("predict", "--help"), ("sweep", "--help")),
    *(("ablate", "--help"), ("status", "--help"), ("compare", "--help"), ("ensemble", "--help"), ("report", "--help")),
    *(("lr-find", "--help"), ("errors", "--help")),
    *(("recipes", "--help"), ("recipes", "ls"), ("recipes", "show", "lite"), ("recipes", "cp", "lite", "--help")),
    ("techniques", "--help"),
    ("recipes", "cp", "lite"),
)
"""These read text at most."""
TENSORS = {"torch", "timm", "numpy", "scipy", "sklearn", "matplotlib", "PIL", "pyarrow"}
TEXT = {"pydantic", "yaml", "rich.markdown"}
BASE = [sys.executable, "-c", "import typer, rich.console"]
LIMIT = 1.5


def imported(arguments: Sequence[str]) -> set[str]:
    """The modules that `seedwise …` has loaded by its end."""
    script = (
        "import sys\nfrom pathlib import Path\nfrom seedwise.cli import main\ntry:\n    main()\n"
        "except SystemExit as stop:\n    assert not stop.code\nPath('modules').write_text('\\n'.join(sys.modules))"
    )
    subprocess.run([sys.executable, "-c", script, *arguments], stdout=subprocess.DEVNULL, check=True)
    return set(Path("modules").read_text().splitlines())


@pytest.mark.parametrize("arguments", QUICK, ids=" ".join)
def test_verbs_that_show_text_import_neither_tensors_nor_validation(arguments: tuple[str, ...]) -> None:
    assert not imported(arguments) & (TENSORS | TEXT)


def made_study() -> Path:
    targets = [0, 1, 2, 3]
    logits = answers_for(targets, [True, True, True, False])
    return make_study(Path("study"), targets, {arm: {7: {"test": logits}} for arm in ("base", "no-flip")})


def test_errors_are_listed_without_tensors() -> None:
    run = made_study() / trial_folder("base", 7)
    assert run.is_dir() and not imported(("errors", str(run))) & {"torch", "timm", "sklearn", "PIL", "pyarrow"}


def test_a_study_is_shown_without_either_and_a_damaged_one_is_read_with_care() -> None:
    made_study()
    assert not imported(("status", "study")) & (TENSORS | TEXT)
    assert not imported(("status", "study", "--json")) & (TENSORS | TEXT)
    study = Path("study/study.json")
    study.write_text(study.read_text().replace('"jobs": 1', '"jobs": 2'))
    answer = subprocess.run(command("status", "study"), check=False, capture_output=True, text=True)
    assert answer.returncode == 2 and "its checksum is not the one in it" in answer.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        *(("recipes", "validate", "lite", "strong"), ("recipes", "schema")),
        *(("techniques", "ls"), ("techniques", "show", "cutmix"), ("techniques", "ls", "--json")),
    ],
    ids=" ".join,
)
def test_verbs_that_check_recipes_or_show_options_import_no_tensors(arguments: tuple[str, ...]) -> None:
    assert not imported(arguments) & TENSORS


def seconds(words: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(words, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def median_ratio(words: list[str], pairs: int = 7) -> float:
    """Of pairs of starts, one right after the other and in turns first: a busy neighbor slows both."""
    seconds(BASE), seconds(words)  # files into the page cache
    ratios = []
    for number in range(pairs):
        if number % 2:
            mine, base = seconds(words), seconds(BASE)
        else:
            base, mine = seconds(BASE), seconds(words)
        ratios.append(mine / base)
    return statistics.median(ratios)


def demand_quick(arguments: Sequence[str]) -> None:
    found = []
    for _ in range(2):  # once more, for a neighbor that came or went in the middle
        found.append(median_ratio(command(*arguments)))
        if found[-1] <= LIMIT:
            return
    pytest.fail(f"seedwise {' '.join(arguments)}: {found} times as long as importing typer and rich.console")


def test_help_starts_as_fast_as_the_libraries_it_needs() -> None:
    demand_quick(["--help"])


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize(
    "arguments", [("train", "--help"), ("recipes", "ls"), ("recipes", "show", "lite")], ids=" ".join
)
def test_verbs_that_show_text_start_as_fast_as_the_libraries_they_need(arguments: tuple[str, ...]) -> None:
    demand_quick(arguments)


@pytest.mark.slow
@pytest.mark.alone
def test_status_starts_as_fast_too() -> None:
    made_study()
    demand_quick(("status", "study"))
