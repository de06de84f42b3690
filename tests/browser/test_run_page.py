"""What the page of a single run says of its images: names, whole counts, calibration in words."""

import html
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_runs import make_run
from test_report_page import cells

from seedwise.base.files import sha256_of
from seedwise.records.run import PREDICTIONS, read_record, write_record
from seedwise.reports import render
from seedwise.reports.words import Words
from seedwise.stats.confusion import confusion


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "run"
    make_run(folder, skill=1.5, classes=[str(index) for index in range(12)], grouped=False)
    return folder


def without_files(folder: Path) -> None:
    """As a version that did not keep names left it."""
    rewritten(folder, lambda arrays: [arrays.pop(name) for name in list(arrays) if name.endswith("_files")])


def rewritten(folder: Path, change: Any) -> None:  # type: ignore[no-untyped-def]
    with np.load(folder / PREDICTIONS) as stored:
        arrays = dict(stored)
    change(arrays)
    np.savez(folder / PREDICTIONS, **arrays)
    record = read_record(folder)
    record.files[PREDICTIONS] = sha256_of(folder / PREDICTIONS)
    write_record(folder, record)


def shown_files(page: str) -> list[str]:
    return [html.unescape(name) for name in re.findall(r'class="file" title="([^"]*)"', page)]


@pytest.mark.parametrize("language", ["en", "ko"])
def test_every_picture_of_an_example_bears_its_files_name(run: Path, language: str) -> None:
    page = render(run, language)
    with np.load(run / PREDICTIONS) as stored:
        wrong = np.flatnonzero(stored["test_logits"].argmax(1) != stored["test_targets"])[:4]
        names = stored["test_files"][wrong].tolist()
    shown = shown_files(page)
    assert shown[-8:] == names * 2  # errors, Grad-CAM
    assert shown[:-8] and set(shown[:-8]) <= set(names)  # those of them whose pair is among the most confused
    assert len(shown) == page.count("data:image") - page.count('src="data:image', page.index('class="augment"')) - 8
    assert f"test/<wbr>{html.escape(names[0].removeprefix('test/'))}</span>" in page


def test_a_run_without_names_has_its_pictures_all_the_same(tmp_path: Path) -> None:
    make_run(tmp_path / "old", skill=1.5)
    without_files(tmp_path / "old")
    page = render(tmp_path / "old")
    assert 'class="file"' not in page and page.count('<ul class="pictures') == 2


def test_what_a_class_is_taken_for_adds_up_to_its_errors(run: Path) -> None:
    with np.load(run / PREDICTIONS) as stored:
        targets, predicted = stored["test_targets"], stored["test_logits"].argmax(1)
    wrong = confusion(targets, predicted, 12)
    np.fill_diagonal(wrong, 0)
    seen_more = 0
    for row, cell in zip(wrong, cells(render(run), "by-class"), strict=True):
        words = cell[-1].split(", ") if cell[-1] else []
        more = [int(word.split()[0]) for word in words if word.endswith("more")]
        pairs = [(int(name), int(count)) for name, count in (word.split(" ×") for word in words if "×" in word)]
        assert all(row[name] == count for name, count in pairs) and len(pairs) <= 2
        assert sum(count for _, count in pairs) + sum(more) == row.sum()
        seen_more += bool(more)
    assert seen_more and "2 ×" in render(run, "ko")


def test_short_names_stand_upright_above_the_matrix_and_long_ones_are_turned(run: Path, tmp_path: Path) -> None:
    assert '<table class="matrix upright">' in render(run)
    make_run(tmp_path / "long", skill=1.5)
    assert '<table class="matrix">' in render(tmp_path / "long")


def test_units_stand_in_brackets_and_one_run_has_a_time_of_its_own(run: Path) -> None:
    page = render(run)
    assert ">top-1 (%)</th>" in page and "top-1%" not in page
    assert '<th scope="row">Wall time</th><td>1 min 21 s</td>' in page
    assert Words("ko").duration(154) == "2분 34초" and Words("en").duration(7260) == "2 h 1 min"


@pytest.mark.parametrize(("scale", "lean"), [(6.0, "over"), (0.3, "under")])
def test_calibration_says_which_way_it_leans(tmp_path: Path, scale: float, lean: str) -> None:
    make_run(tmp_path / "run", skill=2.5)

    def scaled(arrays: dict[str, np.ndarray]) -> None:
        for split in ("val", "test"):
            arrays[f"{split}_logits"] *= scale

    rewritten(tmp_path / "run", scaled)
    page = render(tmp_path / "run")
    assert f'data-lean="{lean}"' in page and f"This network is {lean}confident: on average it is" in page
    assert "above it underconfident" in page


def test_bins_of_few_images_are_pale_and_off_the_line(run: Path) -> None:
    chart = re.findall(r"<svg.*?</svg>", render(run), re.S)
    reliability = next(svg for svg in chart if "Before temperature scaling" in svg)
    dots = {int(n): style for style, n in re.findall(r'class="dot (\w+)"[^>]*><title>[^<]*, (\d+) images', reliability)}
    assert {style for n, style in dots.items() if n < 10} == {"pale"}
    assert {style for n, style in dots.items() if n >= 10} == {"one"}
    line = re.search(r'class="line one" d="M([^"]*)"', reliability)
    assert line is not None and len(line[1].split("L")) == reliability.count('"dot one"')
    assert ">confidence (%)<" in reliability and ">accuracy (%)<" in reliability


def test_a_table_that_is_seen_at_once_has_no_filter(run: Path, tmp_path: Path) -> None:
    assert 'data-filters="by-class"' not in render(run)
    make_run(tmp_path / "many", classes=[f"class {index}" for index in range(20)], grouped=False)
    assert 'data-filters="by-class"' in render(tmp_path / "many")
