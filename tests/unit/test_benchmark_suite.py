"""benchmarks/suite.py keeps what it measured: parts that fail cost the others nothing, and a second call goes on."""

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

Call = Callable[..., list[str]]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run the suite with parts `first`, `broken` and `last`; which of them were measured."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def run(*arguments: str, broken: bool = True) -> list[str]:
        measured: list[str] = []

        def part(name: str) -> Callable[[], dict[str, Any]]:
            def measure() -> dict[str, Any]:
                if name == "broken" and broken:
                    sys.exit("a worker ended")
                measured.append(name)
                return {"seconds": 1.23456789}

            return measure

        main = runpy.run_path(str(BENCHMARKS / "suite.py"))["main"]
        main.__globals__["parts"] = lambda *_: {name: part(name) for name in ("first", "broken", "last")}
        monkeypatch.setattr(sys, "argv", ["suite.py", "-o", str(tmp_path / "results.json"), *arguments])
        try:
            main()
        except SystemExit as stop:
            assert str(stop) == "failed: broken"
        return measured

    return run


def kept(tmp_path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tmp_path / "results.json").read_text())
    return found


def test_a_part_that_fails_costs_the_others_nothing_and_is_tried_again(call: Call, tmp_path: Path) -> None:
    assert call() == ["first", "last"]
    assert set(kept(tmp_path)["parts"]) == {"first", "last"}
    assert kept(tmp_path)["parts"]["last"]["seconds"] == 1.235
    assert call(broken=False) == ["broken"]
    assert set(kept(tmp_path)["parts"]) == {"first", "broken", "last"}
    assert call(broken=False) == []


def test_fresh_measures_again_and_only_chooses(call: Call) -> None:
    call(broken=False)
    assert call("--fresh", broken=False) == ["first", "broken", "last"]
    assert call("--fresh", "--only", "fir,las") == ["first", "last"]


def test_results_of_another_machine_are_not_mixed_in(call: Call, tmp_path: Path) -> None:
    call()
    other = kept(tmp_path)
    other["machine"]["cpu"] = "an abacus"
    (tmp_path / "results.json").write_text(json.dumps(other))
    assert call(broken=False) == ["first", "broken", "last"]
    assert kept(tmp_path)["machine"]["cpu"] != "an abacus"
