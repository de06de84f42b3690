"""Intervals on a study's page: what makes them wide, and none beyond what is possible."""

import re
from pathlib import Path

from drawn_runs import make_study

from seedwise.reports import render
from seedwise.study.record import StudyRecord, write_study
from seedwise.study.results import Results


def _look(folder: Path, study: StudyRecord) -> None:
    """As the end of all trials notes it."""
    results = Results(folder)
    write_study(folder, results.look(results.refresh(study)))


def test_no_interval_is_shown_or_drawn_outside_what_is_possible(tmp_path: Path) -> None:
    made = make_study(tmp_path / "study", {"base": 4.0, "other": 4.4}, seeds=2)
    top1 = made.summary["base"]["test"]["top1"]
    assert top1["mean"] + 12.7 * top1["sd"] / 2**0.5 > 1 and top1["ci95"][1] == 1
    _look(tmp_path / "study", made)
    page = render(tmp_path / "study")
    for low, high in re.findall(
        r"\[([−+]?[\d.]+), ([−+]?[\d.]+)\]", re.sub("<style>.*?</style>", "", page, flags=re.S)
    ):
        ends = [float(end.replace("−", "-")) for end in (low, high)]
        assert -100 <= ends[0] <= ends[1] <= 100
    ticks = re.findall(r'class="tick middle"[^>]*>([−+]?[\d.]+)<', page.split('id="seeds"')[1].split("</svg>")[0])
    assert ticks and max(map(float, ticks)) <= 100


def test_an_interval_says_what_makes_it_wide(tmp_path: Path) -> None:
    make_study(tmp_path / "two", {"base": 3.0, "b": 3.5, "c": 4.0}, seeds=2)
    assert "with an interval of 95% for all 2 arms together." in render(tmp_path / "two")
    record = make_study(tmp_path / "one", {"base": 3.0, "other": 3.5}, seeds=2)
    assert "with an interval of 95%." in render(tmp_path / "one")
    _look(tmp_path / "one", record)
    page = render(tmp_path / "one")
    assert "with an interval of 97.5%: at each look" in page and "They are of 97.5%, as those of the arms." in page
    assert "number of arms" not in page
