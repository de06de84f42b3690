"""The reports of a run, a study and an ensemble, as a reader meets them."""

import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from drawn_runs import make_ensemble, make_run, make_study

from seedwise.reports import LANGUAGES, write_report
from seedwise.study.progress import trial_folder

PHONE = 360
NAMES = ("run", "plain", "study", "ensemble")
SKILLS = {"base": 3.0, "much better": 6.0, "worse": 1.5, "about the same <script>alert(1)<script>": 3.02}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("pages")
    make_run(root / "run")
    make_run(root / "plain", grouped=False)
    make_study(root / "study", SKILLS, seeds=5)
    make_ensemble(root / "ensemble", select="greedy")
    return {
        f"{name}-{language}": write_report(root / name, root / f"{name}-{language}.html", language)
        for name in NAMES
        for language in LANGUAGES
    }


PAGES = [f"{name}-{language}" for name in NAMES for language in LANGUAGES]


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("width", [PHONE, 1100])
def test_a_page_asks_for_nothing_says_nothing_and_fits(
    pages: dict[str, Path], open_page: Any, name: str, width: int
) -> None:
    opened = open_page(pages[name], width)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    for details in opened.page.query_selector_all("summary"):
        details.click()
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    assert [url for url in opened.asked if not url.startswith("data:")] == [pages[name].as_uri()]
    assert opened.said == []
    assert opened.page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")


DRAWN = (2103437301, 1472934812, 1939020477, 1007378071, 1872246113, 1788141178)
"""Seeds as long as those that a count draws."""


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wide") / "study"
    make_study(folder, SKILLS, seeds=DRAWN)
    return write_report(folder)


def test_the_tables_of_six_seeds_are_whole_on_a_laptop(wide: Path, open_page: Any) -> None:
    page = open_page(wide, 1280).page
    cut = "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth + 1)"
    assert page.evaluate(f"{cut}.map(e => e.querySelector('table').id)") == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    assert not page.locator(".more:visible").count()


def test_a_table_that_goes_on_says_so_until_one_has_seen_its_end(wide: Path, open_page: Any) -> None:
    page = open_page(wide, 390).page
    hint, box = page.locator(".more:has(+ .scroll > #comparisons)"), page.locator(".scroll:has(> #comparisons)")
    assert hint.is_visible() and "swipe" in hint.inner_text()
    assert "cut" in str(box.get_attribute("class")).split()
    box.evaluate("e => { e.scrollLeft = 300 }")
    arm = page.locator("#comparisons tbody th").first.bounding_box()
    assert arm is not None and 0 <= arm["x"] < 30  # whose row it is stays in sight
    box.evaluate("e => { e.scrollLeft = e.scrollWidth }")
    page.locator(".scroll:has(> #comparisons):not(.cut)").wait_for()  # a function is `eval`, which it forbids


@pytest.mark.parametrize("width", [PHONE, 390])
def test_confused_pairs_are_whole_on_a_phone(pages: dict[str, Path], open_page: Any, width: int) -> None:
    page = open_page(pages["run-en"], width).page
    rows = page.locator("#pairs tbody tr")
    assert rows.count() > 1 and page.locator("#pairs img").count() > 1
    for row in rows.all():
        words, text = row.bounding_box(), row.inner_text()
        assert "Predicted" in row.locator("td").first.evaluate("e => getComputedStyle(e, '::before').content")
        for part in [*row.locator("th, td").all(), *row.locator("img").all()]:
            box = part.bounding_box()
            assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= width
        pictures = row.locator(".thumbs").bounding_box()
        assert words["height"] - pictures["height"] < 110, text  # three lines of words, and no hole beside them


def test_nothing_is_drawn_through_names_and_numbers(wide: Path, pages: dict[str, Path], open_page: Any) -> None:
    through = """() => {
      const found = [];
      for (const svg of document.querySelectorAll("svg:has(.strong)")) {
        const boxes = (what) => [...svg.querySelectorAll(what)].map((e) => e.getBoundingClientRect());
        for (const name of boxes(".name")) for (const line of boxes(".zero, .margin, .grid, .line"))
          if (name.left < line.right && line.left < name.right && name.top < line.bottom && line.top + 2 < name.bottom)
            found.push([name.toJSON(), line.toJSON()]);
      }
      return found;
    }"""
    for page, bands in ((open_page(wide, 1280).page, 3), (open_page(pages["ensemble-en"], 1280).page, 0)):
        assert page.locator("svg .margin").count() == bands and page.locator("svg .zero").count() > 2
        assert page.evaluate(through) == []


def column(page: Any, table: str, index: int) -> list[str]:
    rows = f"[...document.querySelectorAll('#{table} tbody tr')].filter(row => !row.hidden)"
    return [str(text) for text in page.evaluate(f"{rows}.map(row => row.cells[{index}].innerText)")]


def test_a_table_sorts_by_its_numbers_and_back_by_mouse_and_by_keyboard(pages: dict[str, Path], open_page: Any) -> None:
    page = open_page(pages["run-en"]).page
    recall = page.locator("#by-class thead th").nth(3)
    recall.locator("button").click()
    values = [float(text) for text in column(page, "by-class", 3)]
    assert values == sorted(values) and len(set(values)) > 3
    assert recall.get_attribute("aria-sort") == "ascending"
    recall.locator("button").press("Enter")
    assert [float(text) for text in column(page, "by-class", 3)] == values[::-1] == sorted(values, reverse=True)
    assert recall.get_attribute("aria-sort") == "descending"
    page.locator("#by-class thead th").nth(0).locator("button").click()
    names = column(page, "by-class", 0)
    assert names == sorted(names) and recall.get_attribute("aria-sort") is None


def test_a_table_shows_only_the_rows_that_are_asked_for(pages: dict[str, Path], open_page: Any) -> None:
    page = open_page(pages["study-en"]).page
    everything = column(page, "all-runs", 0)
    page.locator("input[data-filters=all-runs]").fill("Much B")
    assert column(page, "all-runs", 0) == ["much better"] * 5
    page.locator("input[data-filters=all-runs]").fill("")
    assert column(page, "all-runs", 0) == everything and len(everything) == 20


def test_members_sort_by_weight_and_gap(pages: dict[str, Path], open_page: Any) -> None:
    page = open_page(pages["ensemble-en"]).page
    for heading in (2, 7):
        page.locator("#all-members thead th").nth(heading).locator("button").click()
        values = [float(text) for text in column(page, "all-members", heading)]
        assert values == sorted(values) and len(set(values)) > 2
    found = {each.get_attribute("data-arm"): each.inner_text() for each in page.query_selector_all("[data-verdict]")}
    assert found.keys() == {"mean", "best"} and all("points, interval [" in said for said in found.values())


def test_the_confusion_matrix_opens_into_classes(pages: dict[str, Path], open_page: Any) -> None:
    page = open_page(pages["run-en"]).page
    inner = page.locator("#superclasses details").first
    assert not inner.locator("table").is_visible()
    inner.locator("summary").press("Enter")
    assert inner.locator("table").is_visible()
    assert "class 3" in inner.locator("table").inner_text()


def test_every_verdict_is_there_in_words_and_by_name(pages: dict[str, Path], open_page: Any) -> None:
    page = open_page(pages["study-en"]).page
    found = {
        each.get_attribute("data-arm"): (each.get_attribute("data-verdict"), each.inner_text())
        for each in page.query_selector_all("[data-verdict]")
    }
    assert found["much better"][0] == "helps" and "helps" in found["much better"][1]
    assert found["worse"][0] == "hurts"
    assert list(found) == [arm for arm in SKILLS if arm != "base"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["run-en", "study-en", "ensemble-en"])
def test_text_stands_out_from_what_is_behind_it(pages: dict[str, Path], open_page: Any, name: str, scheme: str) -> None:
    """WCAG 2.1, 1.4.3: a contrast of 4.5 at least, of everything written."""
    page = open_page(pages[name], color_scheme=scheme).page
    worst = page.evaluate(CONTRAST)
    assert worst["ratio"] >= 4.5, worst


CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const parse = (color) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => {
    const part = (v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  let worst = {ratio: 99};
  for (const element of document.querySelectorAll("main *")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || element.tagName === "TITLE") continue;
    const style = getComputedStyle(element);
    const ink = element.namespaceURI.endsWith("svg") ? style.fill : style.color;
    let behind = element;
    while (behind && parse(getComputedStyle(behind).backgroundColor)[3] < 255) behind = behind.parentElement;
    const [a, b] = [light(parse(ink)), light(parse(getComputedStyle(behind || document.body).backgroundColor))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < worst.ratio) worst = {ratio, text: element.textContent.slice(0, 40), tag: element.tagName, ink};
  }
  return worst;
}"""


@pytest.mark.parametrize("name", ["run-en", "study-ko", "ensemble-en"])
def test_a_screen_reader_finds_names_for_everything(pages: dict[str, Path], open_page: Any, name: str) -> None:
    page = open_page(pages[name]).page
    assert page.evaluate("[...document.querySelectorAll('svg')].every(e => e.getAttribute('aria-label').length > 3)")
    assert page.evaluate("[...document.images].every(e => e.alt.length > 3)")
    assert page.evaluate(
        "[...document.querySelectorAll('table')].every(e => e.caption && e.caption.textContent.trim())"
    )
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3')].map(e => +e.tagName[1])")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert page.evaluate("document.documentElement.lang") == name[-2:]


def test_on_paper_everything_is_open_and_nothing_is_cut(pages: dict[str, Path], open_page: Any) -> None:
    page = open_page(pages["run-en"]).page
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("[...document.querySelectorAll('details')].every(e => e.open)")
    assert page.evaluate("[...document.querySelectorAll('.tall')].every(e => e.scrollHeight <= e.clientHeight + 1)")
    assert not page.locator("nav").is_visible()


LONG = "Pneumonoultramicroscopicsilicovolcanoconiosis and a tail, without_spaces_or_with "


def test_long_names_keep_to_their_place_and_what_is_missing_sorts_last(tmp_path: Path, open_page: Any) -> None:
    names = [f"{index} {LONG}{index}" for index in range(12)]
    make_run(tmp_path / "run", classes=names, grouped=False)
    make_study(tmp_path / "study", {"base": 3.0, f"{LONG}1": 3.5, f"{LONG}2": 2.0}, seeds=2, classes=names)
    shutil.rmtree(tmp_path / "study" / trial_folder("base", 1))
    for name in ("run", "study"):
        page = open_page(write_report(tmp_path / name), PHONE).page
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE
        outside = "e => e.getBoundingClientRect().right > e.closest('svg').getBoundingClientRect().right + 2"
        assert page.evaluate(f"[...document.querySelectorAll('svg text')].filter({outside}).length") == 0
        assert page.evaluate("[...document.querySelectorAll('.matrix thead')].every(e => e.offsetHeight < 260)")
    speed = page.locator("#all-runs thead th").nth(5).locator("button")
    for _ in range(2):
        speed.click()
        assert column(page, "all-runs", 5)[-1] == "–" != column(page, "all-runs", 5)[0]
