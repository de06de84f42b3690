"""Bad input of every kind: one line (what, where, what to do), exit code 2, no traceback, nothing lost or left."""

import re
from contextlib import ExitStack
from pathlib import Path

import pytest
from bad_cases import CONFIGURATION, DATA, FILES
from bad_input import Case, Place, snapshot
from bad_surroundings import NAMES, SURROUNDINGS
from command_line import Cli

CASES = [*CONFIGURATION, *DATA, *FILES, *SURROUNDINGS, *NAMES]


def test_every_case_has_a_name_of_its_own() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 55


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_is_one_line_and_exit_2_and_nothing_is_lost(
    cli: Cli, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole_once: Path, halfway_once: Path
) -> None:
    with ExitStack() as undo:
        arguments = case.prepare(Place(tmp_path, monkeypatch, undo, whole_once, halfway_once))
        before = snapshot(tmp_path, case.may_change)
        answer = cli(*arguments)
        assert (answer.code, answer.out) == (2, ""), answer
        assert answer.err.endswith("\n")
        line = answer.last_line if case.name.startswith("cache: flipped") else answer.line
        assert re.search(case.said, line), line
        assert snapshot(tmp_path, case.may_change) == before
