"""The page of an audit, as a reader meets it."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_report_in_browser import CONTRAST, PHONE, column

from seedwise.audits.findings import (
    ClassFindings,
    FalsePairs,
    Findings,
    Image,
    LabelFindings,
    Leak,
    Pair,
    PartFindings,
    RunFindings,
    Suspect,
)
from seedwise.audits.judged import read_judged
from seedwise.reports import LANGUAGES
from seedwise.reports.audit_page import write_audit

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
CLASSES = ["apple", "an animal with a long name in words", HOSTILE, "길이가 긴 클래스 이름"]
THUMBNAILS = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)


def pictures(images: Iterable[Image]) -> dict[tuple[str, int], np.ndarray]:
    return {(each.part, each.row): THUMBNAILS[each.row] for each in images}


def image(row: int, split: str = "train") -> Image:
    where = f"/data/{HOSTILE}/{'long' * 20}{row}.png"
    return Image(split=split, part="train", row=row, label=row % len(CLASSES), where=where, sha256=f"{row:064x}")


FOUND = Findings(
    data=f"pets {HOSTILE}",
    source="/pets",
    fingerprint="0" * 64,
    classes=CLASSES,
    parts={
        "train": PartFindings(
            images=40,
            damaged=[f"/data/{HOSTILE}.png: not an image"],
            sizes=[(32, 32, 39), (640, 480, 1)],
            size_count=2,
            modes={"RGB": 39, "L": 1},
        )
    },
    splits={"train": 30, "val": 4, "test": 6},
    balance=[
        ClassFindings(name=name, images={"train": 10 - 3 * index, "val": index, "test": 2})
        for index, name in enumerate(CLASSES)
    ],
    missing={"val": [CLASSES[0], HOSTILE]},
    pairs=[
        Pair(
            first=image(row, "train" if row < 8 else "test"),
            second=image(row + 10 + row % 2, "test"),
            kind="equal" if row == 0 else "copy" if row < 6 else "alike",
            rest=None if row == 0 else round(0.2 + (7 * row % 12) / 40, 4),
            detail=round(1 - row / 100, 4),
            mirrored=row in (3, 7),
            judged=True if row == 6 else None,
        )
        for row in range(12)
    ],
    counts={"equal": 1, "copy": 5, "alike": 6, "confirmed": 1, "rejected": 0},
    limit=0.8,
    estimates={
        "copy": FalsePairs(pairs=5, two_labels=2, chance=0.5, false=4.0),
        "alike": FalsePairs(pairs=6, two_labels=3, chance=0.5, false=6.0),
    },
    leaks={"test": Leak(images=3, of=6, rows=[10, 12, 13]), "val": Leak(images=0, of=4, rows=[])},
    run=RunFindings(folder=f"runs/{HOSTILE}", top1=0.9123, without=0.875, leaked=1.0),
    labels=LabelFindings(
        by=None,
        top1=0.81,
        count=5,
        images=40,
        suspects=[Suspect(image=image(row), suggested=(row + 2) % 4, margin=0.9 - row / 10) for row in range(5)],
        pairs=[(0, 2, 3), (1, 3, 2)],
    ),
)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {language: tmp_path_factory.mktemp("audits") / f"{language}.html" for language in LANGUAGES}
    for language, path in made.items():
        write_audit(FOUND, pictures, path, language)
    return made


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("width", [PHONE, 1100])
def test_the_page_asks_for_nothing_says_nothing_and_fits(
    pages: dict[str, Path], open_page: Any, language: str, width: int
) -> None:
    opened = open_page(pages[language], width)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    assert [url for url in opened.asked if not url.startswith("data:")] == [pages[language].as_uri()]
    assert opened.said == []
    assert opened.page.evaluate("[...document.images].every(image => image.naturalWidth == 32)")
    assert opened.page.evaluate("document.documentElement.lang") == language


def test_hostile_names_are_shown_as_they_are_and_do_nothing(pages: dict[str, Path], open_page: Any) -> None:
    page = open_page(pages["en"]).page
    assert page.evaluate("document.querySelectorAll('script').length") == 1
    assert page.title() == f"Audit of pets {HOSTILE}"
    assert HOSTILE in column(page, "classes", 0)
    assert page.evaluate("[...document.images].every(e => e.getAttribute('onerror') === null)")


def test_pairs_sort_by_what_is_left_and_classes_filter(pages: dict[str, Path], open_page: Any) -> None:
    page = open_page(pages["en"]).page
    table = page.locator("table.pairs").last
    name = table.get_attribute("id")
    table.locator("thead th").nth(4).locator("button").click()
    values = [float(text) for text in column(page, name, 4)]
    assert values == sorted(values) and len(set(values)) > 1
    table.locator("thead th").nth(4).locator("button").press("Enter")
    assert [float(text) for text in column(page, name, 4)] == values[::-1]
    page.locator("input[data-filters=classes]").fill("APPLE")
    assert column(page, "classes", 0) == ["apple"]


def test_pictures_are_at_least_96_pixels_high_and_suspects_have_their_names(
    pages: dict[str, Path], open_page: Any
) -> None:
    page = open_page(pages["en"]).page
    heights = page.evaluate("[...document.images].map(image => image.getBoundingClientRect().height)")
    assert heights and min(heights) >= 96
    first = page.locator(".suspects li").first.inner_text()
    assert "Given: apple" in first and f"Suggested: {HOSTILE}" in first and "0.png" in first


def test_what_is_marked_is_saved_as_a_file_that_the_command_reads(
    pages: dict[str, Path], open_page: Any, tmp_path: Path
) -> None:
    page = open_page(pages["en"], accept_downloads=True).page
    boxes = page.locator("tr[data-pair] input[type=checkbox]")
    assert boxes.count() == 11  # nobody is asked about equal pixels
    marked = page.locator("tr[data-pair]").filter(has=page.locator("input"))
    by_pair = {marked.nth(n).get_attribute("data-pair"): marked.nth(n).locator("input") for n in range(boxes.count())}
    known = {(each.first.sha256, each.second.sha256): each for each in FOUND.pairs}
    pair = next(key for key, each in known.items() if each.kind == "alike" and each.judged is None)
    wrong = next(key for key, each in known.items() if each.kind == "copy")
    by_pair[" ".join(pair)].check()
    by_pair[" ".join(wrong)].uncheck()
    with page.expect_download() as waiting:
        page.locator("button[data-save]").click()
    waiting.value.save_as(tmp_path / "confirmed.json")
    said = read_judged(tmp_path / "confirmed.json")
    assert said[frozenset(pair)] is True and said[frozenset(wrong)] is False
    untouched = [key for key, each in known.items() if each.kind == "alike" and not each.is_same and key != pair]
    assert untouched and not any(frozenset(key) in said for key in untouched)
    names = json.loads((tmp_path / "confirmed.json").read_text())["pairs"][0]["names"]
    assert all(HOSTILE in name for name in names)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(pages: dict[str, Path], open_page: Any, scheme: str) -> None:
    worst = open_page(pages["en"], color_scheme=scheme).page.evaluate(CONTRAST)
    assert worst["ratio"] >= 4.5, worst


def test_on_paper_nothing_is_cut(pages: dict[str, Path], open_page: Any) -> None:
    page = open_page(pages["en"], 700).page
    page.emulate_media(media="print")
    assert page.evaluate("[...document.querySelectorAll('.tall')].every(e => e.scrollHeight <= e.clientHeight + 1)")
    assert page.evaluate("document.documentElement.scrollWidth") <= 700
    assert not page.locator("nav").is_visible()


def test_the_leak_and_what_it_gains_stand_first_in_both_languages(pages: dict[str, Path], open_page: Any) -> None:
    for language, words in (("en", "3 of 6 test images are"), ("ko", "테스트 이미지 6장 가운데 3장")):
        page = open_page(pages[language]).page
        assert words in page.locator("[data-leak=test]").inner_text()
        assert page.locator("[data-leak=val]").count() == 0
        assert all(share in page.locator("[data-run]").inner_text() for share in ("91.23%", "87.50%", "100.00%"))


def test_the_same_findings_give_the_same_bytes(pages: dict[str, Path], tmp_path: Path) -> None:
    write_audit(FOUND, pictures, tmp_path / "again.html", "ko")
    assert (tmp_path / "again.html").read_bytes() == pages["ko"].read_bytes()
