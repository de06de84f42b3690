"""docs/performance.md is what benchmarks/page.py makes of benchmarks/results.json, and holds with parts missing."""

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results.json"


def made(results: Path, out: Path) -> str:
    command = [sys.executable, ROOT / "benchmarks" / "page.py", results, "-o", out]
    subprocess.run(command, check=True, capture_output=True)  # type: ignore[arg-type]
    return out.read_text(encoding="utf-8")


@pytest.fixture
def measured() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
    return found


def test_the_page_is_what_the_results_make(tmp_path: Path) -> None:
    assert made(RESULTS, tmp_path / "page.md") == (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")


def test_a_part_that_is_missing_costs_its_section_alone(tmp_path: Path, measured: dict[str, Any]) -> None:
    whole = made(RESULTS, tmp_path / "page.md")
    fewer = copy.deepcopy(measured)
    del fewer["parts"]["startup"]
    (tmp_path / "fewer.json").write_text(json.dumps(fewer))
    page = made(tmp_path / "fewer.json", tmp_path / "fewer.md")
    titles = {line for line in whole.splitlines() if line.startswith("## ")}
    assert titles - set(page.splitlines()) == {"## Start-up"}


def test_a_target_that_is_missed_says_so_and_why(tmp_path: Path, measured: dict[str, Any]) -> None:
    cell = measured["parts"]["step efficientnet_lite0 64 px 2 threads"]
    for low, median, word in ((2.51, 2.6, "yes"), (2.49, 2.6, "by the median"), (2.4, 2.49, "**no**")):
        cell["step_ratio"] = {"min": low, "median": median, "max": 3.0}
        (tmp_path / "results.json").write_text(json.dumps(measured))
        page = made(tmp_path / "results.json", tmp_path / "page.md")
        row = next(
            line
            for line in page.splitlines()
            if line.startswith("| step, efficientnet_lite0, 64 px, batch 128, threads: 2")
        )
        assert row.endswith(f"{word} |")
        assert ("\n- step, efficientnet_lite0, 64 px, batch 128, threads: 2" in page) == (word == "**no**")
